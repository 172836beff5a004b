import { connect, type Socket } from 'node:net';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Clock } from '../../../platform/clock.ts';

export type Message = Readonly<Record<string, unknown>>;

interface Waiter {
  readonly accept: (message: Message) => boolean;
  readonly settle: (message: Message) => void;
  readonly fail: (error: Error) => void;
}

/** More than any list of nodes is long; a peer that sends no end of line must not fill the memory. */
const longestLine = 64 * 1024 * 1024;
const queueMs = 20;
/** The guest agent's mark in front of an answer to `guest-sync-delimited`. No byte of UTF-8 text has this value. */
const sentinel = 0xff;

/** JSON messages, one a line, over a unix socket. Every failure is `command-failed`, and after the first nothing is heard any more. */
export class JsonLines implements Disposable {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #name: string;
  #unread: Buffer = Buffer.alloc(0);
  #messages: Message[] = [];
  #waiters: Waiter[] = [];
  #lost: Error | undefined;

  readonly #odd: 'pass' | 'fail';

  private constructor(socket: Socket, name: string, clock: Clock, odd: 'pass' | 'fail') {
    this.#socket = socket;
    this.#odd = odd;
    this.#name = name;
    this.#clock = clock;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => this.#lose(`failed: ${error.message}`));
    socket.on('close', () => this.#lose('was closed by the other side'));
  }

  /**
   * `details.errno` of the error is that of the operating system: ENOENT and ECONNREFUSED mean that nobody listens there. With `odd: 'pass'`
   * lines that are no message are passed over.
   */
  static async open(
    path: string,
    name: string,
    clock: Clock,
    timeoutMs: number,
    odd: 'pass' | 'fail' = 'fail',
  ): Promise<JsonLines> {
    const end = clock.monoMs() + timeoutMs;
    for (;;) {
      try {
        return new JsonLines(await connectTo(path, name, clock, Math.max(1, end - clock.monoMs())), name, clock, odd);
      } catch (error) {
        // Others wait to be served, also some that have gone since: QEMU keeps a queue of one.
        const full = error instanceof StillpointError && error.details['errno'] === 'EAGAIN';
        if (!full || clock.monoMs() + queueMs > end) throw error;
        await clock.sleep(queueMs);
      }
    }
  }

  send(data: string | Uint8Array): void {
    if (this.#lost === undefined) this.#socket.write(data);
  }

  /** The first message not yet taken that passes; those before it stay for others. Rejects at the limit and when the peer is lost. */
  async next(accept: (message: Message) => boolean, timeoutMs: number, what: string): Promise<Message> {
    const at = this.#messages.findIndex(accept);
    const [there] = at === -1 ? [] : this.#messages.splice(at, 1);
    if (there !== undefined) return there;
    if (this.#lost !== undefined) throw this.#lost;
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    const waiter: Waiter = { accept, settle: resolve, fail: reject };
    this.#waiters.push(waiter);
    const stop = this.#clock.after(timeoutMs, () =>
      reject(new StillpointError('command-failed', `${this.#name} did not answer ${what} within ${timeoutMs} ms`)),
    );
    try {
      return await promise;
    } finally {
      stop();
      this.#waiters = this.#waiters.filter((other) => other !== waiter);
    }
  }

  /** What came so far and nobody took. */
  forget(): void {
    this.#messages = [];
  }

  [Symbol.dispose](): void {
    this.#lost ??= new Error(`${this.#name} was closed`);
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    for (let end = this.#unread.indexOf(0x0a); end !== -1; end = this.#unread.indexOf(0x0a)) {
      const line = this.#unread.subarray(0, end);
      this.#unread = this.#unread.subarray(end + 1);
      // What stands before the mark is the rest of an answer to somebody who went away.
      this.#deliver(line.subarray(line.lastIndexOf(sentinel) + 1).toString('utf8'));
    }
    if (this.#unread.length > longestLine) this.#lose('sent a line without end');
  }

  #deliver(line: string): void {
    if (line.trim() === '') return;
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      if (this.#odd === 'pass') return;
      return this.#lose(`sent a line that is no JSON: ${line.slice(0, 100)}`);
    }
    if (typeof message !== 'object' || message === null) {
      if (this.#odd === 'pass') return;
      return this.#lose('sent something that is no message');
    }
    const found = message as Message;
    const waiter = this.#waiters.find((one) => one.accept(found));
    if (waiter === undefined) {
      this.#messages.push(found);
      // A monitor tells of everything that happens; only the newest can still be asked for.
      if (this.#messages.length > 1000) this.#messages.shift();
      return;
    }
    this.#waiters = this.#waiters.filter((one) => one !== waiter);
    waiter.settle(found);
  }

  #lose(why: string): void {
    if (this.#lost !== undefined) return;
    const lost = new StillpointError('command-failed', `the connection to ${this.#name} ${why}`);
    this.#lost = lost;
    this.#socket.destroy();
    for (const waiter of this.#waiters.splice(0)) waiter.fail(lost);
  }
}

async function connectTo(path: string, name: string, clock: Clock, timeoutMs: number): Promise<Socket> {
  const socket = connect({ path });
  const connected = Promise.withResolvers<Socket>();
  const fail = (why: string, details: Record<string, unknown>, cause?: unknown): void =>
    connected.reject(
      new StillpointError('command-failed', `${name} at ${path} ${why}`, {
        hint: 'check that the process runs, that the socket is the one of its configuration, and that nobody else uses it',
        details,
        cause,
      }),
    );
  const stop = clock.after(timeoutMs, () => fail(`did not answer within ${Math.round(timeoutMs)} ms`, {}));
  socket.once('connect', () => connected.resolve(socket));
  socket.on('error', (error: NodeJS.ErrnoException) =>
    fail(`cannot be reached: ${messageOf(error)}`, { errno: error.code }, error),
  );
  try {
    return await connected.promise;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    stop();
  }
}
