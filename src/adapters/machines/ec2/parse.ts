import { z } from 'zod';
import { StillpointError } from '../../../model/errors.ts';
import type { MachineState } from '../../../model/mirror-split.ts';
import type { CutSnapshot, FastState, MachineLook, MadeVolume } from '../../../ports/machines.ts';

function read<T>(output: string, shape: z.ZodType<T>, verb: string): T {
  try {
    return shape.parse(JSON.parse(output));
  } catch (cause) {
    throw new StillpointError('command-failed', `\`aws ec2 ${verb}\` printed something that is not understood`, {
      hint: 'run it by hand; version 1 or 2 of the AWS command line is needed',
      cause,
    });
  }
}

const instances = z.object({
  Reservations: z.array(
    z.object({
      Instances: z.array(
        z.object({
          InstanceId: z.string(),
          Placement: z.object({ AvailabilityZone: z.string() }),
          State: z.object({ Name: z.string() }),
          BlockDeviceMappings: z.array(
            z.object({
              DeviceName: z.string(),
              Ebs: z.object({ VolumeId: z.string(), Status: z.string(), DeleteOnTermination: z.boolean() }),
            }),
          ),
        }),
      ),
    }),
  ),
});

const states: readonly MachineState[] = ['pending', 'running', 'stopping', 'stopped'];

export function parseInstance(output: string, instance: string, device: string): MachineLook {
  const found = read(output, instances, 'describe-instances')
    .Reservations.flatMap(({ Instances }) => Instances)
    .find(({ InstanceId }) => InstanceId === instance);
  if (found === undefined) return { state: 'unknown', zone: '', attached: undefined, deletedWithMachine: undefined };
  const at = found.BlockDeviceMappings.find(({ DeviceName }) => DeviceName === device);
  return {
    state: states.find((state) => state === found.State.Name) ?? 'unknown',
    zone: found.Placement.AvailabilityZone,
    attached: at === undefined ? null : { volume: at.Ebs.VolumeId, state: at.Ebs.Status },
    deletedWithMachine: at?.Ebs.DeleteOnTermination,
  };
}

const snapshots = z.object({
  Snapshots: z.array(z.object({ SnapshotId: z.string(), VolumeId: z.string(), State: z.string() })),
});

export function parseSnapshots(output: string): readonly CutSnapshot[] {
  return read(output, snapshots, 'describe-snapshots').Snapshots.map(({ SnapshotId, VolumeId, State }) => ({
    id: SnapshotId,
    volume: VolumeId,
    state: State,
  }));
}

const volumes = z.object({
  Volumes: z.array(
    z.object({
      ...{ VolumeId: z.string(), AvailabilityZone: z.string(), State: z.string(), SnapshotId: z.string() },
      FastRestored: z.boolean().optional(),
    }),
  ),
});

export function parseVolumes(output: string): readonly MadeVolume[] {
  return read(output, volumes, 'describe-volumes').Volumes.map(
    ({ VolumeId, AvailabilityZone, State, SnapshotId, FastRestored }) => ({
      id: VolumeId,
      zone: AvailabilityZone,
      state: State,
      snapshot: SnapshotId,
      madeFast: FastRestored,
    }),
  );
}

const fastRestores = z.object({
  FastSnapshotRestores: z.array(z.object({ SnapshotId: z.string(), AvailabilityZone: z.string(), State: z.string() })),
});

const fastWords: Readonly<Record<string, FastState>> = {
  enabling: 'beginning',
  optimizing: 'beginning',
  enabled: 'on',
  disabling: 'off',
  disabled: 'off',
};

export function parseFastStates(output: string, snapshot: string): Readonly<Record<string, FastState>> {
  return Object.fromEntries(
    read(output, fastRestores, 'describe-fast-snapshot-restores')
      .FastSnapshotRestores.filter(({ SnapshotId }) => SnapshotId === snapshot)
      .map(({ AvailabilityZone, State }) => [AvailabilityZone, fastWords[State] ?? 'unknown']),
  );
}

const unsuccessful = z.object({
  Unsuccessful: z
    .array(
      z.object({
        FastSnapshotRestoreStateErrors: z.array(
          z.object({
            AvailabilityZone: z.string().optional(),
            Error: z.object({ Code: z.string().optional(), Message: z.string().optional() }).optional(),
          }),
        ),
      }),
    )
    .default([]),
});

/** Why it was refused in a zone, although the call was well; empty = it was not. */
export function parseUnsuccessful(output: string, verb: string): string {
  return read(output, unsuccessful, verb)
    .Unsuccessful.flatMap(({ FastSnapshotRestoreStateErrors }) => FastSnapshotRestoreStateErrors)
    .map(
      ({ AvailabilityZone = 'some zone', Error: why }) =>
        `${AvailabilityZone}: ${why?.Message ?? why?.Code ?? 'no reason'}`,
    )
    .join('; ');
}

const console = z.object({ Output: z.string().default('') });

export function parseConsole(output: string): string {
  return read(output, console, 'get-console-output').Output.trimEnd().split('\n').slice(-5).join('\n');
}
