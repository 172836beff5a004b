import type { Answer } from './actions.ts';
import { takeFault, type World } from './world.ts';
import type { Server, Snapshot, Tags, Volume } from './state.ts';

const settleMs = 5_000;

class Refusal extends Error {
  constructor(code: string, operation: string, said: string) {
    super(`\nAn error occurred (${code}) when calling the ${operation} operation: ${said}\n`);
  }
}

/** Options of the verb: `--volume-ids a b` as a list, whatever they are. */
function parse(args: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  let last: string[] = [];
  for (const arg of args) {
    if (arg.startsWith('--')) found.set(arg, (last = []));
    else last.push(arg);
  }
  return found;
}

/** `aws ec2 VERB ...` for the verbs of a backup and restore of a mirror disk, with the fields that they need. */
export function aws(world: World, args: readonly string[]): Answer | 'hang' {
  const line = ['aws', ...args].join(' ');
  world.state.calls.push({ server: 'client', what: line });
  const fault = takeFault(world.state, line, 'client');
  if (fault?.how === 'hangs') return 'hang';
  if (fault?.how === 'fails')
    return { out: '', err: `${fault.said ?? 'Could not connect to the endpoint URL'}\n`, code: fault.code ?? 254 };
  if (fault?.how === 'lost')
    return { out: '', err: 'Connection was closed before we received a valid response\n', code: 255 };
  if (fault?.how === 'does-nothing') return { out: '{}\n', code: 0 };
  const [service, verb = '', ...rest] = args;
  const run = service === 'ec2' ? verbs[verb] : undefined;
  if (run === undefined) return { out: '', err: `aws: error: argument operation: Invalid choice\n`, code: 252 };
  try {
    const out = `${JSON.stringify(run(world, parse(rest)), undefined, 4)}\n`;
    if (fault?.how === 'acts-then-lost')
      return { out: '', err: 'Connection was closed before we received a valid response\n', code: 255 };
    return { out, code: 0 };
  } catch (error) {
    if (error instanceof Refusal) return { out: '', err: error.message, code: 254 };
    throw error;
  }
}

type Options = ReadonlyMap<string, readonly string[]>;

function one(options: Options, name: string): string {
  return options.get(name)?.[0] ?? '';
}

function server(world: World, instance: string, operation: string): Server {
  const found = world.state.servers.find((each) => each.instance === instance);
  if (found !== undefined) return found;
  throw new Refusal('InvalidInstanceID.NotFound', operation, `The instance ID '${instance}' does not exist`);
}

function volume(world: World, id: string, operation: string): Volume {
  const found = world.state.volumes[id];
  if (found !== undefined) return found;
  throw new Refusal('InvalidVolume.NotFound', operation, `The volume '${id}' does not exist.`);
}

function snapshot(world: World, id: string, operation: string): Snapshot {
  const found = world.state.snapshots[id];
  if (found !== undefined) return found;
  throw new Refusal('InvalidSnapshot.NotFound', operation, `The snapshot '${id}' does not exist.`);
}

function instanceState(world: World, { power, boot }: Server): { readonly Code: number; readonly Name: string } {
  if (power === 'stopping') return { Code: 64, Name: 'stopping' };
  if (power === 'stopped') return { Code: 80, Name: 'stopped' };
  const pending = boot !== null && boot.cold && world.state.nowMs - boot.fromMs < settleMs;
  // `running` tells nothing of the system in it: it may boot for a long time yet.
  return pending ? { Code: 0, Name: 'pending' } : { Code: 16, Name: 'running' };
}

function asInstance(world: World, each: Server): object {
  return {
    InstanceId: each.instance,
    Placement: { AvailabilityZone: each.zone },
    State: instanceState(world, each),
    BlockDeviceMappings: Object.values(world.state.volumes)
      .filter(({ attachment }) => attachment?.instance === each.instance)
      .map(({ id, attachment }) => ({
        DeviceName: attachment?.device,
        Ebs: { VolumeId: id, Status: attachment?.state, DeleteOnTermination: false },
      })),
  };
}

function asVolume({ id, zone, state, attachment, snapshot: from, madeFast }: Volume): object {
  return {
    VolumeId: id,
    AvailabilityZone: zone,
    State: state,
    SnapshotId: from ?? '',
    Size: 20,
    FastRestored: madeFast,
    Attachments:
      attachment === null
        ? []
        : [{ VolumeId: id, InstanceId: attachment.instance, Device: attachment.device, State: attachment.state }],
  };
}

function asSnapshot({ id, volume: of, description, state, startedMs }: Snapshot): object {
  return {
    SnapshotId: id,
    VolumeId: of,
    State: state,
    Progress: state === 'completed' ? '100%' : '0%',
    StartTime: new Date(startedMs).toISOString(),
    Description: description,
    VolumeSize: 20,
    Encrypted: false,
  };
}

