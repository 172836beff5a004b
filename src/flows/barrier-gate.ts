import { StillpointError } from '../model/errors.ts';
import type { Moment } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import { gates, readLine, wireVersion, type Gate, type Report, type Word } from './barrier-wire.ts';

/** The part's end of its line to the coordinator. */
export interface PartLine {
  write(line: string): void;
  /** Called once; `onEnd` when the line has ended, after the last line. */
  listen(onLine: (line: string) => void, onEnd: () => void): void;
}

/** The first word must come in this time: somebody may have typed the command by hand. */
const beginMs = 30_000;

/**
 * A backup that stops at each gate until the coordinator has said so. Its steps are those of any backup; whatever ends the barrier
 * (the word, the end of the line, silence) aborts `signal`, and the flow undoes itself, the thaw first.
 */
export class Barrier {
  readonly signal: AbortSignal;
  readonly #clock: Clock;
  readonly #line: PartLine;
  readonly #lost = new AbortController();
  readonly #said = new Map<Word['say'], Moment>();
  #begun: Extract<Word, { say: 'begin' }> | undefined;
  #wake: () => void = () => undefined;
  #cancelSilence: () => void = () => undefined;
  #over = false;

  constructor(line: PartLine, clock: Clock) {
    this.#line = line;
    this.#clock = clock;
    this.signal = this.#lost.signal;
    this.#watch(beginMs);
    line.listen(
      (text) => this.#hear(text),
      () => this.#lose('the connection to the coordinator has ended'),
    );
  }

  async begin(signal: AbortSignal): Promise<Extract<Word, { say: 'begin' }>> {
    await this.#wait('begin', signal);
    if (this.#begun === undefined) throw new Error('a barrier was begun without its word');
    if (this.#begun.version !== wireVersion) {
      throw new StillpointError(
        'barrier-broken',
        `the coordinator speaks version ${this.#begun.version} and this host ${wireVersion}`,
        { hint: 'install the same version of Stillpoint on all hosts of the group' },
      );
    }
    return this.#begun;
  }

  get group(): string {
    return this.#begun?.group ?? '';
  }

  get budgetMs(): number {
    return this.#begun?.budgetMs ?? 0;
  }

  /** Tells the stage that was reached, and returns when told to go on. Throws as soon as the barrier or `signal` ends. */
  async pass(gate: Gate, signal: AbortSignal, report?: Report): Promise<void> {
    this.tell(report ?? ({ at: gates[gate] } as Report));
    await this.#wait(gate, signal);
  }

  /** When the word was heard. */
  heard(gate: Gate): Moment {
    const at = this.#said.get(gate);
    if (at === undefined) throw new Error(`the word ${gate} was not heard`);
    return at;
  }

  tell(report: Report): void {
    this.#line.write(`${JSON.stringify(report)}\n`);
  }

  /** From here on nobody is waited for. */
  close(): void {
    this.#over = true;
    this.#cancelSilence();
  }

  async #wait(word: Word['say'], signal: AbortSignal): Promise<void> {
    const ended = AbortSignal.any([signal, this.signal]);
    while (!this.#said.has(word)) {
      if (ended.aborted) throw reasonOf(ended);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        ended.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    if (ended.aborted) throw reasonOf(ended);
  }

  #hear(text: string): void {
    const word = readLine<Word>(text, 'say');
    if (word === undefined) return;
    this.#watch(this.#begun?.silentMs ?? beginMs);
    if (word.say === 'ping') {
      this.tell({ at: 'pong', id: word.id, wallMs: this.#clock.wallMs() });
      return;
    }
    if (word.say === 'abort') {
      this.#lose(word.why);
      return;
    }
    if (word.say === 'begin') {
      this.#begun = word;
      this.#watch(word.silentMs);
    }
    this.#said.set(word.say, this.#clock.now());
    this.#wake();
  }

  #watch(ms: number): void {
    this.#cancelSilence();
    if (this.#over) return;
    this.#cancelSilence = this.#clock.after(ms, () => this.#lose(`nothing was heard of the coordinator for ${ms} ms`));
  }

  #lose(why: string): void {
    if (this.#over) return;
    this.close();
    this.#lost.abort(
      new StillpointError('barrier-broken', `the barrier was given up: ${why}`, {
        hint: 'the coordinator says which part was the cause',
      }),
    );
  }
}

function reasonOf(signal: AbortSignal): unknown {
  return signal.reason instanceof StillpointError ? signal.reason : new StillpointError('cancelled', 'cancelled');
}
