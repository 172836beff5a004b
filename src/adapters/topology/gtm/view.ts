import type { ClusterMember, ClusterView, Health, Lag, Role } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import { clusterFindings, findingsOf, partedFrom } from './findings.ts';
import { newest, termOf } from './history.ts';
import type { Behind, Measured } from './lag.ts';
import { isReplica, isRootPrimary, isRunning, lifeOf, type Running, type Seen } from './servers.ts';
import type { Facts, Refused } from './ask.ts';

export const manager = 'gtm';

/** Pure. `measured`: by name, of replicas. Throws `cluster-unknown` and `database-login` as the port says. */
export function viewOf(answers: readonly Seen[], measured: ReadonlyMap<string, Measured>): ClusterView {
  const seen = answers.map(underItsName);
  const known = seen.filter((each): each is Facts => !('said' in each));
  if (known.length === 0) throw nobody(seen.filter((each) => 'said' in each));
  return {
    manager,
    name: seen
      .map(({ name }) => name)
      .toSorted()
      .join('-'),
    epoch: epochOf(known),
    members: seen.map((each) => memberOf(each, seen, measured.get(each.name))),
    quorum: { kind: 'none', health: 'healthy', said: 'nobody is asked: a person or a script decides' },
    failover: { automatic: false, said: 'a person or a script makes another instance the root primary' },
    findings: clusterFindings(seen),
  };
}

/** Instances call each other by the names in their files; under another one nothing that they say could be put together. */
function underItsName(seen: Seen): Seen {
  if ('said' in seen || seen.file.instance === seen.name) return seen;
  const said = `its instance file is that of ${seen.file.instance}: call it so in topology.gtm.members`;
  return { name: seen.name, said, denied: false };
}

function nobody(refused: readonly Refused[]): StillpointError {
  const said = refused.map((each) => `${each.name}: ${each.said}`).join('; ');
  if (refused.some(({ denied }) => denied)) {
    return new StillpointError('database-login', `no instance may be asked: ${said}`, {
      hint: 'run as the owner of the instance files or as root',
    });
  }
  return new StillpointError('cluster-unknown', `no instance can be asked: ${said}`, {
    hint: 'check distribution, globalDirectory and replicationInstance in topology.gtm.members',
  });
}

/** By who makes the history now; while nobody does, by who made it last. */
function epochOf(known: readonly Facts[]): string {
  const primaries = known.filter(isRootPrimary);
  const who = primaries.length > 0 ? primaries : [newest(known)].filter((each) => each !== undefined);
  return who.map(termOf).toSorted().join('+');
}

function memberOf(seen: Seen, all: readonly Seen[], measured: Measured | undefined): ClusterMember {
  const { name } = seen;
  const findings = findingsOf(seen, all);
  // Only a person or a script makes another one primary.
  const fixed = { leadsQuorum: false, mayTakeOver: false, findings };
  if ('said' in seen) return { name, role: 'unknown', health: 'unknown', reported: seen.said, ...fixed };
  if (!isRunning(seen)) {
    const [role, health]: [Role, Health] = [roleWhenDown(seen, all), 'down'];
    const last = seen.file.history.at(-1);
    const reported = `no server runs${last === undefined ? ', and none ever did' : `, last history that of ${last.primary}`}`;
    return { name, role, health, reported, ...fixed };
  }
  return {
    ...{ name, role: roleOf(seen, all), reported: reportOf(seen, measured) },
    health: findings.some(({ severity }) => severity === 'error') ? 'trouble' : 'healthy',
    ...(measured === undefined || !isReplica(seen) ? {} : lagsOf(measured, partedFrom(seen, all) === undefined)),
    ...fixed,
  };
}

function roleOf(seen: Running, all: readonly Seen[]): Role {
  if (seen.file.supplementary) return 'async';
  if (isReplica(seen)) return 'replica';
  // Of two that make histories of their own, nobody can say which one is meant.
  return all.filter(isRootPrimary).length > 1 ? 'unknown' : 'primary';
}

/** What it was, unless another one is that now. */
function roleWhenDown({ file }: Facts, all: readonly Seen[]): Role {
  if (file.history.length === 0) return 'standalone';
  if (!file.rootPrimary) return 'replica';
  const others = all.filter((each) => !('said' in each) && each.file.rootPrimary);
  return others.length > 1 ? 'unknown' : 'primary';
}

/** Updates that parted cannot be counted against each other. */
function lagsOf({ transfer, apply }: Measured, comparable: boolean): { readonly transfer: Lag; readonly apply: Lag } {
  const lagOf = ({ ms }: Behind): Lag =>
    ms === undefined || !comparable ? { caughtUp: false } : { ms: Math.round(ms), caughtUp: true };
  return { transfer: lagOf(transfer), apply: lagOf(apply) };
}

/** In updates, by the engine's own numbers, which are neither bytes nor a time. */
function reportOf(running: Running, measured: Measured | undefined): string {
  const { pool, acknowledged, received } = running.live;
  const sources = pool.sources
    .filter(({ pid }) => pid !== 0)
    .map(({ secondary, pid, mode, state }) => {
      const life = lifeOf(running, pid);
      const figure = acknowledged.get(secondary);
      const parts = [mode, ...(mode === 'PASSIVE' ? [] : [state]), ...(life === 'alive' ? [] : [life])];
      if (mode !== 'PASSIVE' && figure !== undefined) parts.push(`acknowledged ${figure}`);
      return `source server for ${secondary} ${parts.join(' ')}`;
    });
  const own = pool.updatesDisabled
    ? `updates disabled, received ${received.last ?? 'unknown'}, processed ${pool.posted}`
    : `updates enabled, posted ${pool.posted}`;
  const behind =
    measured?.apply.ms === undefined && measured !== undefined
      ? [`${measured.transfer.updates} to receive and ${measured.apply.updates} to process in all`]
      : [];
  return [own, ...behind, ...sources].join('; ');
}
