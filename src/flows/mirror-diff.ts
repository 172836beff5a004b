import { StillpointError } from '../model/errors.ts';
import type { Differences } from '../ports/topology.ts';
import { clusterOf } from './cluster.ts';
import type { Workload } from './environment.ts';

/** What the members have not alike, and nobody replicates. Changes nothing. Throws `method-unsupported` where the manager has no answer. */
export async function mirrorDifferences(workload: Workload, signal: AbortSignal): Promise<Differences> {
  const { topology } = clusterOf(workload);
  if (topology.difference === undefined) {
    throw new StillpointError('method-unsupported', `${topology.manager} cannot tell what it does not replicate`, {
      hint: 'docs/guide/clusters.md says what each cluster replicates',
    });
  }
  return await topology.difference(signal);
}

/** True when nothing has to be done: all members told everything, and none has what another one lacks. */
export function isAlike({ silent, found }: Differences): boolean {
  return silent.length === 0 && found.every(({ state }) => state === 'local');
}
