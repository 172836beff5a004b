import type { Gtm } from './gtm.ts';
import type { Instance } from './state.ts';
import { clockTime, logTime, slash } from './texts.ts';
import { StatusValue, type Value } from './values.ts';

/** Stands for $$$IntegrityCheckErrors, whose number no page names. */
export const integrityCheckErrors = '6050';

/**
 * `$$CheckList^Integrity`: OK = ran and found nothing; the code of IntegrityCheckErrors = ran and found errors; any other = did not run
 * to its end. Without a list of directories every mounted database is checked. `report` is what Display^Integrity prints of it.
 */
export function checkList(
  gtm: Gtm,
  instance: Instance,
  directories: readonly string[],
  stopAfterError: boolean,
): { readonly status: Value; readonly report: string } {
  const mounted = instance.databases.filter((one) => one.mounted).map((one) => one.directory);
  const asked = directories.length > 0 ? directories : mounted;
  let bad = 0;
  let report = '';
  for (const directory of asked) {
    if (!mounted.includes(directory)) {
      return { status: new StatusValue(`Database ${slash(directory)} is not mounted`), report };
    }
    const checked = gtm.integrity(directory);
    const errors = checked.code === 0 ? [] : checked.text.split('\n').filter((line) => line.includes('%GTM-'));
    report += `\n---Directory ${slash(directory)}---\n`;
    report += errors.map((line) => `\n**ERROR** ${line.trim()}\n`).join('');
    report += `\n---Total for directory ${slash(directory)}---\n`;
    report += `\nElapsed time = 0.1 seconds ${logTime(Date.now())}\n`;
    if (checked.code === 0) report += '\nNo Errors were found in this directory.\n';
    else bad += 1;
    if (bad > 0 && stopAfterError) break;
  }
  if (bad === 0) return { status: '1', report: `${report}\nNo Errors were found.\n` };
  report += `\n**ERROR** errors in ${bad} directories, ${clockTime(Date.now())}\n`;
  return {
    status: new StatusValue(`Integrity check found errors in ${bad} database(s)`, integrityCheckErrors),
    report,
  };
}
