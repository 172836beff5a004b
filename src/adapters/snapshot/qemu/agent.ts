import { randomInt } from 'node:crypto';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Clock } from '../../../platform/clock.ts';
import { JsonLines } from './lines.ts';
import { describe } from './qmp.ts';

/** A small machine under emulation needs 50 ms; one that swaps needs seconds. */
const answerMs = 10_000;

/**
 * The QEMU guest agent, over the host's end of its channel. The channel knows no connections: answers to those who went away may still
 * lie in it, so every conversation begins with a mark, and answers are told apart by a number.
 */
export class GuestAgent implements Disposable {
  readonly #lines: JsonLines;
  /** False from a question to its answer: after a question without one, what comes next may be the late answer to it. */
  #inStep = false;

  private constructor(lines: JsonLines) {
    this.#lines = lines;
  }

  static async connect(path: string, clock: Clock, timeoutMs: number = answerMs): Promise<GuestAgent> {
    // The first line may be the rest of an answer to somebody who went away in the middle of it.
    const lines = await JsonLines.open(path, 'the guest agent', clock, timeoutMs, 'pass');
    try {
      const agent = new GuestAgent(lines);
      await agent.#synchronize(timeoutMs);
      return agent;
    } catch (error) {
      lines[Symbol.dispose]();
      throw error;
    }
  }

  /** Freezes the guest's file systems, after its hook has run; how many. A failure leaves open whether they are frozen: thaw. */
  async freeze(timeoutMs: number): Promise<number> {
    return Number(await this.#execute('guest-fsfreeze-freeze', timeoutMs));
  }

  async status(timeoutMs: number = answerMs): Promise<'frozen' | 'thawed'> {
    const said = await this.#execute('guest-fsfreeze-status', timeoutMs);
    if (said === 'frozen' || said === 'thawed') return said;
    throw new StillpointError(
      'thaw-unproven',
      `the guest agent says ${JSON.stringify(said)} when asked whether it is frozen`,
    );
  }

  /** Thaws, frozen or not, and proves it by asking. Throws `thaw-unproven`. */
  async thaw(timeoutMs: number = answerMs): Promise<void> {
    // A hook that fails at the thaw is an error, although the file systems are thawed: the status decides.
    let cause: unknown;
    const thawed = await this.#execute('guest-fsfreeze-thaw', timeoutMs).catch((error: unknown) => (cause = error));
    const status = await this.status(timeoutMs).catch((error: unknown) => messageOf(cause ?? error));
    if (status === 'thawed') return;
    throw new StillpointError('thaw-unproven', `after a thaw the guest agent does not say thawed: ${status}`, {
      hint: 'thaw by hand: virsh domfsthaw, or guest-fsfreeze-thaw on the channel of the agent',
      details: { thawed },
      cause,
    });
  }

  /** Any other command; while the guest is frozen the agent refuses nearly all. */
  async run(command: string, args?: Readonly<Record<string, unknown>>, timeoutMs: number = answerMs): Promise<unknown> {
    return await this.#execute(command, timeoutMs, args);
  }

  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]();
  }

  async #synchronize(timeoutMs: number): Promise<void> {
    const id = randomInt(1, 2 ** 31);
    // The byte ends half a command that somebody left in the channel; the agent complains of it, and that is not our answer.
    this.#lines.send(Uint8Array.of(0xff));
    this.#lines.send(`${JSON.stringify({ execute: 'guest-sync-delimited', arguments: { id } })}\n`);
    await this.#lines.next((message) => message['return'] === id, timeoutMs, 'guest-sync-delimited');
    this.#lines.forget();
    this.#inStep = true;
  }

  async #execute(command: string, timeoutMs: number, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (!this.#inStep) await this.#synchronize(timeoutMs);
    this.#inStep = false;
    this.#lines.send(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    const answer = await this.#lines.next(() => true, timeoutMs, command);
    this.#inStep = true;
    if ('return' in answer) return answer['return'];
    throw new StillpointError('command-failed', `the guest agent refused ${command}: ${describe(answer['error'])}`);
  }
}
