import type { ClusterView } from '../model/cluster.ts';
import { StillpointError } from '../model/errors.ts';
import { isWhole, type SplitBefore, type SplitSeen } from '../model/mirror-split.ts';
import type { MachineLook } from '../ports/machines.ts';
import { viewOf } from './cluster.ts';
import { lookAround, type SplitTools } from './mirror-split-drive.ts';

export interface SplitChosen {
  readonly before: SplitBefore;
  readonly view: ClusterView;
  readonly volume: string;
}

/** The state of everything, and why it would be refused; empty = it would begin. Changes nothing. */
export async function surveySplit(
  tools: SplitTools,
  signal: AbortSignal,
): Promise<{ readonly chosen: SplitChosen; readonly seen: SplitSeen; readonly refusals: readonly string[] }> {
  const { split, machines, cluster, environment } = tools;
  const view = await viewOf(cluster, environment, signal);
  const active = view.members.find(({ role }) => role === 'primary')?.name;
  const others = view.members.filter(({ name }) => name !== active);
  const [standby] = others;
  if (active === undefined || standby === undefined || others.length !== 1) {
    throw new StillpointError('role-unsuitable', `${view.name} has not one server with the group and one other`, {
      hint: 'see `stillpoint mirror status`; mirror-split is for clusters of two servers',
    });
  }
  const names = [active, standby.name];
  const monitors = split.monitors.flatMap((monitor) => names.map((server) => ({ monitor, server })));
  const before = { active, standby: standby.name, monitors };
  const seen = await lookAround(tools, names, signal);
  const machine = await machines.look(standby.name, signal);
  return {
    chosen: { before, view, volume: seen.servers[standby.name]?.attached?.volume ?? '' },
    seen,
    refusals: [...unwell(seen, before), ...diskTrouble(tools, standby.name, machine)],
  };
}

/** Why a mirror is not taken apart now. */
export function unwell(seen: SplitSeen, before: SplitBefore): readonly string[] {
  const said: string[] = [];
  if (!isWhole(seen, before)) said.push(`the mirror is ${seen.mirror}`);
  if (seen.group.status !== 'online' || seen.group.on !== before.active)
    said.push(`the group is not online on ${before.active}`);
  for (const [name, server] of Object.entries(seen.servers)) {
    if (server.suspended.length > 0)
      said.push(`${server.suspended.join(', ')} is suspended on ${name} by somebody else`);
    if (server.machine !== 'running') said.push(`the machine of ${name} is ${server.machine}`);
    if (!server.answers || server.services !== 'running') said.push(`${name} does not tell that it is in the cluster`);
    if (server.startup === 'manual') said.push(`the services of ${name} do not start at a boot`);
    if (server.attached?.state !== 'attached') said.push(`${name} has no volume at its device`);
  }
  return said;
}

function diskTrouble({ machines }: SplitTools, standby: string, seen: MachineLook): readonly string[] {
  if (seen.deletedWithMachine !== true) return [];
  return [`the volume at ${machines.deviceOf(standby)} of ${standby} would be deleted with its machine`];
}

export function refuse(refusals: readonly string[]): void {
  if (refusals.length === 0) return;
  throw new StillpointError('role-unsuitable', `the mirror is not taken apart: ${refusals.join('; ')}`, {
    hint: 'while it is apart there is one copy and no failover; mend what is said there first',
    details: { refusals },
  });
}

/** The configured partitions must be on the volume that is cut. */
export async function refuseElsewhere({ split, machines }: SplitTools, servers: readonly string[]): Promise<void> {
  for (const server of servers) {
    const volume = (await machines.look(server)).attached?.volume ?? '';
    const found = await partitionsAt({ split, machines }, server, volume);
    if (found.length > 0) refuse(found);
  }
}

/** What of the configured partitions of a server is not on this volume; empty = all are. */
export async function partitionsAt(
  { split, machines }: Pick<SplitTools, 'split' | 'machines'>,
  server: string,
  volume: string,
): Promise<readonly string[]> {
  const disks = await split.disks(server);
  const plain = volume.replaceAll('-', '');
  return machines.partitionsOf(server).flatMap((partition) => {
    const disk = disks.find(({ partitions }) => partitions.includes(partition));
    if (disk === undefined) return [`${server} has no ${partition}`];
    // Without a serial (Xen) the name is all that there is.
    const isOther = disk.serial !== undefined && disk.serial.replaceAll('-', '') !== plain;
    return isOther ? [`${partition} of ${server} is on ${disk.serial}, not on ${volume}`] : [];
  });
}
