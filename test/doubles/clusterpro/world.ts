import { Mirror } from './mirror.ts';
import type { Server, State, Timer } from './state.ts';

/** The cluster's own rules, on one state that the caller has locked. Time passes by `advance` only. */
export class World extends Mirror {
  startRecovery(): string | undefined {
    if (!this.state.servers.every((server) => this.isUp(server)) || this.state.mirror.recovering !== null)
      return 'The status of md1 is invalid.';
    const [one, two] = this.state.servers;
    if (one === undefined || two === undefined) return 'The status of md1 is invalid.';
    const [first, second] = [this.clusterOf(one), this.clusterOf(two)];
    if (first === undefined || second === undefined || first.backup || second.backup)
      return 'The status of md1 is invalid.';
    const relation = first.initial && second.initial ? 'newer' : this.relation(first, second);
    if (relation === 'same' || relation === 'conflict') return 'The status of md1 is invalid.';
    const [from, to] = relation === 'newer' ? [one, two] : [two, one];
    if (this.dataOf(from)?.fs === 'destroyed') return 'The status of md1 is invalid.';
    const endMs = this.state.nowMs + this.state.options.resyncMs;
    this.state.mirror.recovering = { from: from.name, to: to.name, endMs };
    this.changeData(to, (data) => void (data.fs = 'partial'));
    this.timer({ atMs: endMs, kind: 'recovered' });
    return undefined;
  }

