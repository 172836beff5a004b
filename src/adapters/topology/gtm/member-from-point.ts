import { dirname, join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { Host } from '../../../ports/host.ts';
import type { Seeded, SeedRequest } from '../../../ports/topology.ts';
import { shellLine, startActive } from './commands.ts';
import type { MemberPlace } from './config.ts';
import { makeReplica } from './seed.ts';

export interface Known {
  readonly name: string;
  readonly place: MemberPlace;
}

/** What was restored, as the application adapter calls it. Throws `point-incomplete`. */
function filesIn({ required, at }: SeedRequest): { readonly globalDirectory: string; readonly instance: string } {
  const find = (name: string): string => {
    const found = required.find((each) => each.name === name);
    if (found !== undefined) return at(found.path);
    throw new StillpointError('point-incomplete', `the point holds no ${name.replace('-', ' ')}`, {
      hint: 'set replicationInstance of the application, and make another point: stillpoint backup',
    });
  };
  return { globalDirectory: find('global-directory'), instance: find('replication-instance') };
}

/** A restored copy as the replica of that name, as it is configured. */
export async function memberFromPoint(
  request: SeedRequest,
  members: readonly Known[],
  primary: string | undefined,
  host: Host,
  signal: AbortSignal,
): Promise<Seeded> {
  const { member } = request;
  const { globalDirectory, instance } = filesIn(request);
  const place = placeFor(request, members, globalDirectory);
  const from = members.find(({ name }) => name === primary);
  if (from === undefined) {
    throw new StillpointError('role-unsuitable', 'there is no root primary among the configured members', {
      hint: 'see `stillpoint mirror status`',
    });
  }
  for (const each of [from, { name: member, place }]) {
    if (each.place.reach === undefined) continue;
    throw new StillpointError('method-unsupported', `${each.name} is on another machine than this one`, {
      hint: 'make the replica on the machine of the primary, or restore the point and follow the manual of the engine',
    });
  }
  const directory = join(request.at('/'), `replica-${member}`);
  const { receiver } = place;
  const { next, script } = await makeReplica(
    { name: member, place, restored: instance, primary: from, listenPort: receiver.port, directory },
    host,
    signal,
  );
  const log = join(dirname(from.place.replicationInstance), `source-${member}.log`);
  const send = startActive(from.place, member, `${receiver.host}:${receiver.port}`, log);
  return {
    said: [
      `${member} will ask ${from.name} for everything from update ${next} on`,
      `run both commands as the owner of the database; then let ${from.name} send: ${shellLine(from.place, send)}`,
    ],
    next: `sh ${script}`,
  };
}

function placeFor(
  { member, at }: SeedRequest,
  members: readonly Known[],
  globalDirectory: string,
): MemberPlace & { readonly receiver: NonNullable<MemberPlace['receiver']> } {
  const place = members.find(({ name }) => name === member)?.place;
  const inside = at('/');
  const wrong = (why: string): StillpointError =>
    new StillpointError('config-invalid', `${member} cannot be made there: ${why}`, {
      hint: `under topology.gtm.members.${member}: globalDirectory: ${globalDirectory}, replicationInstance: ${join(inside, `${member}.repl`)}, and receiver with host and port; or give another --target`,
    });
  if (place === undefined) throw wrong('it is no member in the configuration');
  const { receiver } = place;
  if (receiver === undefined) throw wrong('it has no receiver');
  // Any other one names other files, perhaps the original's.
  if (place.globalDirectory !== globalDirectory)
    throw wrong(`its global directory is ${place.globalDirectory}, and the restored one ${globalDirectory}`);
  // So that all of it goes with the copy when the run fails or dies.
  if (!place.replicationInstance.startsWith(`${inside}/`))
    throw wrong(`its instance file ${place.replicationInstance} is not inside the copy`);
  return { ...place, receiver };
}
