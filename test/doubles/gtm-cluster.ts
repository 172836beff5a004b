import { readFileSync } from 'node:fs';
import { gtmReplication } from '../../src/adapters/topology/gtm/topology.ts';
import { processesMarked } from '../../src/platform/process.ts';
import type { Topology } from '../../src/ports/topology.ts';
import { type GtmInstance, type GtmPair, openGtmPair } from './gtm-pair.ts';
import { whyNoGtm } from './gtm.ts';
import { testPlatform } from './postgres-subject.ts';

const limits = { limitMs: 60_000 };

/** The adapter on a pair, under the names of its instances. */
export function gtmTopologyOf({ a, b }: GtmPair): Topology {
  const placeOf = ({ gtm: { place } }: GtmInstance): unknown => ({
    distribution: place.distribution,
    globalDirectory: place.globalDirectory,
    replicationInstance: place.replicationInstance,
    environment: place.variables,
  });
  const module = gtmReplication();
  return module.create(module.config.parse({ members: { A: placeOf(a), B: placeOf(b) } }), testPlatform);
}

/** Pid of the one server of an instance whose command line is like that. */
export function serverOf(db: GtmInstance, which: RegExp): number {
  const [found, ...more] = processesMarked('SPDB', db.directory).filter(({ pid }) =>
    which.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')),
  );
  if (found === undefined || more.length > 0) throw new Error(`not one server is like ${which.source}`);
  return found.pid;
}

/** A scene of the contract suite: A is the root primary, B its replica. */
export async function gtmScene() {
  const skip = whyNoGtm();
  if (skip !== undefined) return { skip };
  const pair = await openGtmPair({ regions: 2 });
  const { a, b } = pair;
  try {
    await a.startSource();
    await b.startReceiver();
    await a.update(3);
  } catch (cause) {
    await pair[Symbol.asyncDispose]();
    throw cause;
  }
  return {
    create: () => gtmTopologyOf(pair),
    members: ['A', 'B'] as const,
    standby: 'B',
    kill: () => b.crash(),
    async revive() {
      await b.gtm.mupip(['rundown', '-region', '*'], limits);
      await b.gtm.mupip(['journal', '-rollback', '-backward', '*'], limits);
      await b.startReceiver();
    },
    async lag() {
      const pid = serverOf(b, / -updateproc /);
      process.kill(pid, 'SIGSTOP');
      await a.update(20);
      return {
        [Symbol.asyncDispose]() {
          process.kill(pid, 'SIGCONT');
          return Promise.resolve();
        },
      };
    },
    async failOver() {
      await a.crash();
      await b.stopReceiver();
      await b.startSource();
      await b.update(1);
    },
    dispose: () => pair[Symbol.asyncDispose](),
  };
}
