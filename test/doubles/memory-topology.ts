import type { ClusterMember, ClusterView } from '../../src/model/cluster.ts';
import { StillpointError } from '../../src/model/errors.ts';
import type { HoldOffToken, Topology } from '../../src/ports/topology.ts';

export function member(name: string, role: ClusterMember['role'], more: Partial<ClusterMember> = {}): ClusterMember {
  const standby = role === 'backup' || role === 'replica' || role === 'async';
  const lag = standby ? { transfer: { ms: 0, caughtUp: true }, apply: { ms: 0, caughtUp: true } } : {};
  return {
    ...{ name, role, health: 'healthy', reported: role, leadsQuorum: false, mayTakeOver: standby, findings: [] },
    ...lag,
    ...more,
  };
}

/** A cluster that is only told of. Two members: `alpha` is the primary, `beta` its backup. */
export class MemoryTopology implements Topology {
  readonly manager = 'memory';
  epoch = 1;
  members: ClusterMember[] = [member('alpha', 'primary'), member('beta', 'backup')];
  detectionMs: number | undefined = 8_000;
  automatic = true;
  quorum: ClusterView['quorum'] = { kind: 'arbiter', health: 'healthy', said: 'arbiter connected' };
  heldOffBy: string | undefined;
  /** What was asked, in order. */
  readonly calls: string[] = [];
  /** Thrown by the next view. */
  broken: StillpointError | undefined;

  failOver(): void {
    this.epoch += 1;
    const swapped = { primary: 'backup', backup: 'primary' } as const;
    this.members = this.members.map(({ name, role, health }) =>
      role === 'primary' || role === 'backup' ? member(name, swapped[role], { health }) : member(name, role),
    );
  }

  change(name: string, more: Partial<ClusterMember>): void {
    this.members = this.members.map((each) => (each.name === name ? { ...each, ...more } : each));
  }

  view(): Promise<ClusterView> {
    this.calls.push('view');
    if (this.broken !== undefined) return Promise.reject(this.broken);
    const { detectionMs, automatic, heldOffBy } = this;
    return Promise.resolve({
      manager: this.manager,
      name: 'pair',
      epoch: String(this.epoch),
      members: this.members,
      quorum: this.quorum,
      failover: {
        automatic,
        ...(detectionMs === undefined ? {} : { detectionMs }),
        heldOff: heldOffBy !== undefined,
        said: 'after missing heartbeats',
      },
      findings: [],
    });
  }

  holdOffToken(runId: string, { name }: ClusterView): HoldOffToken {
    return { manager: this.manager, cluster: name, runId, identity: `stillpoint ${runId}` };
  }

  holdOff({ identity }: HoldOffToken): Promise<void> {
    this.calls.push('hold off');
    if (this.heldOffBy !== undefined && this.heldOffBy !== identity) {
      return Promise.reject(
        new StillpointError('role-unsuitable', 'somebody else holds off failover', { hint: 'wait until they let go' }),
      );
    }
    this.heldOffBy = identity;
    return Promise.resolve();
  }

  letGo({ identity }: HoldOffToken): Promise<void> {
    this.calls.push('let go');
    if (this.heldOffBy === identity) this.heldOffBy = undefined;
    return Promise.resolve();
  }
}
