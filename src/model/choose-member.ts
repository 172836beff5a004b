import type { ClusterMember, ClusterView, Lag, Role } from './cluster.ts';

/** Which member is wanted. `prefer-standby`: one that is caught up and does not lead the quorum, else the primary. */
export type MemberPolicy = 'prefer-standby' | 'primary' | 'standby' | 'async';

export interface ChoiceRequest {
  readonly view: ClusterView;
  readonly policy: MemberPolicy;
  /** Members whose files and engine can be reached from here. */
  readonly reachable: ReadonlySet<string>;
  /** A standby that is further behind is passed over, in milliseconds. */
  readonly maxLagMs: number;
}

export type Objection = 'not-reachable' | 'role' | 'health' | 'lag' | 'finding';

export interface Considered {
  readonly member: string;
  readonly role: Role;
  /** Empty: it fits. */
  readonly objections: readonly { readonly code: Objection; readonly said: string }[];
}

export interface Choice {
  /** Undefined when none fits. */
  readonly member?: string;
  /** In the order of preference, the chosen one first among those that fit. */
  readonly considered: readonly Considered[];
}

/** Roles that a policy takes, the most wanted first. */
const wanted: Readonly<Record<MemberPolicy, readonly Role[]>> = {
  'prefer-standby': ['backup', 'replica', 'async', 'primary', 'standalone'],
  primary: ['primary', 'standalone'],
  standby: ['backup', 'replica'],
  async: ['async'],
};

/** Pure: the same view gives the same choice. */
export function chooseMember(request: ChoiceRequest): Choice {
  const roles = wanted[request.policy];
  const rank = (member: ClusterMember): number => {
    const index = roles.indexOf(member.role);
    return index === -1 ? roles.length : index;
  };
  const considered = request.view.members
    .map((member) => ({ member, objections: objectionsTo(member, request) }))
    .sort(
      (one, other) =>
        Number(one.objections.length > 0) - Number(other.objections.length > 0) ||
        lead(one.member) - lead(other.member) ||
        rank(one.member) - rank(other.member) ||
        behind(one.member) - behind(other.member) ||
        compare(one.member.name, other.member.name),
    );
  const first = considered[0];
  return {
    ...(first === undefined || first.objections.length > 0 ? {} : { member: first.member.name }),
    considered: considered.map(({ member, objections }) => ({ member: member.name, role: member.role, objections })),
  };
}

function objectionsTo(member: ClusterMember, request: ChoiceRequest): Considered['objections'] {
  const said: { code: Objection; said: string }[] = [];
  const object = (code: Objection, why: string): void => void said.push({ code, said: why });
  if (!request.reachable.has(member.name)) object('not-reachable', 'no way to its files is configured here');
  if (!wanted[request.policy].includes(member.role))
    object('role', `it is ${member.role} (${member.reported}), and the policy is ${request.policy}`);
  if (member.health !== 'healthy') object('health', `it is ${member.health} (${member.reported})`);
  if (isStandby(member)) {
    const why = lagOf('transfer', member.transfer, request.maxLagMs) ?? lagOf('apply', member.apply, request.maxLagMs);
    if (why !== undefined) object('lag', why);
  }
  // What is wrong with the cluster (two primaries...) is wrong with each of its members.
  for (const { severity, check, said: why } of [...member.findings, ...request.view.findings]) {
    if (severity === 'error') object('finding', `${check}: ${why}`);
  }
  return said;
}

function isStandby({ role }: ClusterMember): boolean {
  return role === 'backup' || role === 'replica' || role === 'async';
}

/** A figure within the limit is as good as the manager's word, and one over it outweighs that word. */
function lagOf(what: string, lag: Lag | undefined, maxLagMs: number): string | undefined {
  if (lag?.ms !== undefined && lag.ms > maxLagMs) {
    return `its ${what} is ${Math.round(lag.ms)} ms behind, and ${maxLagMs} ms are allowed`;
  }
  if (lag?.caughtUp === true || (lag?.ms !== undefined && lag.caughtUp === undefined)) return undefined;
  return lag?.caughtUp === false ? `its ${what} is not caught up` : `nobody tells how far its ${what} is behind`;
}

/**
 * Whoever leads the quorum comes last, whatever its role: of two standbys the other one can be silenced, and the gate would refuse this
 * one. It is no objection, because a backup that silences nobody may take it.
 */
function lead({ leadsQuorum }: ClusterMember): number {
  return leadsQuorum === true ? 2 : leadsQuorum === undefined ? 1 : 0;
}

function behind({ transfer, apply }: ClusterMember): number {
  return (transfer?.ms ?? 0) + (apply?.ms ?? 0);
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
