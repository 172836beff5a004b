import {
  receiverBacklog,
  receiverHealth,
  showInstance,
  showPool,
  showProcesses,
  showRegions,
  sourceBacklog,
} from './commands.ts';
import type { MemberPlace } from './config.ts';
import { NoAnswer, type Programs } from './programs.ts';
import {
  complaintOf,
  type InstanceFile,
  isDenied,
  parseAcknowledged,
  parseInstance,
  parsePool,
  parseProcesses,
  parseReceived,
  parseReceiver,
  parseRegions,
  type Pool,
  poolTrouble,
  type Processes,
  type Receiver,
  type RegionReplication,
} from './parse.ts';

/** `last` is undefined where no receiver server was started. `answeredMs`: monotonic, when the answer was there. */
export interface Received {
  readonly last: bigint | undefined;
  readonly answeredMs: number;
}

/** What the memory of an instance tells. */
export interface Live {
  readonly pool: Pool;
  readonly acknowledged: ReadonlyMap<string, bigint>;
  readonly receiver: Receiver | undefined;
  readonly received: Received;
  /** Undefined: not all of them could be asked. */
  readonly regions: readonly RegionReplication[] | undefined;
  /** Monotonic: when its pool was asked, and when the answer was there. */
  readonly askedMs: number;
  readonly answeredMs: number;
}

export interface Facts {
  readonly name: string;
  /** `closed` and `crashed`: nobody has the instance open. */
  readonly live: Live | 'closed' | 'crashed';
  readonly file: InstanceFile;
  readonly processes: Processes;
}

export interface Refused {
  readonly name: string;
  readonly said: string;
  /** We may not ask, which is a mistake in the settings and no state of the member. */
  readonly denied: boolean;
}

/** What one instance is asked. Nothing here changes anything. */
export class Asker {
  readonly name: string;
  readonly #place: MemberPlace;
  readonly #programs: Programs;

  constructor(name: string, programs: Programs) {
    this.name = name;
    this.#place = programs.place;
    this.#programs = programs;
  }

  /** Throws NoAnswer. */
  async live(): Promise<Facts['live']> {
    const place = this.#place;
    const look = await this.pool();
    if (typeof look === 'string') return look;
    const [acknowledged, health, received, regions] = await Promise.all([
      this.#programs.text(sourceBacklog(place)).catch(silence),
      this.#programs.text(receiverHealth(place)),
      this.received(),
      this.#programs.text(showRegions(place)).catch(silence),
    ]);
    return {
      ...look,
      acknowledged: parseAcknowledged(acknowledged),
      receiver: parseReceiver(health),
      received,
      regions: parseRegions(regions),
    };
  }

  /** Its newest update, and every source server. Throws NoAnswer. */
  async pool(): Promise<Pick<Live, 'pool' | 'askedMs' | 'answeredMs'> | 'closed' | 'crashed'> {
    const { text, startedMs, endedMs } = await this.#programs.run(showPool(this.#place));
    const pool = parsePool(text);
    if (pool !== undefined) return { pool, askedMs: startedMs, answeredMs: endedMs };
    const trouble = poolTrouble(text);
    if (trouble === undefined) throw new NoAnswer(complaintOf(text), isDenied(text));
    return trouble;
  }

  /** Newest update that its receiver server has. Throws NoAnswer. */
  async received(): Promise<Received> {
    const { text, endedMs } = await this.#programs.run(receiverBacklog(this.#place));
    return { last: parseReceived(text), answeredMs: endedMs };
  }

  /** Throws NoAnswer. */
  async file(): Promise<InstanceFile> {
    const text = await this.#programs.text(showInstance(this.#place));
    const file = parseInstance(text);
    if (file === undefined) throw new NoAnswer(complaintOf(text), isDenied(text));
    return file;
  }

  /** After all other questions: our own programs have the memory attached while they run. */
  async processes(live: Facts['live']): Promise<Processes> {
    const pids =
      typeof live === 'string'
        ? []
        : [...live.pool.sources.map(({ pid }) => pid), live.receiver?.receiver ?? 0, live.receiver?.update ?? 0];
    return parseProcesses(await this.#programs.text(showProcesses([...new Set(pids)].filter((pid) => pid > 0))));
  }
}

/** What an answer would add is then not known, and is shown so. */
function silence(cause: unknown): string {
  if (cause instanceof NoAnswer) return '';
  throw cause;
}
