import { StillpointError } from '../../../model/errors.ts';
import type { Clock } from '../../../platform/clock.ts';
import { JsonLines, type Message } from './lines.ts';

/** One command of the monitor. `undefined` in the arguments is left out, as JSON does. */
export interface QmpCommand {
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
}

/** The monitor itself refused a command: nothing of it was done. Any other failure leaves open what was done. */
export class QmpRefusal extends StillpointError {}

/** A local socket answers in a millisecond; a monitor that is busy with another client does not answer at all. */
const greetingMs = 5000;
const commandMs = 30_000;

/**
 * A client of the QEMU machine protocol. A monitor serves one client at a time and lets others wait without a word, so a connection
 * is opened for each piece of work and closed at once.
 */
export class Qmp implements Disposable {
  readonly #lines: JsonLines;
  #count = 0;
  /** `7.2.22`. */
  readonly version: string;

  private constructor(lines: JsonLines, version: string) {
    this.#lines = lines;
    this.version = version;
  }

  static async connect(path: string, clock: Clock, timeoutMs: number = greetingMs): Promise<Qmp> {
    const lines = await JsonLines.open(path, 'the QMP monitor', clock, timeoutMs);
    try {
      const greeting = await lines
        .next((message) => 'QMP' in message, timeoutMs, 'with a greeting')
        .catch((cause: unknown) => {
          throw new StillpointError('command-failed', `the QMP monitor at ${path} does not greet`, {
            hint: 'it serves one client at a time: close the other one, or give the process a second monitor for Stillpoint',
            cause,
          });
        });
      const qmp = new Qmp(lines, versionOf(greeting));
      await qmp.execute({ execute: 'qmp_capabilities' });
      return qmp;
    } catch (error) {
      lines[Symbol.dispose]();
      throw error;
    }
  }

  /** What the command returned. Throws QmpRefusal, or `command-failed` when the answer did not come. */
  async execute(command: QmpCommand, timeoutMs: number = commandMs): Promise<unknown> {
    this.#count += 1;
    const id = `stillpoint-${this.#count}`;
    this.#lines.send(`${JSON.stringify({ ...command, id })}\n`);
    const answer = await this.#lines.next((message) => message['id'] === id, timeoutMs, command.execute);
    if ('return' in answer) return answer['return'];
    throw new QmpRefusal('command-failed', `QMP ${command.execute}: ${describe(answer['error'])}`);
  }

  /** The next event of this name that passes, also one that came since the last command was sent. */
  async event(name: string, accept: (data: Message) => boolean, timeoutMs: number): Promise<Message> {
    const matches = (message: Message): boolean => message['event'] === name && accept(dataOf(message));
    return dataOf(await this.#lines.next(matches, timeoutMs, `with the event ${name}`));
  }

  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]();
  }
}

function isMessage(value: unknown): value is Message {
  return typeof value === 'object' && value !== null;
}

function dataOf(message: Message): Message {
  return isMessage(message['data']) ? message['data'] : {};
}

/** `{ "class": "GenericError", "desc": "..." }` of QMP and of the guest agent. */
export function describe(error: unknown): string {
  return isMessage(error) && typeof error['desc'] === 'string'
    ? error['desc']
    : 'it gave neither a result nor a reason';
}

function versionOf(greeting: Message): string {
  const qmp = greeting['QMP'];
  const version = isMessage(qmp) ? qmp['version'] : undefined;
  const numbers = isMessage(version) ? version['qemu'] : undefined;
  if (!isMessage(numbers)) return 'unknown';
  return [numbers['major'], numbers['minor'], numbers['micro']].map(String).join('.');
}
