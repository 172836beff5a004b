import { createServer, type Server, type Socket } from 'node:net';
import { rm } from 'node:fs/promises';
import { StillpointError, messageOf } from '../model/errors.ts';
import type { FreezeAnswer, HoldEnd, MemberObservation, ThawAnswer } from '../model/hold.ts';
import type { Moment } from '../model/time.ts';
import { within, type Clock } from '../platform/clock.ts';
import { writeDurably } from '../platform/files.ts';
import { self } from '../platform/process.ts';
import type { Application, HoldSession } from '../ports/application.ts';
import {
  guardOps,
  onLines,
  type GuardCalls,
  type GuardOp,
  type GuardReply,
  type GuardSpec,
  type GuardStatus,
  type HoldReport,
  type LastLook,
} from './protocol.ts';

/** The guard's line to its sentinel. `armed` must be sent before the freeze begins. */
export interface SentinelLine {
  readonly pid: number;
  /** False once it has exited: nothing may be frozen then. */
  alive(): boolean;
  armed(deadlineMonoMs: number): void;
  thawed(): void;
}

/** Without an owner for this long a guard that holds nothing ends. */
const ownerWaitMs = 15_000;
/** The engine session gets this long to thaw before it is cut off and the engine is asked from outside. */
const sessionThawMs = 1_500;
/** Starting an engine's users again takes longer than a word to it. */
const sessionStartMs = 120_000;
/** Role and freeze are asked once more before a thaw on the word, for no longer than this. */
const lastLookMs = 1_000;

/**
 * Owns one hold. Serves the socket until the hold is over and released; resolves when everything is let go, with whether its owner said
 * that it may. It thaws on the word, when the owner's connection ends, on SIGTERM, or at the deadline, whichever is first, and exactly once.
 */
export async function runGuard(
  spec: GuardSpec,
  application: Application,
  sentinel: SentinelLine,
  clock: Clock,
  onReady: () => void,
): Promise<{ readonly released: boolean }> {
  const guard = new Guard(spec, application, sentinel, clock);
  return await guard.serve(onReady);
}

class Guard {
  readonly #spec: GuardSpec;
  readonly #application: Application;
  readonly #sentinel: SentinelLine;
  readonly #clock: Clock;
  readonly #identity = self();
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  #phase: GuardStatus['phase'] = 'idle';
  #session: HoldSession | undefined;
  #owner: Socket | undefined;
  #left = false;
  #released = false;
  #frozenAt: Moment | null = null;
  #deadline: { readonly monoMs: number; readonly cancel: () => void } | undefined;
  #ending: Promise<HoldReport> | undefined;
  /** Fulfils when a freeze under way has answered, however it did. */
  #freezing: Promise<void> = Promise.resolve();
  #report: HoldReport | null = null;
  #finish: () => void = () => undefined;

