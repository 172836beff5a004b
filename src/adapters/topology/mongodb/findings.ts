import type { Finding } from '../../../model/point.ts';
import { type Hearsay, isDeaf, isUnheard } from './health.ts';
import { isElectable, type Seen, type Sitting, type Told } from './members.ts';
import { claimantsOf } from './primary.ts';
import type { SetConfig } from './parse.ts';
import { isEveryVoterWell, type Weighed } from './votes.ts';

/** `flowControlTargetLagSeconds`: from here on the primary slows writes down. */
const commitLagMs = 10_000;

function finding(severity: Finding['severity'], check: string, said: string, value?: number): Finding {
  return { severity, check, said, ...(value === undefined ? {} : { value }) };
}

export function clusterFindings(
  weighed: readonly Weighed[],
  primary: Told | undefined,
  config: SetConfig,
  strange: readonly Seen[],
): readonly Finding[] {
  const found = strange.map((each) =>
    finding('error', 'stranger', `${each.name} is no member of ${config.set}${words(each)}`),
  );
  if (primary === undefined) {
    return [
      ...found,
      finding('error', 'primary', 'no member is primary by the word of a majority: an election may be going on'),
    ];
  }
  const { committedAtMs, appliedAtMs } = primary.status;
  const behindMs = committedAtMs === undefined ? undefined : Math.max(0, appliedAtMs - committedAtMs);
  if (behindMs === undefined || behindMs >= commitLagMs) {
    const said = `what a majority has is ${behindMs === undefined ? 'an unknown time' : `${behindMs} ms`} behind the primary: writes with w: majority wait`;
    found.push(finding('warning', 'majority-commit', said, behindMs));
  }
  const own = config.seats.find(({ id }) => id === primary.status.self);
  const heir = weighed.find(
    ({ sitting, health }) => health === 'healthy' && sitting.seat.priority > (own?.priority ?? 0),
  );
  if (heir !== undefined) {
    const said = `${heir.sitting.name} has priority ${heir.sitting.seat.priority} and the primary ${own?.priority ?? 0}: it will take over when it is caught up`;
    found.push(finding('warning', 'priority-takeover', said));
  }
  return found;
}

function words(seen: Seen): string {
  return 'refused' in seen ? `: ${seen.said}` : seen.hello.me === undefined ? '' : `: it calls itself ${seen.hello.me}`;
}

export function memberFindings(
  { sitting, health }: Weighed,
  hearsay: Hearsay,
  primary: Told | undefined,
  weighed: readonly Weighed[],
): readonly Finding[] {
  const { seat, seen } = sitting;
  const found: Finding[] = [];
  if (seen !== undefined && 'refused' in seen)
    found.push(...refusedFindings(seen.name, seen.refused, seen.said, hearsay));
  else if (hearsay.down.length > 0) found.push(unheard(hearsay));
  if (seen !== undefined && 'status' in seen) {
    if (seen !== primary && claimantsOf([seen]).length > 0) {
      const said = `it calls itself primary of term ${seen.status.term}, and no majority says so: what it takes may be rolled back`;
      found.push(finding('error', 'stale-primary', said));
    }
    if (seen === primary && !seen.hello.writable)
      found.push(finding('warning', 'not-writable', 'it is primary and takes no writes yet, or no longer'));
    if (isDeaf(seen, primary)) found.push(finding('error', 'deaf', 'it does not hear the primary'));
    if (seen.status.tooStale)
      found.push(finding('error', 'too-stale', 'it fell out of its source’s oplog: it needs a new initial sync'));
  }
  if (seat.delayMs > 0)
    found.push(finding('info', 'delay', `it stays ${seat.delayMs / 1000} s behind on purpose`, seat.delayMs));
  if (!seat.buildsIndexes)
    found.push(finding('warning', 'indexes', 'it builds no indexes: a copy of it has none but those of _id'));
  if (seen === primary || seat.arbiter) return found;
  return [...found, ...silenceFindings(sitting, health === 'healthy', primary, weighed)];
}

function refusedFindings(name: string, refused: string, said: string, { up }: Hearsay): readonly Finding[] {
  if (refused === 'silent') {
    return up.length === 0
      ? []
      : [finding('warning', 'reach', `it does not answer here, and ${up.join(', ')} still hear it`)];
  }
  if (refused === 'login') return [finding('error', 'login', `${name} may not be asked: ${said}`)];
  return [finding('error', refused, `${name} was not asked: ${said}`)];
}

function unheard(hearsay: Hearsay): Finding {
  const said = `${hearsay.down.join(', ')} ${hearsay.down.length === 1 ? 'does' : 'do'} not hear it`;
  return finding(isUnheard(hearsay) ? 'error' : 'warning', 'unheard', said);
}

/** What stands still with this member, though it is no primary. */
function silenceFindings(
  { seat }: Sitting,
  healthy: boolean,
  primary: Told | undefined,
  weighed: readonly Weighed[],
): readonly Finding[] {
  if (primary === undefined) return [];
  const found: Finding[] = [];
  const { writeMajority } = primary.status;
  const confirming = weighed.filter(
    ({ sitting: each, health }) => each.seat.votes > 0 && !each.seat.arbiter && health === 'healthy',
  );
  if (healthy && seat.votes > 0 && confirming.length - 1 < writeMajority) {
    const said = `while it is silent writes with w: majority wait: ${writeMajority} voters with data must have them, and ${confirming.length - 1} would be left`;
    // A set may be built so; what is worth an alarm is one that has come to it.
    const severity = isEveryVoterWell(weighed) ? 'info' : 'warning';
    found.push(finding(severity, 'write-majority', said, confirming.length - 1));
  }
  const fed = primary.status.words.filter((word) => word.up && word.syncsFrom === seat.host);
  if (fed.length > 0) {
    const said = `${fed.map(({ host }) => host).join(', ')} replicate from it, and wait for it while it is silent`;
    found.push(finding('info', 'chained', said, fed.length));
  }
  return found;
}

/** Nobody else could become primary by itself. */
export function hasHeir(sittings: readonly Sitting[], primary: Told | undefined): boolean {
  return sittings.some(({ seat, seen }) => isElectable(seat) && (seen === undefined || seen !== primary));
}
