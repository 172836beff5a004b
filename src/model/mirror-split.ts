import type { Moment } from './time.ts';

/** `unknown`: nobody tells, or a word that has no meaning here. */
export type MachineState = 'pending' | 'running' | 'stopping' | 'stopped' | 'unknown';

/** What is attached to a machine at the device of its mirror disk. `null`: nothing. Undefined: not known. */
export type AttachedSeen = { readonly volume: string; readonly state: string } | null | undefined;

export interface ServerSeen {
  readonly machine: MachineState;
  readonly attached: AttachedSeen;
  /** Its system answers. A machine is `running` also while its system boots. */
  readonly answers: boolean;
  /** Of its system; changes at every boot. */
  readonly bootId: string | undefined;
  /** Those of the cluster, by its own word. */
  readonly services: 'running' | 'stopped' | 'unknown';
  /** Whether they come by themselves at a boot. */
  readonly startup: 'automatic' | 'manual' | 'unknown';
  /** `Online`, `Offline`... as the servers that are in the cluster call it. */
  readonly word: string;
  /** `GREEN`, `RED`...: of all its mirror disks; another word when they differ or nobody tells. */
  readonly colour: string;
  /** Monitors of mirrors that are suspended on it. */
  readonly suspended: readonly string[];
}

export interface SplitSeen {
  readonly servers: Readonly<Record<string, ServerSeen>>;
  readonly group: { readonly status: 'online' | 'offline' | 'unknown'; readonly on: string | null };
  /** `Normal`, `Recovering`...: of all mirror disks; another word when they differ or nobody tells. */
  readonly mirror: string;
}

/** The steps of docs/design/mirror-split.md, in their order. */
export type SplitStep =
  | ('look' | 'quiesce' | 'hold-recovery' | 'break' | 'go-on' | 'leave' | 'cut')
  | ('power-on' | 'come-back' | 'watch' | 'whole' | 'record');

/** What is waited for; each has a limit of its own. */
export type SplitWait = 'answer' | 'off' | 'boot' | 'service' | 'group' | 'whole' | 'attach' | 'fast';

/** Longest times in milliseconds. */
export type SplitLimits = Readonly<Record<SplitWait, number>> & {
  /** How long an act may take until it shows. */
  readonly act: number;
  /** After so long without a recovery by itself the mirror is told to recover. */
  readonly autoRecovery: number;
  readonly snapshot: number;
  /** Planned time with one copy; longer is told as an alarm and ends nothing. */
  readonly oneCopy: number;
  /** Between two looks. */
  readonly poll: number;
};

/** The cluster as it was at the choice. Journaled before anything is done. */
export interface SplitBefore {
  readonly active: string;
  readonly standby: string;
  /** Monitors that run, and that we may suspend: only those are ever resumed. */
  readonly monitors: readonly { readonly monitor: string; readonly server: string }[];
}

/** What a run takes apart, and how it was before. In the journal before anything is done; the newest of a run counts. */
export interface SplitWork {
  readonly runId: string;
  readonly before: SplitBefore;
  /** Of a restore: the volumes of before, by server. */
  readonly old?: Readonly<Record<string, string>>;
  /** Of a restore: the volumes that it made. */
  readonly fresh?: Readonly<Record<string, string>>;
  /** Of a restore: the new disks are the cluster from here on. */
  readonly taken?: boolean;
  /** Of a restore: where fast restore was, or is going to be, switched on by it and not yet off again. It is billed. */
  readonly fast?: { readonly snapshot: string; readonly zones: readonly string[] };
}

/** A point whose only data is a snapshot of a disk. The run that made it is its id, and the tag of its snapshots. */
export interface ForgottenSplit {
  readonly point: string;
  readonly repositorySnapshot: string;
  readonly snapshots: readonly string[];
}

export interface SplitWanted extends SplitBefore {
  /** `wanted`: on the way forward to a snapshot, once the standby is off. `no`: made, or given up. */
  readonly cut: 'wanted' | 'no';
  /** The group was stopped by us and was not started again since. */
  readonly groupIsOurs: boolean;
  /** It was told to start there again and again, and did not. */
  readonly groupRefused: boolean;
  /** It was said to recover and refused: a flag of a backup is set that nobody sees. */
  readonly recoveryRefused: boolean;
  /** For how long the mirror was not whole although nothing kept it from recovering, in milliseconds. */
  readonly idleMs: number;
  readonly autoRecoveryMs: number;
}

export type SplitAct =
  | { readonly do: 'done' }
  | { readonly do: 'wait'; readonly for: SplitWait; readonly said: string; readonly server?: string }
  | { readonly do: 'cut' }
  | { readonly do: 'start-machine' | 'stop-machine' | 'post' | 'start-group'; readonly server: string }
  | { readonly do: 'detach' | 'attach'; readonly server: string; readonly volume: string }
  | { readonly do: 'resume'; readonly monitor: string; readonly server: string }
  | { readonly do: 'recover-mirror' }
  /** Only a person can go on. */
  | { readonly do: 'alarm'; readonly said: string; readonly hint: string };

const onlyAPerson = 'only a person may decide which copy counts; run `stillpoint recover` when both servers are well';

