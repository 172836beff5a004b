import type { JournalFile } from '../../../model/journal.ts';

/** A journal file by its name: `[prefix]yyyymmdd.nnn`, with a `z` at its end once it is compressed. */
export interface JournalName {
  /** Without the `z`: the engine calls the file so in both forms. */
  readonly name: string;
  readonly date: string;
  readonly number: number;
  readonly compressed: boolean;
  /** Name of the mirror whose journal it is; undefined for the instance's own. */
  readonly mirror: string | undefined;
}

export function parseJournalName(file: string): JournalName | undefined {
  const found = /^((?:.*[^0-9])?)(\d{8})\.(\d{3,6})(z?)$/.exec(file);
  if (found === null) return undefined;
  const [, prefix, date, number, z] = found as unknown as [string, string, string, string, string];
  const mirror = /^MIRROR-(.+)-$/.exec(prefix)?.[1];
  return { name: `${prefix}${date}.${number}`, date, number: Number(number), compressed: z === 'z', mirror };
}

/** An instance's own files and those of each mirror are chains of their own. */
export function partOf(instance: string, file: string): string {
  const mirror = parseJournalName(file)?.mirror;
  return mirror === undefined ? instance : `${instance}:${mirror}`;
}

/** The newest of an instance's own files, by the names in a listing. */
export function lastOwn(names: readonly string[]): string | undefined {
  return names
    .flatMap((each) => parseJournalName(each) ?? [])
    .filter((each) => each.mirror === undefined)
    .toSorted((a, b) => a.date.localeCompare(b.date) || a.number - b.number)
    .at(-1)?.name;
}

/** A file as the directory shows it. Times are seconds since 1970; `born` 0 where the file system does not keep it. */
export interface JournalStat {
  readonly directory: string;
  readonly file: string;
  readonly bytes: number;
  readonly changed: number;
  readonly born: number;
}

/** Output of `stat -c '%s %Y %W %n'`, one file a line. Other files are passed over. */
export function parseJournalStats(output: string): readonly JournalStat[] {
  const found: JournalStat[] = [];
  for (const line of output.split('\n')) {
    const fields = /^(\d+) (\d+) (\d+|-|\?) (.*)\/([^/]+)$/.exec(line);
    if (fields === null) continue;
    const [, bytes, changed, born, directory, file] = fields as unknown as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    if (parseJournalName(file) === undefined) continue;
    found.push({ directory, file, bytes: Number(bytes), changed: Number(changed), born: Number(born) || 0 });
  }
  return found;
}

/**
 * The files of one instance as chains. Positions are the names' own date and number: each begins at its own and ends at that of its
 * successor. A number that is left out within a day, or a day that does not begin with 1, is a gap: nothing begins where the one before ends.
 * `current`: base name of the file that is written to.
 */
export function journalChains(
  instance: string,
  stats: readonly JournalStat[],
  current: string,
): readonly JournalFile[] {
  const parts = new Map<string, { readonly stat: JournalStat; readonly name: JournalName }[]>();
  for (const stat of stats) {
    const name = parseJournalName(stat.file);
    if (name === undefined) continue;
    const part = partOf(instance, name.name);
    const chain = parts.get(part) ?? [];
    // While it is being compressed both forms are there; the plain one is whole.
    const twin = chain.findIndex((each) => each.name.name === name.name);
    if (twin === -1) chain.push({ stat, name });
    else if (!name.compressed) chain[twin] = { stat, name };
    parts.set(part, chain);
  }
  return [...parts]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .flatMap(([part, chain]) => chainOf(part, chain, current));
}

function chainOf(
  part: string,
  files: readonly { readonly stat: JournalStat; readonly name: JournalName }[],
  current: string,
): readonly JournalFile[] {
  const chain = files.toSorted((a, b) => a.name.date.localeCompare(b.name.date) || a.name.number - b.name.number);
  return chain.map(({ stat, name }, i) => {
    const [before, next] = [chain[i - 1], chain[i + 1]?.name];
    // A compressed file is born long after its journal began. Before that its predecessor had its last change.
    const born = name.compressed || stat.born === 0 ? before?.stat.changed : stat.born;
    const closed = name.name !== current;
    return {
      part,
      name: name.name,
      path: `${stat.directory}/${stat.file}`,
      begin: positionOf(name.date, name.number),
      ...(closed ? { end: endOf(name, next), endedAt: iso(stat.changed) } : {}),
      beganAt: iso(Math.min(born ?? stat.changed, stat.changed)),
      bytes: stat.bytes,
    };
  });
}

function endOf(name: JournalName, next: JournalName | undefined): string {
  if (next !== undefined && next.date > name.date && next.number === 1) return positionOf(next.date, 1);
  return positionOf(name.date, name.number + 1);
}

function positionOf(date: string, number: number): string {
  return `${date}.${String(number).padStart(3, '0')}`;
}

function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
