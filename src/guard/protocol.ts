import { createConnection, type Socket } from 'node:net';
import type { HoldEnd, FreezeAnswer, HoldToken, MemberObservation, ThawAnswer } from '../model/hold.ts';
import { StillpointError, errorTable, type ErrorCode } from '../model/errors.ts';
import type { Moment } from '../model/time.ts';
import type { HoldOffToken } from '../ports/topology.ts';
import type { ProcessIdentity } from '../platform/process.ts';

/**
 * How the guard is told what it guards: one JSON line on its standard input, so that nothing of it shows in a process list.
 * Secrets are not in it, only where they come from.
 */
export interface GuardSpec {
  readonly workload: string;
  readonly application: {
    readonly kind: string;
    readonly config: unknown;
    /** Where it lives, if not on this machine. */
    readonly reach?: { readonly kind: string; readonly config: unknown };
  };
  readonly token: HoldToken;
  /** Failover that the run holds off: let go here when the run dies, for `recover` may come much later. */
  readonly failover?: {
    readonly topology: { readonly kind: string; readonly config: unknown };
    readonly token: HoldOffToken;
  };
  readonly budgetMs: number;
  readonly socket: string;
  readonly stateDirectory: string;
  /** The guard's result is written here when the hold is over: best effort, never before the thaw. */
  readonly resultFile: string;
}

export interface SentinelSpec {
  readonly guard: ProcessIdentity;
  readonly spec: GuardSpec;
}

export interface HoldReport {
  readonly answer: ThawAnswer;
  readonly by: HoldEnd;
  /** What was asked right before a thaw on the word: each is missing if it was not answered in time. */
  readonly before?: LastLook;
}

export interface LastLook {
  readonly seen?: MemberObservation;
  readonly asked?: FreezeAnswer;
}

export interface GuardStatus {
  readonly phase: 'idle' | 'preparing' | 'ready' | 'freezing' | 'frozen' | 'thawing' | 'thawed';
  readonly token: HoldToken;
  readonly budgetMs: number;
  readonly frozenAt: Moment | null;
  readonly deadlineMonoMs: number | null;
  readonly report: HoldReport | null;
  readonly guard: ProcessIdentity;
  readonly sentinelPid: number;
}

/** What the guard does on request, and what it answers. */
export interface GuardCalls {
  /** The connection that owns the hold: when it ends, so does the hold (unless `leave` was called). */
  own: GuardStatus;
  prepare: null;
  /** Freezes and looks at the member, in one call: each round trip would be time in the hold. */
  freeze: { readonly called: Moment; readonly answer: FreezeAnswer; readonly seen: MemberObservation };
  /** Looks at the member, asks the engine whether it is still frozen, thaws. */
  thaw: HoldReport;
  /** The hold outlives the owner's connection and ends by `thaw` or at the deadline. */
  leave: null;
  status: GuardStatus;
  /** Closes the engine session; the guard exits once the connection is closed. Thaws before if that was forgotten. */
  release: null;
}

export type GuardOp = keyof GuardCalls;
export const guardOps: readonly GuardOp[] = ['own', 'prepare', 'freeze', 'thaw', 'leave', 'status', 'release'];

export type GuardReply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string; readonly hint?: string } }
  | { readonly event: 'ended'; readonly by: HoldEnd };

/** Splits a stream into JSON lines. A line that is not JSON is the caller's protocol error. */
export function onLines(socket: NodeJS.ReadableStream, receive: (line: string) => void): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line !== '') receive(line);
  });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}

/** The flow's end of the wire. All waiting calls fail with `guard-lost` when the guard goes away. */
export class GuardClient {
  /** Aborts as soon as the hold cannot be trusted any more: it ended, or its guard did. */
  readonly held: AbortSignal;
  /** Fulfils when the guard has closed the connection: after a release it is gone, with its socket. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  readonly #held = new AbortController();
  #next = 1;
  #closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.held = this.#held.signal;
    onLines(socket, (line) => this.#receive(JSON.parse(line) as GuardReply));
    socket.on('error', () => undefined); // 'close' follows and carries the consequence
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#lost();
        resolve();
      });
    });
  }

  static async connect(path: string): Promise<GuardClient> {
    const socket = createConnection(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new GuardClient(socket);
  }

  async call<Op extends GuardOp>(op: Op): Promise<GuardCalls[Op]> {
    if (this.#closed) throw lost();
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#socket.write(`${JSON.stringify({ id, op })}\n`);
    // The guard is this same program: its answers have the types of GuardCalls.
    return (await answer) as GuardCalls[Op];
  }

  close(): void {
    this.#socket.end();
  }

  #receive(reply: GuardReply): void {
    if ('event' in reply) {
      this.#held.abort(
        new StillpointError('hold-expired', `the hold was ended early (${reply.by})`, {
          hint: 'raise hold.budget of the workload, or look for what makes the freeze or the cut slow',
        }),
      );
      return;
    }
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (waiting === undefined) return;
    if ('error' in reply) {
      const { code, message, hint } = reply.error;
      waiting.reject(
        isErrorCode(code) ? new StillpointError(code, message, hint === undefined ? {} : { hint }) : new Error(message),
      );
    } else {
      waiting.resolve(reply.value);
    }
  }

  #lost(): void {
    this.#closed = true;
    this.#held.abort(lost());
    for (const waiting of this.#waiting.values()) waiting.reject(lost());
    this.#waiting.clear();
  }
}

function lost(): StillpointError {
  return new StillpointError('guard-lost', 'the guard went away', {
    hint: 'run `stillpoint recover`, then the backup again',
  });
}