const startByHand = 'see the log of the cluster, start it there by hand, then `stillpoint recover`';

/**
 * From what is seen now and what was so before: the one thing to do next. Pure. The way forward after the standby was told to leave, and
 * the way back to a whole cluster from any step, are the same way.
 */
export function nextAct(seen: SplitSeen, wanted: SplitWanted): SplitAct {
  const active = seen.servers[wanted.active];
  const standby = seen.servers[wanted.standby];
  if (active === undefined || standby === undefined) return waitFor('answer', 'the servers are not known');
  return (
    activeTrouble(active, wanted.active) ??
    startGroup(seen, wanted) ??
    standbyOut(standby, wanted) ??
    inCluster(seen, wanted)
  );
}

function waitFor(what: SplitWait, said: string, server?: string): SplitAct {
  return { do: 'wait', for: what, said, ...(server === undefined ? {} : { server }) };
}

function activeTrouble({ machine, answers, services, word }: ServerSeen, name: string): SplitAct | undefined {
  const isDown =
    machine === 'stopped' || machine === 'stopping' || machine === 'pending' || (!answers && word === 'Offline');
  if (isDown || (answers && services === 'stopped')) {
    const how = isDown ? 'down' : 'out of the cluster';
    return { do: 'alarm', said: `${name}, on which the group was, is ${how}`, hint: onlyAPerson };
  }
  if (machine === 'unknown') return waitFor('answer', `nobody tells the state of the machine of ${name}`);
  return answers && services === 'running' ? undefined : waitFor('answer', `${name} does not tell how it is`);
}

/** Users notice this first. Never elsewhere than where it was, and never on a copy that may be the older one. */
function startGroup({ group, servers }: SplitSeen, wanted: SplitWanted): SplitAct | undefined {
  const { active, groupIsOurs, groupRefused } = wanted;
  const mayStart = groupIsOurs && !groupRefused && servers[active]?.colour === 'GREEN';
  return group.status === 'offline' && mayStart ? { do: 'start-group', server: active } : undefined;
}

/** The standby, until it is in the cluster again and was not told to leave it. */
function standbyOut(standby: ServerSeen, wanted: SplitWanted): SplitAct | undefined {
  const { standby: server, cut } = wanted;
  const { machine, answers, services, startup } = standby;
  if (machine === 'unknown') return waitFor('answer', `nobody tells the state of the machine of ${server}`);
  if (machine === 'stopped') return cut === 'wanted' ? { do: 'cut' } : { do: 'start-machine', server };
  if (machine === 'stopping') return waitFor('off', `${server} is going off`, server);
  if (cut === 'wanted') return waitFor('off', `${server} was told to leave and is ${machine}`, server);
  if (machine === 'pending' || !answers) return waitFor('boot', `${server} boots`, server);
  return outside(server, services, startup);
}

/** A machine that is up, and whose services are not in the cluster as they were. */
function outside(
  server: string,
  services: ServerSeen['services'],
  startup: ServerSeen['startup'],
): SplitAct | undefined {
  if (services === 'unknown') return waitFor('service', `${server} does not tell whether its services run`, server);
  if (services === 'running')
    // Told to leave, and it did not: what it was told is taken back only by the way over a boot.
    return startup === 'manual' ? { do: 'stop-machine', server } : undefined;
  // Where nobody tells: refused without harm by a server that was not told to leave.
  return startup === 'automatic'
    ? waitFor('service', `the services of ${server} start`, server)
    : { do: 'post', server };
}

/** Both servers are in the cluster: monitors, mirror, group. */
function inCluster(seen: SplitSeen, wanted: SplitWanted): SplitAct {
  const { servers, mirror, group } = seen;
  const ours = wanted.monitors.find(({ monitor, server }) => servers[server]?.suspended.includes(monitor));
  if (ours !== undefined) return { do: 'resume', ...ours };
  if (!isWhole(seen, wanted)) return mending(mirror, wanted);
  if (group.status === 'offline' && wanted.groupIsOurs && wanted.groupRefused)
    return { do: 'alarm', said: `the group does not start on ${wanted.active}`, hint: startByHand };
  if (group.status === 'unknown' || (group.status === 'offline' && wanted.groupIsOurs))
    return waitFor('group', 'nobody tells where the group is online');
  return { do: 'done' };
}

export function isWhole(
  { mirror, servers }: SplitSeen,
  { active, standby }: Pick<SplitBefore, 'active' | 'standby'>,
): boolean {
  return mirror === 'Normal' && [active, standby].every((name) => servers[name]?.colour === 'GREEN');
}

function mending(mirror: string, wanted: SplitWanted): SplitAct {
  if (mirror === 'Recovering') return waitFor('whole', 'the standby copies what it missed');
  if (mirror === 'Uncertain' || mirror === 'No Construction')
    return {
      do: 'alarm',
      said: `the mirror is ${mirror}: the cluster does not know the newer copy`,
      hint: onlyAPerson,
    };
  if (wanted.recoveryRefused) return { do: 'stop-machine', server: wanted.standby };
  if (mirror === 'Abnormal' && wanted.idleMs >= wanted.autoRecoveryMs) return { do: 'recover-mirror' };
  return waitFor('whole', `the mirror is ${mirror}`);
}

