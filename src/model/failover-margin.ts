import { memberOf, type ClusterMember, type ClusterView } from './cluster.ts';

/** What a backup costs the member, in milliseconds. */
export interface Silence {
  /** Its machine stands still at the cut (a hypervisor's snapshot). */
  readonly stunMs: number;
  /** Its engine or file systems take no write. 0 where the hold lets writers go on. */
  readonly holdMs: number;
}

export type FailoverRisk =
  | 'margin'
  | 'detection-unknown'
  | 'quorum-lead'
  | 'quorum-lead-unknown'
  | 'quorum-unwell'
  | 'others-unwell'
  | 'member-unwell';

export interface MarginAnswer {
  readonly allowed: boolean;
  readonly silenceMs: number;
  /** Half of the detection time; absent where nobody acts by himself, or the time is not known. */
  readonly marginMs?: number;
  /** Whether failover is held off, so that the margin does not bind. */
  readonly heldOff: boolean;
  readonly risks: readonly { readonly code: FailoverRisk; readonly said: string }[];
}

/** Below half: a watcher that is idle asks after half of its time and waits for the other half (docs/design/topology.md). */
const part = 0.5;

/** The longest hold that the guard may allow itself on this member: what the margin leaves after the stun. */
export function budgetWithin(budgetMs: number, { marginMs, heldOff }: MarginAnswer, silence: Silence): number {
  return marginMs === undefined || heldOff || silence.holdMs === 0
    ? budgetMs
    : Math.min(budgetMs, Math.max(0, marginMs - silence.stunMs));
}

/**
 * May this member be silent for so long? Refuses with the figures. Failover that is held off takes away the margin, but neither the
 * member's own state nor the quorum's lead: a lead that moves is a role change of its own. Pure.
 */
export function failoverMargin(view: ClusterView, name: string, silence: Silence): MarginAnswer {
  const risks: { code: FailoverRisk; said: string }[] = [];
  const risk = (code: FailoverRisk, said: string): void => void risks.push({ code, said });
  const { failover, quorum } = view;
  const silenceMs = silence.stunMs + silence.holdMs;
  const heldOff = failover.heldOff === true;
  const marginMs = failover.automatic && failover.detectionMs !== undefined ? failover.detectionMs * part : undefined;
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
  if (!failover.automatic || silenceMs === 0) return answer();

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
  if (marginMs === undefined)
    risk('detection-unknown', `nobody tells after how long a failover begins: ${failover.said}`);
  else if (silenceMs >= marginMs)
    risk(
      'margin',
      `a silence of ${Math.round(silenceMs)} ms (stun ${Math.round(silence.stunMs)}, hold ${Math.round(silence.holdMs)}) is not below half of the ${Math.round(failover.detectionMs ?? 0)} ms after which a failover begins`,
    );
  return answer();
}

/** The primary, and whoever would take its place. An async member that is down changes nothing. */
function concerned(member: ClusterMember): boolean {
  return member.role === 'primary' || member.mayTakeOver;
}
