import { errorTable, ExitCode, StillpointError, messageOf, type ErrorCode } from '../model/errors.ts';
import type { Finding, Level } from '../model/point.ts';
import { stages, type PartEvidence, type Stage } from '../model/together.ts';
import type { Moment } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import { nameOf, type GroupPart, type HostGroup, type PartConnection } from './barrier-group.ts';
import {
  pingMs,
  readLine,
  wireVersion,
  type Gate,
  type Ready,
  type Recorded,
  type Report,
  type Word,
} from './barrier-wire.ts';

/** What the coordinator knows of one part. */
interface PartAtWork {
  readonly part: GroupPart;
  connection: PartConnection | undefined;
  heard: Partial<Record<Stage, Moment>>;
  ready: Ready | undefined;
  recorded: Recorded | undefined;
  ended: Extract<Report, { at: 'ended' }> | undefined;
  /** The line has ended, by whomever. */
  gone: boolean;
  failure: StillpointError | undefined;
  lastMs: number;
  clock: { readonly aheadMs: number; readonly roundTripMs: number } | undefined;
}

export interface Listeners {
  readonly onFinding: (finding: Finding) => void;
  readonly onProgress: (part: string, progress: { readonly bytesDone: number; readonly bytesTotal: number }) => void;
}

/**
 * The lines to all parts: says words to all at once, and waits until all have reported a stage. The first that fails, is silent, ends its
 * line or reports out of order fails every wait.
 */
export class Parts {
  readonly #group: HostGroup;
  readonly #clock: Clock;
  readonly #listeners: Listeners;
  readonly #all: readonly PartAtWork[];
  readonly #pings = new Map<number, { readonly monoMs: number; readonly wallMs: number }>();
  #wake: () => void = () => undefined;
  #stopPings: () => void = () => undefined;
  #pinged = 0;

