import type { ClusterPartition, DataPartition, Server, State, Store, Volume } from './state.ts';

export type Colour = 'GREEN' | 'YELLOW' | 'RED' | 'GRAY';

/** Two disks and the group on them: what is newer, what is written where, who may come up. */
export class Mirror {
  readonly state: State;
  readonly store: Store;

  constructor(state: State, store: Store) {
    this.state = state;
    this.store = store;
  }

  server(name: string): Server {
    const found = this.state.servers.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no server ${name}`);
    return found;
  }

  other(name: string): Server {
    const found = this.state.servers.find((each) => each.name !== name);
    if (found === undefined) throw new Error(`no other server than ${name}`);
    return found;
  }

  /** It runs, and the others hear it. */
  isUp(server: Server): boolean {
    return server.power === 'running' && server.service && server.silentFromMs === null;
  }

  /** The volume behind the configured devices: `/dev/sdb` of EC2 is `/dev/xvdb` of the system. */
  volumeOf(server: Server): Volume | undefined {
    return this.attachedTo(server).find(
      ({ attachment }) =>
        attachment !== null && deviceName(attachment.device) === server.partitions.cluster.slice(0, -1),
    );
  }

  attachedTo(server: Server): readonly Volume[] {
    return Object.values(this.state.volumes).filter(
      ({ attachment }) => attachment?.instance === server.instance && attachment.state !== 'attaching',
    );
  }

  protected clusterOf(server: Server): ClusterPartition | undefined {
    const volume = this.volumeOf(server);
    return volume === undefined ? undefined : this.store.clusterPartition(`volumes/${volume.id}`);
  }

  protected dataOf(server: Server): DataPartition | undefined {
    const volume = this.volumeOf(server);
    return volume === undefined ? undefined : this.store.dataPartition(`volumes/${volume.id}`);
  }

  changeCluster(server: Server, change: (partition: ClusterPartition) => void): void {
    const volume = this.volumeOf(server);
    if (volume === undefined) throw new Error(`${server.name} has no volume at ${server.partitions.cluster}`);
    const partition = this.store.clusterPartition(`volumes/${volume.id}`);
    change(partition);
    this.store.putClusterPartition(`volumes/${volume.id}`, partition);
  }

  changeData(server: Server, change: (partition: DataPartition) => void): void {
    const volume = this.volumeOf(server);
    if (volume === undefined) throw new Error(`${server.name} has no volume at ${server.partitions.data}`);
    const partition = this.store.dataPartition(`volumes/${volume.id}`);
    change(partition);
    this.store.putDataPartition(`volumes/${volume.id}`, partition);
  }

  colour(server: Server): Colour {
    if (!this.isUp(server)) return 'GRAY';
    const own = this.clusterOf(server);
    const data = this.dataOf(server);
    if (own === undefined || data === undefined || data.fs === 'destroyed') return 'RED';
    if (this.state.mirror.recovering !== null) return 'YELLOW';
    if (own.initial) return 'RED';
    const relation = this.relation(own, this.clusterOf(this.other(server.name)));
    return relation === 'same' || relation === 'newer' ? 'GREEN' : 'RED';
  }

  protected relation(
    own: ClusterPartition,
    other: ClusterPartition | undefined,
  ): 'same' | 'newer' | 'older' | 'conflict' {
    if (own.initial && other !== undefined && !other.initial) return 'older';
    if (other === undefined || (other.initial && !own.initial) || own.generation > other.generation) return 'newer';
    if (own.generation < other.generation) return 'older';
    return own.by === other.by ? 'same' : 'conflict';
  }

  status(): 'Normal' | 'Recovering' | 'Abnormal' | 'No Construction' | 'Uncertain' {
    if (this.state.mirror.recovering !== null) return 'Recovering';
    const [one, two] = this.state.servers.map((server) => this.clusterOf(server));
    if (one !== undefined && two !== undefined) {
      if (one.initial && two.initial) return 'No Construction';
      if (this.relation(one, two) === 'conflict') return 'Uncertain';
    }
    return this.state.servers.every((server) => this.colour(server) === 'GREEN') ? 'Normal' : 'Abnormal';
  }

  backupMode(server: Server): boolean {
    return this.clusterOf(server)?.backup ?? false;
  }

  /** What the monitor `monitor` says on one server; that of the mirror disk says how the mirror is. */
  monitorOn(monitor: string, server: Server): string {
    if (!server.service) return 'Offline';
    if (server.suspended.includes(monitor)) return 'Suspend';
    // An application's monitor runs where the application does.
    if (monitor !== 'mdw1') return this.state.group.current === server.name ? 'Online' : 'Offline';
    const status = this.status();
    return status === 'Normal' ? 'Online' : status === 'Recovering' ? 'Caution' : 'Error';
  }

  monitor(monitor: string): string {
    const all = this.state.servers.map((server) => this.monitorOn(monitor, server));
    for (const word of ['Error', 'Caution', 'Suspend']) if (all.includes(word)) return word;
    return all.every((word) => word === 'Offline') ? 'Offline' : 'Normal';
  }

  monitors(): readonly string[] {
    return ['mdw1', ...this.state.options.otherMonitors];
  }

  /** Writes to the active side, and to the other one as long as it is mirrored. */
  protected apply(change: (partition: DataPartition) => void): void {
    const { current } = this.state.group;
    if (current === null) throw new Error('the group is on no server');
    const active = this.server(current);
    const standby = this.other(current);
    const mirrored = this.status() === 'Normal';
    this.changeData(active, change);
    if (mirrored) this.changeData(standby, change);
    else this.diverge(active);
  }

  /** From now on this side holds what the other one lacks. */
  diverge(active: Server): void {
    const own = this.clusterOf(active);
    const other = this.clusterOf(this.other(active.name));
    if (own === undefined || (other !== undefined && this.relation(own, other) !== 'same')) return;
    this.changeCluster(active, (partition) => {
      partition.generation += 1;
      partition.by = active.name;
    });
  }

  /** False where the group is not up or its machine stands still: the application could not write. */
  write(row: string): boolean {
    const { current, status } = this.state.group;
    if (current === null || status !== 'Online' || this.server(current).power !== 'running') return false;
    if (this.server(current).silentFromMs !== null) return false;
    this.apply((data) => void data.rows.push(row));
    return true;
  }

  /** Undefined, or why not. */
  startGroup(server: Server): string | undefined {
    if (this.state.group.status === 'Online') return 'The group is already online.';
    if (!this.isUp(server)) return 'The server is not online.';
    const source = this.state.mirror.recovering?.from === server.name;
    if (this.backupMode(server) || (this.colour(server) !== 'GREEN' && !source)) return 'md1 cannot be activated.';
    // Its file system does not mount.
    if (this.dataOf(server)?.fs === 'partial') return 'md1 cannot be activated.';
    Object.assign(this.state.group, { status: 'Online', current: server.name, stoppedByHand: false });
    this.state.mirror.lastActive = server.name;
    this.apply((data) => void (data.fs = 'mounted'));
    return undefined;
  }

  stopGroup(byHand: boolean): string | undefined {
    if (this.state.group.status !== 'Online') return 'The group is already offline.';
    this.apply((data) => void (data.fs = 'clean'));
    Object.assign(this.state.group, { status: 'Offline', current: null, stoppedByHand: byHand });
    return undefined;
  }
}

export function deviceName(device: string): string {
  return device.replace('/dev/sd', '/dev/xvd');
}