  constructor(spec: GuardSpec, application: Application, sentinel: SentinelLine, clock: Clock) {
    this.#spec = spec;
    this.#application = application;
    this.#sentinel = sentinel;
    this.#clock = clock;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  async serve(onReady: () => void): Promise<{ readonly released: boolean }> {
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    await rm(this.#spec.socket, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#spec.socket, resolve);
    });
    const giveUp = this.#clock.after(ownerWaitMs, () => {
      if (this.#owner === undefined) this.#finish();
    });
    const terminate = (): void => void this.#leaveNow();
    process.once('SIGTERM', terminate);
    onReady();
    await finished;
    giveUp();
    process.removeListener('SIGTERM', terminate);
    await this.#letGo();
    return { released: this.#released };
  }

  #accept(socket: Socket): void {
    this.#connections.add(socket);
    socket.on('error', () => undefined); // 'close' follows and is acted on
    socket.on('close', () => {
      this.#connections.delete(socket);
      if (socket === this.#owner && !this.#left) void this.#leaveNow();
    });
    onLines(socket, (line) => void this.#answer(socket, line));
  }

  async #answer(socket: Socket, line: string): Promise<void> {
    let id = 0;
    let op = '';
    let reply: GuardReply;
    try {
      ({ id, op } = JSON.parse(line) as { id: number; op: string });
      const known = guardOps.find((each) => each === op);
      if (known === undefined) throw new Error(`the guard has no ${op}`);
      reply = { id, value: await this.#do(known, socket) };
    } catch (error) {
      const foreseen = error instanceof StillpointError ? error : undefined;
      reply = {
        id,
        error: {
          code: foreseen?.code ?? 'bug',
          message: messageOf(error),
          ...(foreseen?.hint === undefined ? {} : { hint: foreseen.hint }),
        },
      };
    }
    if (!socket.destroyed) socket.write(`${JSON.stringify(reply)}\n`);
    if (op === 'release' || (op === 'thaw' && this.#left)) this.#finish();
  }

  async #do(op: GuardOp, socket: Socket): Promise<GuardCalls[GuardOp]> {
    switch (op) {
      case 'own':
        if (this.#owner !== undefined) throw new StillpointError('workload-busy', 'the hold has an owner already');
        this.#owner = socket;
        return this.#status();
      case 'prepare':
        this.#phase = 'preparing';
        this.#session = await this.#openSession();
        await this.#session.prepare();
        this.#phase = 'ready';
        return null;
      case 'freeze':
        return await this.#freeze();
      case 'thaw':
        // A stranger's thaw (recover, `stillpoint thaw` during a backup) must not look like the flow's own word.
        return await this.#end(socket === this.#owner || this.#left ? 'word' : 'recover');
      case 'leave':
        this.#left = true;
        return null;
      case 'status':
        return this.#status();
      case 'release':
        await this.#end('word');
        await this.#session?.close();
        this.#released = true;
        return null;
    }
  }

  async #openSession(): Promise<HoldSession> {
    const { token, budgetMs } = this.#spec;
    if (token.way !== 'stop') return await this.#application.openHold(token, budgetMs);
    const session = await this.#application.openStop?.(token, budgetMs);
    if (session !== undefined) return session;
    throw new StillpointError('method-unsupported', `${token.engine} cannot be stopped for a cold backup`);
  }

  #open(): HoldSession {
    if (this.#session === undefined) throw new Error('the guard was not prepared');
    return this.#session;
  }

  async #freeze(): Promise<GuardCalls['freeze']> {
    const session = this.#open();
    if (this.#phase !== 'ready') throw new Error(`freeze in phase ${this.#phase}`);
    if (!this.#sentinel.alive())
      throw new StillpointError('guard-lost', 'the sentinel died before the freeze; nothing was frozen');
    this.#phase = 'freezing';
    const monoMs = this.#clock.monoMs() + this.#spec.budgetMs;
    this.#sentinel.armed(monoMs);
    this.#deadline = { monoMs, cancel: this.#clock.after(this.#spec.budgetMs, () => void this.#end('deadline')) };
    const called = this.#clock.now();
    const freezing = session.freeze();
    this.#freezing = freezing.then(
      () => undefined,
      () => undefined,
    );
    const answer = await freezing;
    if (this.#ending !== undefined) {
      throw new StillpointError('hold-expired', 'the freeze took longer than the hold may last', {
        hint: 'raise hold.budget, or look for what keeps the engine from freezing',
      });
    }
    this.#phase = 'frozen';
    this.#frozenAt = answer.at;
    return { called, answer, seen: await session.observe() };
  }

  /** Ends the hold once; every later caller gets the same report. */
  #end(by: HoldEnd): Promise<HoldReport> {
    this.#ending ??= this.#thaw(by);
    return this.#ending;
  }

  async #thaw(by: HoldEnd): Promise<HoldReport> {
    this.#deadline?.cancel();
    const before = by === 'word' && this.#phase === 'frozen' ? await this.#lookBefore() : undefined;
    this.#phase = 'thawing';
    // Before the thaw, which may take its time: a cut that goes on from here is worthless.
    if (by !== 'word' && this.#owner !== undefined && !this.#owner.destroyed) {
      this.#owner.write(`${JSON.stringify({ event: 'ended', by } satisfies GuardReply)}\n`);
    }
    const answer = await this.#thawHow();
    const report: HoldReport = { answer, by, ...(before === undefined ? {} : { before }) };
    this.#report = report;
    if (answer.thawed) {
      this.#phase = 'thawed';
      this.#sentinel.thawed();
    }
    if (this.#left && by === 'deadline') this.#finish();
    return report;
  }

  /** The last look at what the hold was worth. It must not keep the thaw waiting: what does not answer in time is left out. */
  async #lookBefore(): Promise<LastLook> {
    const session = this.#open();
    const look: { seen?: MemberObservation; asked?: FreezeAnswer } = {};
    const looking = (async () => {
      look.seen = await session.observe();
      look.asked = await session.ask();
    })().catch(() => undefined);
    await within(this.#clock, session.patience?.askMs ?? lastLookMs, looking, () => undefined);
    return { ...look };
  }

  async #thawHow(): Promise<ThawAnswer> {
    const session = this.#session;
    if (session === undefined) {
      const at = this.#clock.now();
      return { thawed: true, heldThroughout: false, said: 'nothing was frozen', at, spans: [], artifacts: [] };
    }
    // A thaw beside a freeze under way could be overtaken by it. A session that throws at thaw has told us nothing: the engine is
    // asked from outside then, like after a hang.
    const thawing = this.#freezing.then(() => session.thaw()).catch(() => undefined);
    const usualMs = this.#spec.token.way === 'stop' ? sessionStartMs : sessionThawMs;
    const answer = await within(this.#clock, session.patience?.thawMs ?? usualMs, thawing, () => undefined);
    if (answer?.thawed === true) return answer;
    void session.close();
    const outside = await this.#application.thaw(this.#spec.token);
    return { ...outside, heldThroughout: false, said: `the session did not thaw; ${outside.said}` };
  }

  /** The owner is gone, or the machine goes down: thaw, then end. */
  async #leaveNow(): Promise<void> {
    if (this.#phase === 'thawed') {
      this.#finish();
      return;
    }
    await this.#end('owner-lost');
    this.#finish();
  }

  #status(): GuardStatus {
    return {
      phase: this.#phase,
      token: this.#spec.token,
      budgetMs: this.#spec.budgetMs,
      frozenAt: this.#frozenAt,
      deadlineMonoMs: this.#deadline?.monoMs ?? null,
      report: this.#report,
      guard: this.#identity,
      sentinelPid: this.#sentinel.pid,
    };
  }

  async #letGo(): Promise<void> {
    await this.#end('owner-lost');
    await this.#session?.close();
    try {
      await writeDurably(this.#spec.resultFile, JSON.stringify(this.#status()));
    } catch {
      // A full disk must not keep the guard from ending; whoever asks for the result asks the engine instead.
    }
    this.#server.close();
    await rm(this.#spec.socket, { force: true });
    // Last: the end of its connection tells the flow that nothing of this hold is left.
    for (const socket of this.#connections) socket.end();
  }
}