  constructor(group: HostGroup, clock: Clock, listeners: Listeners) {
    this.#group = group;
    this.#clock = clock;
    this.#listeners = listeners;
    this.#all = group.parts.map((part) => ({
      part,
      connection: undefined,
      heard: {},
      ready: undefined,
      recorded: undefined,
      ended: undefined,
      gone: false,
      failure: undefined,
      lastMs: clock.monoMs(),
      clock: undefined,
    }));
  }

  get ready(): readonly (Ready & { readonly name: string })[] {
    return this.#all.flatMap(({ part, ready }) => (ready === undefined ? [] : [{ ...ready, name: nameOf(part) }]));
  }

  connect(group: string, level: Level | undefined): void {
    for (const each of this.#all) {
      try {
        each.connection = each.part.connect();
      } catch (error) {
        each.gone = true;
        this.#fail(each, error instanceof StillpointError ? error : broken(each, messageOf(error)));
        continue;
      }
      each.lastMs = this.#clock.monoMs();
      each.connection.listen(
        (line) => this.#hear(each, line),
        (why) => this.#end(each, why),
      );
    }
    this.#say({
      say: 'begin',
      version: wireVersion,
      group,
      budgetMs: this.#group.budgetMs,
      silentMs: this.#group.silentMs,
      ...(level === undefined ? {} : { level }),
    });
    this.#stopPings = this.#clock.every(pingMs, () => this.#ping());
  }

  /** Returns when the first part was told. */
  say(gate: Gate): Moment {
    const at = this.#clock.now();
    this.#say({ say: gate });
    return at;
  }

  /** Until all parts have reported the stage. Throws what went wrong first; nothing is undone by that. */
  async all(stage: Stage, limitMs: number | undefined, signal: AbortSignal): Promise<void> {
    let late = false;
    const onAbort = (): void => this.#wake();
    signal.addEventListener('abort', onAbort);
    const cancel =
      limitMs === undefined
        ? () => undefined
        : this.#clock.after(Math.max(0, limitMs), () => {
            late = true;
            this.#wake();
          });
    try {
      for (;;) {
        const failure = this.#all.find((each) => each.failure !== undefined)?.failure;
        if (failure !== undefined) throw failure;
        if (signal.aborted) {
          throw signal.reason instanceof StillpointError
            ? signal.reason
            : new StillpointError('cancelled', 'cancelled');
        }
        const missing = this.#all.filter((each) => each.heard[stage] === undefined);
        const [first] = missing;
        if (first === undefined) return;
        if (late) {
          const names = missing.map((each) => nameOf(each.part)).join(', ');
          throw broken(first, `was not ${stage} within ${Math.round(limitMs ?? 0)} ms`, names);
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      cancel();
      signal.removeEventListener('abort', onAbort);
    }
  }

  /**
   * Until every part has said how it ended, at most for so long; then their lines are cut. Returns who did not say it, and what those said
   * that could not undo all.
   */
  async ended(
    limitMs: number,
  ): Promise<{ readonly unheard: readonly string[]; readonly errors: readonly StillpointError[] }> {
    const untilMs = this.#clock.monoMs() + limitMs;
    const cancel = this.#clock.after(limitMs, () => this.#wake());
    while (this.#clock.monoMs() < untilMs && this.#all.some((each) => !each.gone && each.ended === undefined)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    cancel();
    this.#stopPings();
    for (const each of this.#all) {
      each.connection?.close();
      if (!each.gone && each.ended === undefined) each.connection?.kill();
    }
    return {
      unheard: this.#all.filter((each) => each.ended === undefined).map((each) => nameOf(each.part)),
      errors: this.#all.flatMap((each) => (each.ended?.code === undefined ? [] : [errorOf(each, each.ended)])),
    };
  }

  /** The word and the end of the line: whichever is heard first will do. */
  abort(why: string): void {
    this.#say({ say: 'abort', why });
    for (const each of this.#all) each.connection?.close();
  }

  evidence(): readonly PartEvidence[] {
    return this.#all.map(({ part, heard, ready, recorded, clock }) => ({
      name: part.name,
      host: ready?.host ?? '',
      bootId: ready?.bootId ?? '',
      workload: part.workload,
      heard,
      hold: recorded?.hold ?? null,
      point: recorded?.point ?? null,
      ...(clock === undefined ? {} : { clock }),
    }));
  }

  #say(word: Word): void {
    const line = `${JSON.stringify(word)}\n`;
    for (const each of this.#all) if (!each.gone) each.connection?.write(line);
  }

  #ping(): void {
    const now = this.#clock.monoMs();
    for (const each of this.#all) {
      if (each.gone || each.ended !== undefined || now - each.lastMs < this.#group.silentMs) continue;
      this.#fail(each, broken(each, `was silent for ${Math.round(now - each.lastMs)} ms`));
    }
    const id = this.#pinged++;
    this.#pings.set(id, { monoMs: now, wallMs: this.#clock.wallMs() });
    this.#pings.delete(id - 100);
    this.#say({ say: 'ping', id });
  }

  #hear(each: PartAtWork, line: string): void {
    const report = readLine<Report>(line, 'at');
    if (report === undefined) return;
    const now = this.#clock.now();
    each.lastMs = now.monoMs;
    switch (report.at) {
      case 'pong':
        this.#measure(each, report, now);
        return;
      case 'finding':
        this.#listeners.onFinding({ ...report.finding, said: `${each.part.name}: ${report.finding.said}` });
        return;
      case 'progress':
        this.#listeners.onProgress(each.part.name, report);
        return;
      case 'ended':
        each.ended = report;
        if (report.code !== undefined) this.#fail(each, errorOf(each, report));
        else if (each.heard.recorded === undefined) this.#fail(each, broken(each, 'ended before it had recorded'));
        this.#wake();
        return;
      case 'ready':
        each.ready = report;
        this.#reach(each, report.at, now);
        return;
      case 'recorded':
        each.recorded = report;
        this.#reach(each, report.at, now);
        return;
      case 'frozen':
      case 'cut':
      case 'thawed':
      case 'judged':
      case 'copied':
        this.#reach(each, report.at, now);
    }
  }

  /** In order and once: a report that comes twice, too early or not at all breaks the proof. */
  #reach(each: PartAtWork, stage: Stage, now: Moment): void {
    const before = stages[stages.indexOf(stage) - 1];
    if (each.heard[stage] !== undefined || (before !== undefined && each.heard[before] === undefined)) {
      this.#fail(each, broken(each, `reported ${stage} out of order`));
      return;
    }
    each.heard = { ...each.heard, [stage]: now };
    this.#wake();
  }

  #measure(each: PartAtWork, { id, wallMs }: { readonly id: number; readonly wallMs: number }, now: Moment): void {
    const sent = this.#pings.get(id);
    if (sent === undefined) return;
    const roundTripMs = now.monoMs - sent.monoMs;
    if (each.clock !== undefined && each.clock.roundTripMs <= roundTripMs) return;
    each.clock = { aheadMs: Math.round(wallMs - sent.wallMs - roundTripMs / 2), roundTripMs };
  }

  #end(each: PartAtWork, why: string): void {
    each.gone = true;
    if (each.ended === undefined) this.#fail(each, broken(each, `was lost: ${why}`));
    this.#wake();
  }

  #fail(each: PartAtWork, error: StillpointError): void {
    each.failure ??= error;
    this.#wake();
  }
}

function broken(each: PartAtWork, what: string, names: string = nameOf(each.part)): StillpointError {
  return new StillpointError('barrier-broken', `${names} ${what}`, {
    hint: `see what that host says: \`stillpoint check ${each.part.workload}\` there`,
    details: { part: each.part.name },
  });
}

/** A part's own error, with its code where this version knows it. */
function errorOf(each: PartAtWork, ended: Extract<Report, { at: 'ended' }>): StillpointError {
  const known = ended.code !== undefined && Object.hasOwn(errorTable, ended.code);
  const code = known ? (ended.code as ErrorCode) : 'barrier-broken';
  return new StillpointError(code, `${nameOf(each.part)}: ${ended.message ?? 'it did not say why it ended'}`, {
    ...(ended.hint === undefined ? {} : { hint: `${ended.hint} (on the host of ${each.part.name})` }),
    details: { part: each.part.name, code: ended.code ?? null },
  });
}

export function needsRecover(error: StillpointError): boolean {
  return error.exitCode === ExitCode.needsRecover;
}
