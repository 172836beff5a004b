import { StillpointError } from '../../../model/errors.ts';
import { detailOf } from '../../../platform/snapshot-place.ts';
import type { SnapshotRef, Volume } from '../../../model/storage.ts';
import type { Exec } from '../../../platform/exec.ts';
import { listVolumes, type Argv } from './commands.ts';
import { placeOf, uuidsOf } from './names.ts';
import { parseVolumes, type LogicalVolume } from './parse.ts';

/** LVM warns of every descriptor that it did not open itself. */
export const lvmEnvironment = { LVM_SUPPRESS_FD_WARNINGS: '1' } as const;
const lookMs = 60_000;

/** What LVM knows. `complete` is false if it could not look at everything: then something missing may be there all the same. */
export interface Listed {
  readonly volumes: readonly LogicalVolume[];
  readonly complete: boolean;
  readonly said: string;
}

export async function listed(exec: Exec, signal?: AbortSignal): Promise<Listed> {
  const argv: Argv = listVolumes();
  const options = { env: lvmEnvironment, timeoutMs: lookMs, ...(signal === undefined ? {} : { signal }) };
  const result = await exec.run({ argv, ...options });
  const said = result.stderr.trim();
  if (result.exitCode === null || result.stdout.trim() === '') {
    throw new StillpointError('command-failed', `LVM does not tell its volumes: ${said}`, {
      hint: 'run `lvs` by hand, as root; it hangs if a device of it is suspended (`dmsetup info -c`)',
    });
  }
  // 5: it printed what it could, and could not read some volume group.
  return { volumes: parseVolumes(result.stdout), complete: result.exitCode === 0, said };
}

export function originOf(volumes: readonly LogicalVolume[], volume: Pick<Volume, 'id'>): LogicalVolume {
  const { vg, lv } = uuidsOf(volume.id);
  const found = volumes.find((one) => one.vgUuid === vg && one.uuid === lv);
  if (found !== undefined) return found;
  throw new StillpointError('command-failed', `the logical volume ${lv} of volume group ${vg} is gone`, {
    hint: '`lvs -o vg_uuid,lv_uuid,lv_name` shows those that there are',
  });
}

/** By UUID of the group and by name: a group may have been renamed since. */
export function snapshotIn(volumes: readonly LogicalVolume[], ref: SnapshotRef): LogicalVolume | undefined {
  const { vg } = uuidsOf(ref.volume);
  const { name } = placeOf(ref);
  return volumes.find((one) => one.vgUuid === vg && one.name === name);
}

/** In the order of the group, those of one volume group together. */
export function byVolumeGroup(group: readonly Volume[]): readonly (readonly Volume[])[] {
  return [...Map.groupBy(group, (volume) => detailOf(volume, 'vg')).values()];
}
