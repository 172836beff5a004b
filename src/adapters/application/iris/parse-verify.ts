/** What `Display^Integrity` printed for one directory. */
export interface IntegrityDirectory {
  readonly directory: string;
  /** Globals with errors as the report counts them; undefined when the count is missing. */
  readonly globalsWithErrors: number | undefined;
}

export interface IntegrityReport {
  readonly directories: readonly IntegrityDirectory[];
  /** Globals that have errors, by name. */
  readonly broken: readonly { readonly global: string; readonly errors: number }[];
  /** Lines that say ERROR outright. */
  readonly errors: readonly string[];
  readonly saysNoErrors: boolean;
}

export function parseIntegrity(text: string): IntegrityReport {
  const directories: { directory: string; globalsWithErrors: number | undefined }[] = [];
  const broken: { global: string; errors: number }[] = [];
  const errors: string[] = [];
  let global = '';
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    const directory = /^Directory:\s*(\S.*)$/.exec(line);
    const count = /(\d+) globals? with errors found/.exec(line);
    const named = /^Global:\s*(\S+)/.exec(line);
    if (named !== null) global = named[1] as string;
    const found = /(?:^|\s)(\d+) errors? found/.exec(line);
    if (directory !== null) directories.push({ directory: directory[1] as string, globalsWithErrors: undefined });
    else if (count !== null) {
      const last = directories.at(-1);
      if (last !== undefined) last.globalsWithErrors = Number(count[1]);
      else errors.push(line);
    } else if (found !== null && found[1] !== '0') broken.push({ global, errors: Number(found[1]) });
    else if (/^\**\s*ERROR\b/i.test(line)) errors.push(line);
  }
  return { directories, broken, errors, saysNoErrors: /^\s*No Errors were found\./m.test(text) };
}

export interface IntegrityVerdict {
  readonly sound: boolean;
  readonly said: readonly string[];
}

/**
 * Sound only if the engine returned OK, mounted every directory that was asked for, and its report, if it printed one, has all of them
 * without an error: a check that never looked at a database also finds none.
 */
export function judgeIntegrity(
  status: string | undefined,
  report: IntegrityReport,
  asked: readonly string[],
  mounted: readonly string[],
): IntegrityVerdict {
  const said: string[] = [];
  if (status !== '1')
    said.push(`CheckList^Integrity returned ${status === undefined ? 'nothing' : `status ${status}`}`);
  const seen = new Map(report.directories.map((each) => [comparable(each.directory), each.globalsWithErrors]));
  const there = new Set(mounted.map(comparable));
  for (const directory of asked) {
    const count = seen.get(comparable(directory));
    if (!there.has(comparable(directory))) said.push(`${directory} could not be mounted`);
    else if (count === undefined && seen.size > 0) said.push(`${directory} is not in the report`);
    else if (count !== undefined && count > 0) said.push(`${directory}: ${count} globals with errors`);
  }
  for (const { global, errors } of report.broken) said.push(`global ${global}: ${errors} errors`);
  said.push(...report.errors);
  return { sound: said.length === 0, said };
}

function comparable(directory: string): string {
  return directory.replace(/[/\\]+$/, '');
}

/** The output of Journal.Restore's Run() or of ^JRNRESTO. */
export interface RestoreOutput {
  /** The text behind `[Journal restore completed at`; undefined without that mark. */
  readonly completedAt: string | undefined;
  readonly updated: readonly string[];
  readonly skipped: readonly string[];
  readonly applied: readonly string[];
}

export function parseJournalRestore(text: string): RestoreOutput {
  const lists = { updated: [] as string[], skipped: [] as string[] };
  const applied: string[] = [];
  let into: 'updated' | 'skipped' | undefined;
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    const title = /^The following databases (?:have been|were) (updated|skipped):/.exec(line);
    const file = /^Journal file being applied: (\S.*)$/.exec(line);
    const item = /^\d+\.\s+(\S.*)$/.exec(line);
    if (title !== null) into = title[1] as 'updated' | 'skipped';
    else if (file !== null) applied.push(file[1] as string);
    else if (item !== null && into !== undefined) lists[into].push(item[1] as string);
    else if (line !== '') into = undefined;
  }
  return {
    completedAt: /\[Journal restore completed at ([^\]]+)\]/.exec(text)?.[1],
    updated: lists.updated,
    skipped: lists.skipped,
    applied,
  };
}