  #recovered(): void {
    const { recovering } = this.state.mirror;
    if (recovering === null || recovering.endMs !== this.state.nowMs) return;
    const [from, to] = [this.server(recovering.from), this.server(recovering.to)];
    const data = this.dataOf(from);
    if (data === undefined) return;
    this.changeData(to, (partition) => void Object.assign(partition, data));
    this.changeCluster(from, (own) => {
      own.initial = false;
      this.changeCluster(
        to,
        (partition) => void Object.assign(partition, { generation: own.generation, by: own.by, initial: false }),
      );
    });
    this.state.mirror.recovering = null;
  }

  /** Its peer is gone: what was being copied stays a part. */
  #lost(server: Server): void {
    const { recovering } = this.state.mirror;
    if (recovering !== null && [recovering.from, recovering.to].includes(server.name))
      this.state.mirror.recovering = null;
  }

  /** In order: the group is stopped or moves at once. */
  shutDown(server: Server): void {
    if (server.power !== 'running') return;
    const moves = this.state.group.current === server.name;
    if (moves) this.stopGroup(false);
    this.#lost(server);
    server.power = 'stopping';
    server.service = false;
    if (moves) this.#failover(server);
    this.timer({ atMs: this.state.nowMs + this.state.options.shutdownMs, kind: 'powered-off', server: server.name });
  }

  crash(server: Server): void {
    this.#lost(server);
    server.power = 'stopped';
    this.#fallSilent(server);
  }

  stun(server: Server, ms: number): void {
    this.timer({ atMs: this.state.nowMs + ms, kind: 'stun-end', server: server.name });
    this.#fallSilent(server);
  }

  #fallSilent(server: Server): void {
    server.silentFromMs = this.state.nowMs;
    this.timer({ atMs: this.state.nowMs + this.#detectionMs(), kind: 'heartbeat', server: server.name });
  }

  #detectionMs(): number {
    return this.state.options.heartbeatTimeoutMs * this.state.ratio;
  }

  #heartbeat(server: Server): void {
    if (server.silentFromMs === null || !server.service) return;
    const dueMs = server.silentFromMs + this.#detectionMs();
    if (dueMs > this.state.nowMs) {
      this.timer({ atMs: dueMs, kind: 'heartbeat', server: server.name });
      return;
    }
    server.service = false;
    if (this.state.group.current !== server.name) return;
    Object.assign(this.state.group, { status: 'Offline', current: null, stoppedByHand: false });
    this.#failover(server);
  }

  #failover(from: Server): void {
    const to = this.other(from.name);
    if (this.startGroup(to) === undefined) this.state.failovers.push({ atMs: this.state.nowMs, to: to.name });
  }

  startBoot(server: Server, cold: boolean): void {
    this.#lost(server);
    Object.assign(server, { power: 'booting', service: false, silentFromMs: null, suspended: [] });
    server.boot = { fromMs: this.state.nowMs, cold };
    this.timer({ atMs: this.state.nowMs + this.state.options.bootMs, kind: 'booted', server: server.name });
  }

  #booted(server: Server): void {
    if (server.power !== 'booting' || takeFault(this.state, 'boot', server.name) !== undefined) return;
    server.power = 'running';
    server.boots += 1;
    server.boot = null;
    if (server.startup === 'auto') this.#startService(server);
  }

  /** Configured devices that are not there, or are other disks now: what is taken for a mirror disk is written over. */
  #startService(server: Server): void {
    if (this.volumeOf(server) === undefined) this.destroyPartitions(server);
    const alone = !this.isUp(this.other(server.name));
    server.service = true;
    if (alone && this.state.group.status === 'Offline') this.state.group.stoppedByHand = false;
    if (this.state.group.status === 'Online' || this.state.group.stoppedByHand) return;
    // The first server comes first; it is waited for, unless it will not come.
    if (!alone) this.state.servers.some((each) => this.startGroup(each) === undefined);
    else if (this.other(server.name).startup === 'manual') this.startGroup(server);
  }

  destroyPartitions(server: Server): void {
    for (const { id } of this.attachedTo(server)) {
      this.store.putDataPartition(`volumes/${id}`, { fs: 'destroyed', rows: [] });
    }
  }

  #monitorTick(): void {
    this.timer({ atMs: this.state.nowMs + this.state.options.monitorMs, kind: 'monitor' });
    const watched = this.state.servers.some((server) => this.isUp(server) && !server.suspended.includes('mdw1'));
    if (this.state.options.autoRecovery && watched) this.startRecovery();
  }

  setRatio(ratio: number, forMs?: number): void {
    this.state.ratio = ratio;
    this.state.timers = this.state.timers.filter(({ kind }) => kind !== 'ratio-lapsed');
    if (forMs !== undefined) this.timer({ atMs: this.state.nowMs + forMs, kind: 'ratio-lapsed' });
  }

  timer(timer: Timer): void {
    this.state.timers.push(timer);
  }

  /** What is due until then happens in its order. `onJob` does what the RESTful API was told to. */
  advance(ms: number, onJob: (server: Server) => void): void {
    const until = this.state.nowMs + ms;
    for (;;) {
      const next = this.state.timers.filter(({ atMs }) => atMs <= until).toSorted((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.state.timers.splice(this.state.timers.indexOf(next), 1);
      this.state.nowMs = Math.max(this.state.nowMs, next.atMs);
      this.#fire(next, onJob);
    }
    this.state.nowMs = until;
  }

  #fire(timer: Timer, onJob: (server: Server) => void): void {
    const { state } = this;
    if ('server' in timer) {
      const server = this.server(timer.server);
      if (timer.kind === 'powered-off') server.power = server.power === 'stopping' ? 'stopped' : server.power;
      else if (timer.kind === 'booted') this.#booted(server);
      else if (timer.kind === 'heartbeat') this.#heartbeat(server);
      else if (timer.kind === 'job') onJob(server);
      // Given up meanwhile: it resets itself rather than having the group up on both.
      else if (server.power === 'running' && !server.service) this.startBoot(server, false);
      else server.silentFromMs = null;
    } else if ('id' in timer) {
      const volume = state.volumes[timer.id];
      const snapshot = state.snapshots[timer.id];
      if (snapshot !== undefined) snapshot.state = 'completed';
      if (volume === undefined) return;
      if (timer.kind === 'attached' && volume.attachment !== null) volume.attachment.state = 'attached';
      if (timer.kind === 'detached') volume.attachment = null;
      volume.state = volume.attachment === null ? 'available' : 'in-use';
    } else if (timer.kind === 'monitor') this.#monitorTick();
    else if (timer.kind === 'recovered') this.#recovered();
    else state.ratio = 1;
  }
}

/** The fault that meets this call, counted down. */
export function takeFault(state: State, what: string, server: string): State['faults'][number] | undefined {
  const found = state.faults.find(
    (fault) => fault.times > 0 && what.startsWith(fault.where) && (fault.server ?? server) === server,
  );
  if (found !== undefined) found.times -= 1;
  return found;
}
