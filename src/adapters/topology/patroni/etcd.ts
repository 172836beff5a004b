import type { Quorum } from '../../../model/cluster.ts';
import { messageOf } from '../../../model/errors.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { Config } from './config.ts';
import { type EtcdStatus, parseEtcdStatus } from './parse-etcd.ts';
import { ask, readTls } from './rest.ts';

/** What is known about the store that decides, and where its leader is. */
export interface Dcs {
  readonly quorum: Quorum;
  /** `elsewhere`: on no member's machine. Undefined: not known. */
  readonly leaderOn: string | undefined;
}

interface Seen {
  readonly url: string;
  readonly on: string;
  readonly status: EtcdStatus | undefined;
  readonly said: string;
}

const limitMs = 3000;
export const elsewhere = 'elsewhere';

/** Asks every etcd who leads. Never throws for one that does not answer. */
export async function askDcs(dcs: Config['dcs'], clock: Clock, signal: AbortSignal): Promise<Dcs> {
  if (dcs === undefined) {
    return {
      quorum: { kind: 'dcs', health: 'unknown', said: 'topology.patroni.dcs says neither what the DCS is nor where' },
      leaderOn: undefined,
    };
  }
  if (dcs === elsewhere) {
    return { quorum: { kind: 'dcs', health: 'unknown', said: 'on no machine of a member' }, leaderOn: elsewhere };
  }
  const tls = await readTls(dcs.tls);
  const seen = await Promise.all(
    dcs.etcd.map(async ({ url, on }): Promise<Seen> => {
      try {
        const at = new URL('/v3/maintenance/status', url).href;
        const answer = await ask({ url: at, method: 'POST', body: {}, signal, limitMs }, tls, clock);
        const status = answer.status === 200 ? parseEtcdStatus(answer.json) : undefined;
        return { url, on, status, said: status === undefined ? `HTTP status ${answer.status}` : 'answers' };
      } catch (cause) {
        signal.throwIfAborted();
        return { url, on, status: undefined, said: messageOf(cause) };
      }
    }),
  );
  return leaderAmong(seen);
}

/** Pure. Those that are cut off still name the leader that they knew: only the newest term counts, and a majority must be in it. */
export function leaderAmong(seen: readonly Seen[]): Dcs {
  const silent = seen.filter(({ status }) => status === undefined).map(({ url, said }) => `${url}: ${said}`);
  const known = seen.flatMap(({ status, on }) => (status === undefined ? [] : [{ ...status, on }]));
  const term = known.reduce((newest, each) => (each.term > newest ? each.term : newest), 0n);
  const current = known.filter((each) => each.term === term && each.leader !== '0');
  const [first] = current;
  const agreed = first !== undefined && current.every(({ leader }) => leader === first.leader);
  const quorate = agreed && current.length * 2 > seen.length;
  const leader = quorate ? known.find(({ own }) => own === first.leader) : undefined;
  const where = leader === undefined ? 'its leader is not known' : `its leader runs on ${leader.on}`;
  const said = [`etcd, ${current.length} of ${seen.length} agree, ${where}`, ...silent].join('; ');
  return {
    quorum: {
      kind: 'dcs',
      health: !quorate ? 'down' : current.length < seen.length ? 'trouble' : 'healthy',
      said,
    },
    leaderOn: leader?.on,
  };
}
