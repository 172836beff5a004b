import { StillpointError } from '../model/errors.ts';
import { normalize, type Ranges } from '../model/ranges.ts';

const sectorBytes = 512;

function fail(command: string, what: string): never {
  throw new StillpointError('command-failed', `\`${command}\` ${what}`, {
    hint: 'thin-provisioning-tools 0.7 or later is needed; everything is read this time',
  });
}

/** What `dmsetup status` says of a thin pool that can be asked. */
export interface PoolStatus {
  readonly transaction: string;
  /** Block of the metadata that is held for readers of it; undefined if none is. */
  readonly heldRoot: string | undefined;
}

/** `0 1048576 thin-pool 2 219/2048 1031/8192 - rw no_discard_passdown ...`; `Fail` or `Error` in the place of the figures is an error. */
export function parsePoolStatus(output: string): PoolStatus {
  const [, transaction, heldRoot] = /^\d+ \d+ thin-pool (\d+) \d+\/\d+ \d+\/\d+ (-|\d+) /m.exec(`${output} `) ?? [];
  if (transaction === undefined || heldRoot === undefined) {
    return fail('dmsetup status', `shows no thin pool in order: ${output.trim()}`);
  }
  return { transaction, heldRoot: heldRoot === '-' ? undefined : heldRoot };
}

/** `dmsetup table` of a pool: `0 1048576 thin-pool 254:1 254:2 128 ...`: the number of the device with its metadata. */
export function parseMetadataNumber(output: string): string {
  const [, number] = /^\d+ \d+ thin-pool (\d+:\d+) \d+:\d+ \d+/m.exec(output) ?? [];
  return number ?? fail('dmsetup table', `shows no thin pool: ${output.trim()}`);
}

export interface ThinDelta {
  /** Where the two volumes may differ, as bytes of the volume. */
  readonly changed: Ranges;
  readonly blockBytes: number;
}

interface Attributes {
  readonly [name: string]: string | undefined;
}

function attributes(text: string): Attributes {
  return Object.fromEntries([...text.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
}

/**
 * `thin_delta -m --snap1 LEFT --snap2 RIGHT DEVICE`. All but `same` counts as changed: a block that only one volume has was written or
 * discarded. A line that is not understood could be a changed block, so it is an error.
 */
export function parseThinDelta(output: string, left: number, right: number): ThinDelta {
  const odd = (line: string): never => fail('thin_delta', `printed a line that is not understood: ${line}`);
  const lines = output.split('\n').map((line) => line.trim());
  const [first = '', diff = '', ...rest] = lines.filter((line) => line !== '');
  const sectors = /^<superblock .*>$/.test(first) ? attributes(first)['data_block_size'] : undefined;
  if (sectors === undefined || !/^[1-9]\d*$/.test(sectors)) return odd(first);
  const asked = attributes(diff);
  if (!/^<diff .*>$/.test(diff) || asked['left'] !== String(left) || asked['right'] !== String(right)) return odd(diff);
  // Without its end it was cut short, and what is missing would count as the same.
  if (rest.at(-2) !== '</diff>' || rest.at(-1) !== '</superblock>') return odd(rest.at(-1) ?? diff);
  const blockBytes = Number(sectors) * sectorBytes;
  const changed = rest.slice(0, -2).flatMap((line) => {
    const [, kind, begin, length] =
      /^<(same|different|left_only|right_only) begin="(\d+)" length="(\d+)"\s*\/>$/.exec(line) ?? odd(line);
    if (kind === 'same') return [];
    return [{ offset: Number(begin) * blockBytes, length: Number(length) * blockBytes }];
  });
  return { changed: normalize(changed), blockBytes };
}
