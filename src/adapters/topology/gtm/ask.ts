import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Host } from '../../../ports/host.ts';
import {
  environmentOf,
  owners,
  receiverBacklog,
  receiverHealth,
  showInstance,
  showPool,
  showProcesses,
  showRegions,
  sourceBacklog,
  type Argv,
} from './commands.ts';
import type { MemberPlace } from './config.ts';
import {
  complaintOf,
  type InstanceFile,
  isDenied,
  type Owner,
  parseAcknowledged,
  parseInstance,
  parseOwners,
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

/** For one program. A view waits for four of them after one another at most. */
const limitMs = 4000;

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

/** An answer that is none: the reason stands for it. */
export class NoAnswer extends Error {
  readonly denied: boolean;
  constructor(said: string, denied: boolean) {
    super(said);
    this.denied = denied;
  }
}

/** The programs of one instance, each with a limit, as the owner of its files. They read; none of them changes anything. */
export class Asker {
  readonly name: string;
  readonly #place: MemberPlace;
  readonly #host: Host;
  readonly #signal: AbortSignal;
  #as: Owner | undefined;

  constructor(name: string, place: MemberPlace, host: Host, signal: AbortSignal) {
    this.name = name;
    this.#place = place;
    this.#host = host;
    this.#signal = signal;
  }

  /** Throws NoAnswer. */
  async live(): Promise<Facts['live']> {
    const place = this.#place;
    const [asker, owner] = parseOwners(await this.#run(owners(place))) ?? [];
    // As root, a helper of the engine that is started on the way would belong to root, and shut its users out.
    this.#as = asker?.uid === 0 && owner?.uid !== 0 ? owner : undefined;
    const look = await this.pool();
    if (typeof look === 'string') return look;
    const [acknowledged, health, received, regions] = await Promise.all([
      this.#run(sourceBacklog(place)).catch(silence),
      this.#run(receiverHealth(place)),
      this.received(),
      this.#run(showRegions(place)).catch(silence),
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
    const { text, startedMs, endedMs } = await this.#ask(showPool(this.#place));
    const pool = parsePool(text);
    if (pool !== undefined) return { pool, askedMs: startedMs, answeredMs: endedMs };
    const trouble = poolTrouble(text);
    if (trouble === undefined) throw new NoAnswer(complaintOf(text), isDenied(text));
    return trouble;
  }

  /** Newest update that its receiver server has. Throws NoAnswer. */
  async received(): Promise<Received> {
    const { text, endedMs } = await this.#ask(receiverBacklog(this.#place));
    return { last: parseReceived(text), answeredMs: endedMs };
  }

  /** Throws NoAnswer. */
  async file(): Promise<InstanceFile> {
    const text = await this.#run(showInstance(this.#place));
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
    return parseProcesses(await this.#run(showProcesses([...new Set(pids)].filter((pid) => pid > 0))));
  }

  async #run(argv: Argv): Promise<string> {
    return (await this.#ask(argv)).text;
  }

  /** Exit codes are not looked at: they collide, and 0 is no proof. What is not in the text is not known. */
  async #ask(argv: Argv): Promise<{ readonly text: string; readonly startedMs: number; readonly endedMs: number }> {
    try {
      const { stdout, stderr, startedMs, endedMs, ...end } = await this.#host.exec.run({
        argv,
        env: environmentOf(this.#place),
        ...this.#as,
        timeoutMs: limitMs,
        signal: this.#signal,
      });
      const program = `${argv[0]} ${argv.slice(1, 3).join(' ')}`;
      if (end.timedOut) throw new NoAnswer(`${program} did not end within ${limitMs} ms`, false);
      // The programs print nearly everything on stderr, success too, but not all.
      const text = [stdout, stderr].filter((part) => part !== '').join('\n');
      if (end.exitCode === null) throw new NoAnswer(`${program} was ended: ${complaintOf(text)}`, false);
      return { text, startedMs, endedMs };
    } catch (cause) {
      if (cause instanceof StillpointError) throw new NoAnswer(messageOf(cause), false);
      throw cause;
    }
  }
}

/** What an answer would add is then not known, and is shown so. */
function silence(cause: unknown): string {
  if (cause instanceof NoAnswer) return '';
  throw cause;
}
