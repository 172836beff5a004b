import { memberOf, type ClusterMember, type ClusterView } from './cluster.ts';

/** What a backup costs the member, in milliseconds. */
export interface Silence {
  /** Its machine stands still at the cut (a hypervisor's snapshot). Undefined: nobody can say how long, see `stunToExpect`. */
  readonly stunMs: number | undefined;
  /** Its engine or file systems take no write. 0 where the hold lets writers go on. */
  readonly holdMs: number;
}

export type FailoverRisk =
  | 'margin'
  | 'detection-unknown'
  | 'stun-unknown'
  | 'no-primary'
  | 'quorum-lead'
  | 'quorum-lead-unknown'
  | 'quorum-unwell'
  | 'others-unwell'
  | 'member-unwell';

export interface MarginAnswer {
  readonly allowed: boolean;
  /** Stun and hold as predicted, without what the guard may be late. */
  readonly silenceMs: number;
  /** Less than half of the detection time; absent where nobody acts by himself, or the time is not known. */
  readonly marginMs?: number;
  /** Whether failover is held off, so that the margin does not bind. */
  readonly heldOff: boolean;
  readonly risks: readonly { readonly code: FailoverRisk; readonly said: string }[];
}

/** A watcher that is idle asks after half of its time and waits for the other half (docs/design/topology.md). */
const part = 0.5;
/**
 * Of that half, what a lost packet can cost: the answer to the watcher's question then comes a retransmission later, which is 200 ms at the
 * least on Linux. Simulated backup members drop their primary from just half on.
 */
const lateAnswerMs = 250;
/** The guard thaws at most so long after its deadline. Only where the hold stops writers, for else it is not silence. */
const guardLateMs = 1000;

/** Fewer stuns than this say nothing of the longest one to come: without a bound from a person there is no prediction. */
const fewestStuns = 20;
/** One backup in 21 exceeds the longest of 20 stuns. How far is not known, so that a known bound is better than any number of them. */
const beyondLongest = 1.25;
/** A longest stun of more than so many times the usual one is a long tail, whose next one can be far longer. */
const longTail = 3;
const beyondLongTail = 2;

/**
 * The longest stun to reckon with, in milliseconds. Pure.
 * @param observedMs stuns of earlier backups of this workload by the same way of cutting, in any order
 * @param boundMs what a person or the platform promises; 0 where cutting does not touch the machine. Observations above it outweigh it.
 * @returns undefined when nothing can be said: few observations and no bound
 */
export function stunToExpect(observedMs: readonly number[], boundMs?: number): number | undefined {
  const longest = Math.max(0, ...observedMs);
  if (boundMs !== undefined && longest <= boundMs) return boundMs;
  if (boundMs === undefined && observedMs.length < fewestStuns) return undefined;
  const sorted = observedMs.toSorted((one, other) => one - other);
  // The median: the longest of the lower half.
  const usual = Math.max(...sorted.slice(0, Math.floor(sorted.length / 2) + 1));
  return longest * (longest > usual * longTail ? beyondLongTail : beyondLongest);
}

/** What a member may be silent for where others act after `detectionMs`. */
export function marginOf(detectionMs: number): number {
  return Math.max(0, detectionMs * part - lateAnswerMs);
}

/** The longest hold that the guard may allow itself on this member: what the margin leaves after the stun, and for a guard that is late. */
export function budgetWithin(budgetMs: number, { marginMs, heldOff }: MarginAnswer, silence: Silence): number {
  return marginMs === undefined || heldOff || silence.holdMs === 0
    ? budgetMs
    : Math.min(budgetMs, Math.max(0, marginMs - (silence.stunMs ?? marginMs) - guardLateMs));
}

/**
 * May this member be silent for so long? Refuses with the figures. Failover that is held off takes away the margin, but neither the
 * member's own state nor the quorum's lead: a lead that moves is a role change of its own. Pure.
 */
export function failoverMargin(view: ClusterView, name: string, silence: Silence): MarginAnswer {
  const risks: { code: FailoverRisk; said: string }[] = [];
  const risk = (code: FailoverRisk, said: string): void => void risks.push({ code, said });
  const { failover, quorum } = view;
  const silenceMs = (silence.stunMs ?? 0) + silence.holdMs;
  const heldOff = failover.heldOff === true;
  const { detectionMs } = failover;
  const marginMs = failover.automatic && detectionMs !== undefined ? marginOf(detectionMs) : undefined;
  const answer = (): MarginAnswer => ({
    allowed: risks.length === 0,
    silenceMs,
    heldOff,
    risks,
    ...(marginMs === undefined ? {} : { marginMs }),
  });

  const member = memberOf(view, name);
  if (member === undefined || member.health !== 'healthy') {
    risk('member-unwell', `${name} is ${member?.health ?? 'not in the cluster'}`);
  }
  // Nobody acts, and nothing is still: the state of the others is no risk of this backup.
  if (!failover.automatic || (silenceMs === 0 && silence.stunMs !== undefined)) return answer();

  // A manager forgets a primary whose lock ran out: nobody is unwell then, and the failover is going on.
  if (!view.members.some(({ role }) => role === 'primary'))
    risk('no-primary', 'no member is primary: a failover is going on');
  for (const other of view.members) {
    if (other.name !== name && concerned(other) && other.health !== 'healthy')
      risk('others-unwell', `${other.name} is ${other.health} (${other.reported}): one member at a time`);
  }
  if (member?.leadsQuorum === true) risk('quorum-lead', `${name} leads the quorum: ${quorum.said}`);
  else if (member?.leadsQuorum === undefined && quorum.kind === 'dcs')
    risk('quorum-lead-unknown', `whether ${name} leads the quorum is not known: ${quorum.said}`);
  if (quorum.kind !== 'none' && quorum.health !== 'healthy' && !heldOff)
    risk('quorum-unwell', `the ${quorum.kind} is ${quorum.health}: ${quorum.said}`);
  if (heldOff) return answer();
  if (silence.stunMs === undefined) risk('stun-unknown', 'how long the machine will stand still is not known');
  if (marginMs === undefined || detectionMs === undefined)
    risk('detection-unknown', `nobody tells after how long a failover begins: ${failover.said}`);
  else if (silenceMs + (silence.holdMs > 0 ? guardLateMs : 0) >= marginMs)
    risk('margin', tooLong(silence, marginMs, detectionMs));
  return answer();
}

function tooLong({ stunMs, holdMs }: Silence, marginMs: number, detectionMs: number): string {
  const late = holdMs > 0 ? `, guard late by ${guardLateMs}` : '';
  const [stun, hold] = [Math.round(stunMs ?? 0), Math.round(holdMs)];
  return `a silence of ${stun + hold} ms (stun ${stun}, hold ${hold}${late}) is not below ${Math.round(marginMs)} ms, the margin of a failover that begins after ${Math.round(detectionMs)} ms`;
}

/** The primary, and whoever would take its place. An async member that is down changes nothing. */
function concerned(member: ClusterMember): boolean {
  return member.role === 'primary' || member.mayTakeOver;
}
