import { StillpointError } from '../../../model/errors.ts';

function fail(command: string, output: string): never {
  throw new StillpointError('command-failed', `\`${command}\` printed what is not understood: ${output.trim()}`, {
    hint: 'LVM2 2.02.100 or later is needed; run the command by hand to see what it prints',
  });
}

export interface Thin {
  readonly sectors: number;
  /** Device number of the pool, `253:4`. */
  readonly pool: string;
  readonly id: number;
}

/**
 * `dmsetup table`: `0 819200 thin 253:4 1`. Undefined for another target, and for a volume with an origin outside of its pool (one more
 * field): what the pool does not hold is in no snapshot of the pool.
 */
export function parseThin(output: string): Thin | undefined {
  const [, sectors, pool = '', id] = /^0 (\d+) thin (\d+:\d+) (\d+)\n?$/.exec(output) ?? [];
  return sectors === undefined ? undefined : { sectors: Number(sectors), pool, id: Number(id) };
}

/** `dmsetup table` of a pool: `0 1048576 thin-pool 253:2 253:3 128 0 0`. The device number of its metadata. */
export function parsePoolMetadata(output: string): string {
  return /^0 \d+ thin-pool (\d+:\d+) /.exec(output)?.[1] ?? fail('dmsetup table', output);
}

export interface PoolState {
  /** Share of the pool's data and metadata in use, 0 to 1. */
  readonly data: number;
  readonly metadata: number;
  /** `rw` for a sound one; `ro`, `out_of_data_space` or `Fail` otherwise. */
  readonly mode: string;
  readonly needsCheck: boolean;
}

/** `dmsetup status` of a pool: `0 2097152 thin-pool 4 441/4096 3096/16384 - rw no_discard_passdown queue_if_no_space - 1024`. */
export function parsePoolState(output: string): PoolState {
  const text = output.trim();
  if (/^0 \d+ thin-pool (?:Fail|Error)$/.test(text)) return { data: 0, metadata: 0, mode: 'Fail', needsCheck: true };
  const form = /^0 \d+ thin-pool \d+ (\d+)\/(\d+) (\d+)\/(\d+) \S+ (rw|ro|out_of_data_space) (.*)$/;
  const [, usedMetadata, allMetadata, usedData, allData, mode = '', rest = ''] = form.exec(text) ?? [];
  if (usedMetadata === undefined) return fail('dmsetup status', output);
  return {
    data: Number(usedData) / Number(allData),
    metadata: Number(usedMetadata) / Number(allMetadata),
    mode,
    needsCheck: rest.split(' ').includes('needs_check'),
  };
}

/** `thin_ls --no-headers -o DEV`: one id a line. */
export function parseIds(output: string): readonly number[] {
  return output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => (/^\d+$/.test(line) ? Number(line) : fail('thin_ls', line)));
}

/** `dmsetup status` of an overlay: `0 655360 snapshot 16/131072 16`. Sectors of data in it, without its own index. */
export function overlayUsed(output: string): number {
  const [, used, metadata] = /^0 \d+ snapshot (\d+)\/\d+ (\d+)\s*$/.exec(output) ?? [];
  return used === undefined ? fail('dmsetup status', output) : Number(used) - Number(metadata);
}

/** dmsetup's words for an id that the pool does not have (ENODATA), on load and on message. */
export function saysMissing(stderr: string): boolean {
  return /No data available/.test(stderr);
}

/** fsfreeze's words for a file system that was not frozen (EINVAL of FITHAW): the only proof of it that there is. */
export function saysNotFrozen(stderr: string): boolean {
  return /unfreeze failed: Invalid argument/.test(stderr);
}

/** Lines of /proc/swaps, without its head: what is swapped to, a device or a file. */
export function parseSwaps(text: string): readonly string[] {
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.replace(/\s.*$/, ''))
    .filter((name) => name !== '')
    .map((name) => name.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCodePoint(parseInt(octal, 8))));
}

export interface MountLine {
  /** Of this mount alone, until it is unmounted. */
  readonly id: string;
  /** Device number, `253:5`. */
  readonly number: string;
  /** Which directory of the file system is mounted. */
  readonly root: string;
  readonly mountPoint: string;
  readonly source: string;
}

/** proc(5), /proc/PID/mountinfo: `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw`. */
export function parseMounts(mountinfo: string): readonly MountLine[] {
  const plain = (field: string): string =>
    field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCodePoint(parseInt(octal, 8)));
  return mountinfo
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const form = /^(\d+) \d+ (\d+:\d+) (\S+) (\S+) .*? - \S+ (\S+)/;
      const [, id, number = '', root = '', mountPoint = '', source = ''] = form.exec(line) ?? [];
      if (id === undefined) return fail('cat /proc/self/mountinfo', line);
      return { id, number, root: plain(root), mountPoint: plain(mountPoint), source: plain(source) };
    });
}
