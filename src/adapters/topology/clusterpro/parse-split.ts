import { StillpointError } from '../../../model/errors.ts';
import type { SeenDisk } from '../../../ports/mirror-split.ts';

export interface Unit {
  readonly active: 'yes' | 'no' | 'unknown';
  readonly startup: 'automatic' | 'manual' | 'unknown';
}

/** `systemctl show clusterpro`. Of a unit that systemd does not know nothing is told. */
export function parseUnit(output: string): Unit {
  const found = new Map(
    output.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).trim()]),
  );
  if (found.get('LoadState') !== 'loaded') return { active: 'unknown', startup: 'unknown' };
  const state = found.get('ActiveState');
  const file = found.get('UnitFileState');
  return {
    active: state === 'inactive' || state === 'failed' ? 'no' : 'yes',
    startup: file === 'enabled' ? 'automatic' : file === 'disabled' ? 'manual' : 'unknown',
  };
}

interface Node {
  readonly name: string;
  readonly type: string;
  readonly serial?: string | null;
  readonly children?: readonly Node[];
}

/** `lsblk --json --paths --output NAME,TYPE,SERIAL`. */
export function parseDisks(output: string): readonly SeenDisk[] {
  let parsed: { readonly blockdevices?: readonly Node[] };
  try {
    parsed = JSON.parse(output) as typeof parsed;
  } catch (cause) {
    throw new StillpointError('command-failed', '`lsblk --json` printed something that is no JSON', {
      hint: 'lsblk of util-linux 2.27 or later is needed on the servers',
      cause,
    });
  }
  return (parsed.blockdevices ?? [])
    .filter(({ type }) => type === 'disk')
    .map(({ name, serial, children }) => ({
      path: name,
      serial: serial ?? undefined,
      partitions: (children ?? []).filter(({ type }) => type === 'part').map((each) => each.name),
    }));
}
