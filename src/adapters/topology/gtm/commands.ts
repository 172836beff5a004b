import { join } from 'node:path';
import type { MemberPlace } from './config.ts';

export type Argv = readonly [string, ...string[]];

/** The whole environment of a command. Times are printed in the zone of their reader, and the epoch holds one. */
export function environmentOf(place: MemberPlace): Readonly<Record<string, string>> {
  return {
    ...place.environment,
    gtm_dist: place.distribution,
    gtmgbldir: place.globalDirectory,
    gtm_repl_instance: place.replicationInstance,
    TZ: 'UTC',
  };
}

/** Owner of a file, behind that of the process that asks. */
export function owners(file: string): Argv {
  return ['stat', '-L', '-c', '%u:%g', '--', '/proc/self', file];
}

function replicate({ distribution }: MemberPlace, ...args: readonly string[]): Argv {
  return [join(distribution, 'mupip'), 'replicate', ...args];
}

/** Reads the file only, so it also tells of an instance that is down. */
export function showInstance(place: MemberPlace, file = place.replicationInstance): Argv {
  return replicate(place, '-editinstance', '-show', file);
}

/** One look at the shared memory of the instance: its newest update, and every source server with its state. */
export function showPool(place: MemberPlace): Argv {
  return replicate(place, '-source', '-jnlpool', '-show');
}

export function sourceBacklog(place: MemberPlace): Argv {
  return replicate(place, '-source', '-showbacklog');
}

export function receiverHealth(place: MemberPlace): Argv {
  return replicate(place, '-receiver', '-checkhealth');
}

export function receiverBacklog(place: MemberPlace): Argv {
  return replicate(place, '-receiver', '-showbacklog');
}

/** Headers of all regions. Neither waits for a freeze nor touches it. */
export function showRegions({ distribution }: MemberPlace): Argv {
  return [join(distribution, 'dse'), 'all', '-dump'];
}

/** What there is of these processes, and who has which shared memory attached. Fails for those that are gone, and prints the others. */
export function showProcesses(pids: readonly number[]): Argv {
  return ['cat', '/proc/sysvipc/shm', ...pids.map((pid) => `/proc/${pid}/stat`)];
}