/** `ResourceType=snapshot,Tags=[{Key=a,Value=b},...]`. */
function tagsOf(options: Options): Tags {
  const text = one(options, '--tag-specifications');
  return Object.fromEntries(
    [...text.matchAll(/\{Key=([^,}]+),Value=([^,}]+)\}/g)].map(([, key = '', value = '']) => [key, value]),
  );
}

/** `Name=tag:KEY,Values=VALUE`, or another field by its name. */
function matches(options: Options, tags: Tags, fields: Readonly<Record<string, string>>): boolean {
  return (options.get('--filters') ?? []).every((filter) => {
    const [, name = '', value = ''] = /^Name=([^,]+),Values=(.+)$/.exec(filter) ?? [];
    return (name.startsWith('tag:') ? tags[name.slice(4)] : fields[name]) === value;
  });
}

function newId(world: World, kind: string): string {
  world.state.nextId += 1;
  return `${kind}-${world.state.nextId.toString(16).padStart(17, '0')}`;
}

function later(world: World, kind: 'snapshot' | 'attached' | 'detached' | 'created', id: string): void {
  const ms = kind === 'snapshot' ? world.state.options.snapshotMs : settleMs;
  world.timer({ atMs: world.state.nowMs + ms, kind, id });
}

function copyPartitions(world: World, from: string, to: string): void {
  world.store.putClusterPartition(to, world.store.clusterPartition(from));
  world.store.putDataPartition(to, world.store.dataPartition(from));
}

const verbs: Readonly<Record<string, (world: World, options: Options) => object>> = {
  'describe-instances': (world, options) => ({
    Reservations: [
      {
        Instances: (options.get('--instance-ids') ?? world.state.servers.map(({ instance }) => instance)).map((id) =>
          asInstance(world, server(world, id, 'DescribeInstances')),
        ),
      },
    ],
  }),
  'start-instances': (world, options) => ({
    StartingInstances: (options.get('--instance-ids') ?? []).map((id) => {
      const each = server(world, id, 'StartInstances');
      const before = instanceState(world, each);
      if (each.power === 'stopping')
        throw new Refusal(
          'IncorrectInstanceState',
          'StartInstances',
          `The instance '${id}' is not in a state from which it can be started.`,
        );
      if (each.power === 'stopped') world.startBoot(each, true);
      return { InstanceId: id, CurrentState: instanceState(world, each), PreviousState: before };
    }),
  }),
  'stop-instances': (world, options) => ({
    StoppingInstances: (options.get('--instance-ids') ?? []).map((id) => {
      const each = server(world, id, 'StopInstances');
      const before = instanceState(world, each);
      world.shutDown(each);
      return { InstanceId: id, CurrentState: instanceState(world, each), PreviousState: before };
    }),
  }),
  'describe-volumes': (world, options) => ({
    Volumes: (options.get('--volume-ids') ?? Object.keys(world.state.volumes))
      .map((id) => volume(world, id, 'DescribeVolumes'))
      .filter(({ tags, snapshot: from }) => matches(options, tags, { 'snapshot-id': from ?? '' }))
      .map(asVolume),
  }),
  'describe-snapshots': (world, options) => ({
    Snapshots: (options.get('--snapshot-ids') ?? Object.keys(world.state.snapshots))
      .map((id) => snapshot(world, id, 'DescribeSnapshots'))
      .filter(({ tags, id }) => matches(options, tags, { 'snapshot-id': id }))
      .map(asSnapshot),
  }),
  'create-snapshot': (world, options) => {
    const of = volume(world, one(options, '--volume-id'), 'CreateSnapshot');
    const made: Snapshot = {
      id: newId(world, 'snap'),
      volume: of.id,
      description: (options.get('--description') ?? []).join(' '),
      startedMs: world.state.nowMs,
      state: 'pending',
      tags: tagsOf(options),
      fast: [],
      fastFromMs: {},
      fastOffMs: {},
    };
    // The cut is now, whenever the upload ends.
    copyPartitions(world, `volumes/${of.id}`, `snapshots/${made.id}`);
    world.state.snapshots[made.id] = made;
    later(world, 'snapshot', made.id);
    return asSnapshot(made);
  },
  'delete-snapshot': (world, options) => {
    delete world.state.snapshots[snapshot(world, one(options, '--snapshot-id'), 'DeleteSnapshot').id];
    return {};
  },
  'delete-volume': (world, options) => {
    const of = volume(world, one(options, '--volume-id'), 'DeleteVolume');
    if (of.attachment !== null)
      throw new Refusal('VolumeInUse', 'DeleteVolume', `Volume ${of.id} is currently attached`);
    delete world.state.volumes[of.id];
    return {};
  },
  'get-console-output': (world, options) => ({
    InstanceId: server(world, one(options, '--instance-id'), 'GetConsoleOutput').instance,
    Output: '[  OK  ] Reached target Basic System.\nA start job is running for Wait for Network\n',
  }),
  'create-volume': (world, options) => {
    const from = snapshot(world, one(options, '--snapshot-id'), 'CreateVolume');
    const made: Volume = {
      id: newId(world, 'vol'),
      zone: one(options, '--availability-zone'),
      state: 'creating',
      attachment: null,
      snapshot: from.id,
      tags: tagsOf(options),
      madeFast: fastStateOf(world, from, one(options, '--availability-zone')) === 'enabled',
    };
    if (from.state !== 'completed')
      throw new Refusal('IncorrectState', 'CreateVolume', `Snapshot is in invalid state - ${from.state}`);
    copyPartitions(world, `snapshots/${from.id}`, `volumes/${made.id}`);
    world.state.volumes[made.id] = made;
    later(world, 'created', made.id);
    return asVolume(made);
  },
  'attach-volume': (world, options) => {
    const of = volume(world, one(options, '--volume-id'), 'AttachVolume');
    const to = server(world, one(options, '--instance-id'), 'AttachVolume');
    const device = one(options, '--device');
    if (of.state !== 'available')
      throw new Refusal('IncorrectState', 'AttachVolume', `Volume '${of.id}' is not 'available'.`);
    if (of.zone !== to.zone)
      throw new Refusal(
        'InvalidVolume.ZoneMismatch',
        'AttachVolume',
        `The volume '${of.id}' is not in the same availability zone as instance '${to.instance}'`,
      );
    const taken = Object.values(world.state.volumes).some(
      ({ attachment }) => attachment?.instance === to.instance && attachment.device === device,
    );
    if (taken)
      throw new Refusal(
        'InvalidParameterValue',
        'AttachVolume',
        `Invalid value '${device}' for unixDevice. Attachment point ${device} is already in use`,
      );
    of.attachment = { instance: to.instance, device, state: 'attaching' };
    later(world, 'attached', of.id);
    return { VolumeId: of.id, InstanceId: to.instance, Device: device, State: 'attaching' };
  },
  'detach-volume': (world, options) => {
    const of = volume(world, one(options, '--volume-id'), 'DetachVolume');
    if (of.attachment === null)
      throw new Refusal('IncorrectState', 'DetachVolume', `Volume '${of.id}' is in the 'available' state.`);
    const from = server(world, of.attachment.instance, 'DetachVolume');
    // Open in the running system: it does not let go.
    of.attachment.state = from.power === 'stopped' ? 'detaching' : 'busy';
    if (of.attachment.state === 'detaching') later(world, 'detached', of.id);
    return { VolumeId: of.id, InstanceId: from.instance, Device: of.attachment.device, State: 'detaching' };
  },
  'enable-fast-snapshot-restores': (world, options) => fastRestore(world, options, true),
  'disable-fast-snapshot-restores': (world, options) => fastRestore(world, options, false),
  'describe-fast-snapshot-restores': (world, options) => ({
    FastSnapshotRestores: Object.values(world.state.snapshots)
      .filter(({ tags, id }) => matches(options, tags, { 'snapshot-id': id }))
      .flatMap((of) =>
        [...of.fast, ...Object.keys(of.fastOffMs)].map((zone) => ({
          ...{ SnapshotId: of.id, AvailabilityZone: zone, State: fastStateOf(world, of, zone) },
          StateTransitionReason: 'Client.UserInitiated',
        })),
      ),
  }),
};