/** Both sides from the disks that are wanted: new ones of one snapshot, or the old pair. */
export interface RestoreWanted extends SplitBefore {
  readonly disks: Readonly<Record<string, string>>;
  /** The old volumes and the new ones: no other is ever detached. */
  readonly known: readonly string[];
  readonly groupIsOurs: boolean;
  readonly groupRefused: boolean;
  readonly idleMs: number;
  readonly autoRecoveryMs: number;
  /** Servers on which the configured partitions were seen on the wanted disk since its last boot. */
  readonly named: readonly string[];
  /** Servers that were told to come back, and may be booting for that. */
  readonly taken: readonly string[];
}

/**
 * A restore of both sides, in either direction: each server off, its wanted disk in its place, on, its names compared, both taken into the
 * cluster. Nobody is taken in before both are ready, so that none of them is alone with the group for longer than a boot. Pure.
 */
export function nextRestoreAct(seen: SplitSeen, wanted: RestoreWanted): SplitAct {
  const names = [wanted.standby, wanted.active];
  // The first server whose stage is the earliest.
  for (const stage of [swapped, started, ready]) {
    let wait: SplitAct | undefined;
    for (const name of names) {
      const server = seen.servers[name];
      const disk = wanted.disks[name];
      if (server === undefined || disk === undefined) return waitFor('answer', `${name} is not known`);
      const act = stage(name, server, disk, wanted);
      if (act !== undefined && act.do !== 'wait') return act;
      wait ??= act;
    }
    if (wait !== undefined) return wait;
  }
  return startGroup(seen, { ...wanted, cut: 'no', recoveryRefused: false }) ?? inClusterAgain(seen, wanted);
}

function inClusterAgain(seen: SplitSeen, wanted: RestoreWanted): SplitAct {
  const act = inCluster(seen, { ...wanted, cut: 'no', recoveryRefused: false });
  // Two equal disks that are not whole are no matter of a recovery: which of them counts is not ours to say.
  if (act.do !== 'recover-mirror') return act;
  return { do: 'alarm', said: `the mirror is ${seen.mirror} after both sides were taken in`, hint: onlyAPerson };
}

function swapped(name: string, server: ServerSeen, disk: string, { known }: RestoreWanted): SplitAct | undefined {
  const { machine, attached } = server;
  if (machine === 'unknown' || attached === undefined)
    return waitFor('answer', `nobody tells the state of the machine of ${name} and its disks`);
  if (attached !== null && attached.volume === disk && attached.state === 'attached') return undefined;
  if (attached !== null && !known.includes(attached.volume))
    return { do: 'alarm', said: `${attached.volume} at ${name} is none of this restore`, hint: onlyAPerson };
  if (machine === 'running' || machine === 'pending') return { do: 'stop-machine', server: name };
  if (machine === 'stopping') return waitFor('off', `${name} is going off`, name);
  if (attached === null) return { do: 'attach', server: name, volume: disk };
  if (attached.state === 'attached' && attached.volume !== disk)
    return { do: 'detach', server: name, volume: attached.volume };
  return waitFor('attach', `${attached.volume} is ${attached.state} at ${name}`, name);
}

function started(
  name: string,
  { machine, answers, services, startup }: ServerSeen,
  _disk: string,
  { taken }: RestoreWanted,
): SplitAct | undefined {
  if (machine === 'stopped') return { do: 'start-machine', server: name };
  if (machine === 'stopping') return waitFor('off', `${name} is going off`, name);
  if (taken.includes(name)) return undefined;
  if (machine === 'pending' || !answers) return waitFor('boot', `${name} boots`, name);
  return services === 'running' && startup === 'manual' ? { do: 'stop-machine', server: name } : undefined;
}

function ready(
  name: string,
  { services, startup }: ServerSeen,
  _disk: string,
  wanted: RestoreWanted,
): SplitAct | undefined {
  const act = outside(name, services, startup);
  if (act?.do !== 'post') return act;
  if (wanted.named.includes(name)) return act;
  return {
    do: 'alarm',
    said: `the configured partitions of ${name} are not on its disk`,
    hint: `compare \`lsblk\` with the configuration of the cluster before anything is started on ${name}: a changed name lets the cluster write over a partition`,
  };
}

/** One look, for the evidence. */
export interface SplitLook {
  readonly when: 'chosen' | 'before-break' | 'after-break' | 'before-leave' | 'off' | 'after-cut' | 'record';
  readonly seen: SplitSeen;
  readonly at: Moment;
}

export interface SplitEvidence {
  readonly before: SplitBefore;
  readonly machine: string;
  readonly device: string;
  readonly volume: string;
  /** By its maker's word, once it was done. */
  readonly snapshot: { readonly id: string; readonly volume: string; readonly state: string };
  readonly looks: readonly SplitLook[];
  /** Of the call that made the snapshot. The state that it shows is that of the break. */
  readonly called: Moment;
  readonly returned: Moment;
  /** From the break until the mirror was whole: one copy and no failover. */
  readonly oneCopyMs: number;
}
