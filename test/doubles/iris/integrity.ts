import type { Gtm } from './gtm.ts';
import type { Instance } from './state.ts';
import { slash } from './texts.ts';
import { StatusValue, type Value } from './values.ts';

/**
 * `$$CheckList^Integrity`: OK = ran and found nothing; the code of IntegrityCheckErrors = ran and found errors; any other = did not run
 * to its end. Without a list of directories every mounted database is checked.
 */
export function checkList(
  gtm: Gtm,
  instance: Instance,
  directories: readonly string[],
  stopAfterError: boolean,
): Value {
  const asked =
    directories.length > 0 ? directories : instance.databases.filter((one) => one.mounted).map((one) => one.directory);
  let bad = 0;
  for (const directory of asked) {
    if (instance.databases.find((one) => one.directory === directory)?.mounted !== true) {
      return new StatusValue(`Database ${slash(directory)} is not mounted`, '5001');
    }
    const checked = gtm.integrity(directory);
    if (checked.code !== 0) bad += 1;
    if (bad > 0 && stopAfterError) break;
  }
  return bad === 0 ? '1' : new StatusValue(`Integrity check found errors in ${bad} database(s)`, integrityCheckErrors);
}

/** Stands for $$$IntegrityCheckErrors, whose number no page names. */
export const integrityCheckErrors = '6050';
