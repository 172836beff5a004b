import assert from 'node:assert/strict';
import { type ClusterMember, type ClusterView, memberOf } from '../../src/model/cluster.ts';
import { codeOf } from '../../src/model/errors.ts';
import type { Topology } from '../../src/ports/topology.ts';
import { until } from './streaming-cluster.ts';

export function member(view: ClusterView, name: string): ClusterMember {
  const found = memberOf(view, name);
  assert.ok(found !== undefined, `${name} must be in the view`);
  return found;
}

/** Severity and check of each finding. */
export function checks(each: Pick<ClusterView, 'findings'> | undefined): readonly string[] {
  return (each?.findings ?? []).map(({ severity, check }) => `${severity} ${check}`);
}

export function allWell({ members }: ClusterView): boolean {
  return members.every(({ health, role }) => health === 'healthy' && role !== 'unknown');
}

/** The first view that has it. While a cluster changes, nobody may know who is primary. */
export async function viewWhen(
  topology: Topology,
  what: string,
  has: (view: ClusterView) => boolean,
): Promise<ClusterView> {
  let view: ClusterView | undefined;
  await until(
    what,
    async () => {
      try {
        view = await topology.view(new AbortController().signal);
      } catch (cause) {
        if (codeOf(cause) === 'cluster-unknown') return false;
        throw cause;
      }
      return has(view);
    },
    120_000,
  );
  assert.ok(view !== undefined);
  return view;
}