/** The words of EC2; those of what is off for long are left out by it. */
function fastStateOf(world: World, { fast, fastFromMs, fastOffMs }: Snapshot, zone: string): string {
  const { nowMs, options } = world.state;
  if (!fast.includes(zone)) return nowMs - (fastOffMs[zone] ?? 0) < settleMs ? 'disabling' : 'disabled';
  const sinceMs = nowMs - (fastFromMs[zone] ?? 0);
  return sinceMs < settleMs ? 'enabling' : sinceMs < options.fastMs ? 'optimizing' : 'enabled';
}

function fastRestore(world: World, options: Options, on: boolean): object {
  const zones = options.get('--availability-zones') ?? [];
  const ids = options.get('--source-snapshot-ids') ?? [];
  for (const id of ids) {
    const of = snapshot(world, id, on ? 'EnableFastSnapshotRestores' : 'DisableFastSnapshotRestores');
    for (const zone of zones) {
      const isOn = of.fast.includes(zone);
      if (on && !isOn) {
        of.fast.push(zone);
        of.fastFromMs[zone] = world.state.nowMs;
        delete of.fastOffMs[zone];
      } else if (!on && isOn) {
        of.fast = of.fast.filter((each) => each !== zone);
        of.fastOffMs[zone] = world.state.nowMs;
      }
    }
  }
  return {
    Successful: ids.flatMap((SnapshotId) =>
      zones.map((AvailabilityZone) => ({
        ...{ SnapshotId, AvailabilityZone, State: on ? 'enabling' : 'disabling' },
        StateTransitionReason: 'Client.UserInitiated',
      })),
    ),
    Unsuccessful: [],
  };
}
