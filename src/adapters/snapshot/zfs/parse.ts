import { StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';

function fail(command: string, line: string): never {
  throw new StillpointError('command-failed', `\`${command}\` printed a line that is not understood: ${line}`, {
    hint: 'OpenZFS 2.0 or later is needed; run the command by hand to see what it prints',
  });
}

export interface ListedSnapshot {
  readonly name: string;
  /** Seconds since 1970. */
  readonly creation: number;
  /** How many holds (zfs-hold(8)) keep it from being destroyed. */
  readonly holds: number;
  /** Our label, or undefined for a snapshot that is not ours. */
  readonly run: string | undefined;
  readonly cut: string | undefined;
}

/** `zfs list -H -p -t snapshot -o name,creation,userrefs,stillpoint:run,stillpoint:cut`: one tab between columns, `-` for no value. */
export function parseList(output: string): readonly ListedSnapshot[] {
  return lines(output).map((line) => {
    const [, name = '', creation = '', holds = '', run = '', cut = ''] =
      /^([^\t]+@[^\t]+)\t(\d+)\t(\d+|-)\t([^\t]+)\t([^\t]+)$/.exec(line) ?? fail('zfs list', line);
    const value = (text: string): string | undefined => (text === '-' ? undefined : text);
    return {
      name,
      creation: Number(creation),
      holds: holds === '-' ? 0 : Number(holds),
      run: value(run),
      cut: value(cut),
    };
  });
}

export interface DiffEntry {
  readonly change: '+' | '-' | 'M' | 'R';
  readonly type: string;
  readonly paths: readonly string[];
}

/**
 * `zfs diff -F -H -t`: change time, change, type, path, and the new path of a renamed one, or the change of the number of links. A file
 * that was removed while it was open has no path and is passed over.
 */
export function parseDiff(output: string): readonly DiffEntry[] {
  return lines(output).flatMap((line): readonly DiffEntry[] => {
    const [, change, type = '', path = '', more = ''] =
      /^ *\d+\.\d{9}\t([-+MR])\t(.)\t([^\t]+)(?:\t([^\t]+))?$/.exec(line) ?? fail('zfs diff', line);
    if ((change === 'R') !== (more !== '' && !/^\([+-]\d+\)$/.test(more))) return fail('zfs diff', line);
    if (path.endsWith('(on_delete_queue)')) return [];
    const paths = [unescape(path), ...(change === 'R' ? [unescape(more)] : [])];
    return [{ change: change as DiffEntry['change'], type, paths }];
  });
}

/** What is no printable ASCII, a blank or a backslash, stands as `\0` and three octal digits for each byte. */
function unescape(path: string): string {
  const bytes: Buffer[] = [];
  for (const [part, octal] of path.matchAll(/\\0([0-7]{3})|[^\\]+|\\/g)) {
    bytes.push(octal === undefined ? Buffer.from(part) : Buffer.from([Number.parseInt(octal, 8)]));
  }
  return Buffer.concat(bytes).toString('utf8');
}

function lines(output: string): readonly string[] {
  return output.split('\n').filter((line) => line !== '');
}

/** `zpool status POOL`, for people: what it says is never taken for "healthy" unless it is understood. */
export function parseStatus(output: string, pool: string): readonly Finding[] {
  const values = new Map(
    [...output.matchAll(/^ *(\w+): *(.*(?:\n\t.*)*)/gm)].map(([, key, value = '']) => [
      key,
      value.replaceAll(/\s+/g, ' ').trim(),
    ]),
  );
  const state = values.get('state');
  const errors = values.get('errors');
  if (state === undefined || errors === undefined) return fail('zpool status', output.slice(0, 200));
  const findings: Finding[] = [];
  const add = (severity: Finding['severity'], said: string): void => {
    findings.push({ severity, check: 'zpool-status', said: `the ZFS pool ${pool} ${said}` });
  };
  if (state === 'DEGRADED') add('warning', 'is DEGRADED: a device is missing or faulty');
  else if (state !== 'ONLINE') add('error', `is ${state}`);
  const scan = values.get('scan');
  if (scan?.startsWith('resilver in progress') === true) add('warning', `is being resilvered (${scan.slice(0, 200)})`);
  if (errors !== 'No known data errors') add('error', `has lost data: ${errors.slice(0, 200)}`);
  return findings;
}

export type WhyNotDestroyed = 'missing' | 'held' | 'cloned' | 'busy' | 'other';

/** Why `zfs destroy SNAPSHOT` failed, by its words under LC_ALL=C: its exit code is 1 for all of them. */
export function whyNotDestroyed(stderr: string): WhyNotDestroyed {
  if (/could not find any snapshots to destroy|dataset does not exist/.test(stderr)) return 'missing';
  if (/it's being held/.test(stderr)) return 'held';
  if (/snapshot (?:is cloned|has dependent clones)/.test(stderr)) return 'cloned';
  return /dataset is busy/.test(stderr) ? 'busy' : 'other';
}
