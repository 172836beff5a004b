import { StillpointError } from '../../../model/errors.ts';

function fail(command: string, line: string): never {
  throw new StillpointError('command-failed', `\`${command}\` printed a line that is not understood: ${line}`, {
    hint: 'btrfs-progs 5.10 or later is needed; run the command by hand to see what it prints',
  });
}

/** `btrfs subvolume list -o`: lines `ID 257 gen 7 top level 256 path db/pg/nest`. */
export function parseList(output: string): readonly string[] {
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => /^ID \d+ gen \d+ top level \d+ path (.+)$/.exec(line)?.[1] ?? fail('btrfs subvolume list', line));
}

/** `btrfs subvolume show`: first line `db`, or `/` for the top; returned without a slash in front, so `` for the top. */
export function parseShow(output: string): string {
  const [first = ''] = output.split('\n');
  if (first === '' || !output.includes('Subvolume ID:')) return fail('btrfs subvolume show', first);
  return first.replace(/^\//, '');
}

/** `btrfs subvolume show` of a snapshot: whose it is, and whether it may be written to. `parent`: of a subvolume that is no snapshot, absent. */
export function parseSnapshot(output: string): {
  readonly uuid: string;
  readonly parent: string | undefined;
  readonly readonly: boolean;
} {
  const value = (key: string): string =>
    new RegExp(`^\\t${key}:[ \\t]*(.*)$`, 'm').exec(output)?.[1] ?? fail('btrfs subvolume show', `no ${key}`);
  const parent = value('Parent UUID');
  return {
    uuid: value('UUID'),
    parent: parent === '-' ? undefined : parent,
    readonly: value('Flags').split(/[ ,]+/).includes('readonly'),
  };
}

/** `Dirty:` and `Writeback:` of /proc/meminfo, in bytes. Zero when the kernel does not say. */
export function parseDirtyBytes(meminfo: string): number {
  let bytes = 0;
  for (const match of meminfo.matchAll(/^(?:Dirty|Writeback):\s+(\d+) kB$/gm)) bytes += Number(match[1]) * 1024;
  return bytes;
}
