/** What the tools say that copies of array members are opened with. Pure. */
import { StillpointError } from '../model/errors.ts';

/** `mdadm --examine --export`: lines `MD_UUID=...`. */
export interface MemberSuperblock {
  readonly uuid: string;
  readonly level: string;
  readonly devices: number;
  readonly events: string;
}

/** Undefined when the device is no member of any array. */
export function parseExamine(output: string): MemberSuperblock | undefined {
  const values = new Map(
    output.split('\n').flatMap((line) => {
      const [, key, value] = /^(MD_[A-Z_]+)=(.*)$/.exec(line) ?? [];
      return key === undefined || value === undefined ? [] : [[key, value] as const];
    }),
  );
  const uuid = values.get('MD_UUID');
  const devices = Number(values.get('MD_DEVICES'));
  if (uuid === undefined || !Number.isInteger(devices)) return undefined;
  return { uuid, level: values.get('MD_LEVEL') ?? '', devices, events: values.get('MD_EVENTS') ?? '' };
}

/** mdadm writes a UUID with colons, blkid with dashes. */
export function sameUuid(one: string, other: string): boolean {
  const plain = (uuid: string): string => uuid.replaceAll(/[^0-9a-f]/gi, '').toLowerCase();
  return plain(one) === plain(other);
}

export interface PartitionPlace {
  readonly startSectors: number;
  readonly sectors: number;
}

/** `partx --show --raw --noheadings --bytes -o NR,START,SECTORS`: the partition of that number. */
export function parsePartition(output: string, number: number): PartitionPlace {
  for (const line of output.split('\n')) {
    const [, nr, start, sectors] = /^\s*(\d+)\s+(\d+)\s+(\d+)\s*$/.exec(line) ?? [];
    if (Number(nr) === number) return { startSectors: Number(start), sectors: Number(sectors) };
  }
  throw new StillpointError('cut-failed', `the copied disk has no partition ${number}`, {
    hint: 'see that the right copy was given for each member',
  });
}
