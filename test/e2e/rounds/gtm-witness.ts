import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from '../../../src/model/errors.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import type { RunningProcess } from '../../../src/platform/exec.ts';
import type { GtmInstance } from '../../doubles/gtm-pair.ts';
import { until } from '../../doubles/streaming-cluster.ts';
import { Samples } from './samples.ts';
import type { Witness } from './subject.ts';

/** Rows that are kept, so that the database stays small however long it runs. */
export const kept = 1_000;
const pauseSeconds = 0.005;
const lookSeconds = 0.03;
const readMs = 100;
/** What is older is of a round that was judged. */
const keptMs = 300_000;

/** Lines of a number and microseconds since 1970, which an M process appends to a file. */
class Log {
  readonly samples = new Samples();
  readonly #file: string;
  #at = 0;
  #rest = '';
  /** From the engine's clock to the monotonic one. */
  readonly #offsetMs = systemClock.monoMs() - systemClock.wallMs();

  constructor(file: string) {
    this.#file = file;
  }

  async read(): Promise<void> {
    let file;
    try {
      file = await open(this.#file, 'r');
    } catch (error) {
      // Its process has not begun.
      if (codeOf(error) === 'ENOENT') return;
      throw error;
    }
    await using _file = file;
    const buffer = Buffer.alloc(256 * 1024);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, this.#at);
      if (bytesRead === 0) return;
      this.#at += bytesRead;
      const lines = `${this.#rest}${buffer.toString('utf8', 0, bytesRead)}`.split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) {
        const [row, us] = line.split(' ').map(Number);
        if (row !== undefined && us !== undefined && us > 0) this.samples.add(row, us / 1_000 + this.#offsetMs);
      }
    }
  }
}

/** M processes that write to the instance that is written to, and look at each of them all the time. They know nothing of the tool. */
export class GtmWitness implements Witness {
  readonly #looks: ReadonlyMap<string, Log>;
  readonly #loads: ReadonlyMap<string, Log>;
  readonly #running = new Map<string, RunningProcess>();
  readonly #stop = new AbortController();
  readonly #work: Promise<void>;

  constructor(instances: readonly GtmInstance[]) {
    const logs = (what: string): ReadonlyMap<string, Log> =>
      new Map(instances.map((each) => [each.name, new Log(logOf(each, what))]));
    this.#looks = logs('watch');
    this.#loads = logs('load');
    this.#work = this.#read();
  }

  /** Goes on where the instance ends. What ran there before was killed with it. */
  watch(instance: GtmInstance): void {
    this.#looks.get(instance.name)?.samples.newLife(systemClock.monoMs());
    this.#start(`watch ${instance.name}`, instance, 'watch^sprounds', logOf(instance, 'watch'), String(lookSeconds));
  }

  load(instance: GtmInstance): void {
    const args = [logOf(instance, 'load'), String(pauseSeconds), String(kept)];
    this.#start(`load ${instance.name}`, instance, 'load^sprounds', ...args);
  }

  #start(what: string, instance: GtmInstance, entry: string, ...args: readonly string[]): void {
    this.#running.get(what)?.kill('SIGTERM');
    this.#running.set(what, instance.start(entry, ...args));
  }

  crashed(instance: GtmInstance): void {
    this.#looks.get(instance.name)?.samples.newLife(systemClock.monoMs());
  }

  seenAt(member: string, monoMs: number): number | undefined {
    return this.#looks.get(member)?.samples.at(monoMs);
  }

  newest(): { readonly row: number; readonly monoMs: number } {
    return [...this.#loads.values()]
      .map(({ samples }) => samples.newest())
      .reduce((one, other) => (other.monoMs > one.monoMs ? other : one));
  }

  /** Of rounds in which nobody is killed, so that one of them writes all the time. */
  longestGap(fromMs: number, toMs: number): number {
    return Math.min(...[...this.#loads.values()].map(({ samples }) => samples.longestGap(fromMs, toMs)));
  }

  longestStill(member: string, fromMs: number, toMs: number): number {
    return this.#looks.get(member)?.samples.longestStill(fromMs, toMs) ?? 0;
  }

  /** Returns when a row was acknowledged after now and every instance has it. */
  async flows(): Promise<void> {
    const fromMs = systemClock.monoMs();
    // A member that is behind, or ahead by rows that are lost elsewhere, may stand still for ever.
    const most = Math.max(...[...this.#looks.values()].map(({ samples }) => samples.newest().row));
    const goesOn = (): boolean => this.newest().monoMs > fromMs && this.newest().row > most;
    await until('the load writes', async () => goesOn(), 120_000);
    const { row } = this.newest();
    const there = ({ samples }: Log): boolean => samples.newest().row >= row && samples.newest().monoMs > fromMs;
    await until('every instance has what was written', async () => [...this.#looks.values()].every(there), 120_000);
    for (const { samples } of [...this.#looks.values(), ...this.#loads.values()]) samples.forget(fromMs - keptMs);
  }

  async #read(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      for (const log of [...this.#looks.values(), ...this.#loads.values()]) await log.read();
      await systemClock.sleep(readMs);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#work;
  }
}

/** Beside the database, not in it: it goes with the instance. */
function logOf({ directory, name }: GtmInstance, what: string): string {
  return join(directory, '..', `${what}-${name}.log`);
}
