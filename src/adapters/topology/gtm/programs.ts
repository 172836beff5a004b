import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Host } from '../../../ports/host.ts';
import { environmentOf, owners, type Argv } from './commands.ts';
import type { MemberPlace } from './config.ts';
import { complaintOf, type Owner, parseOwners } from './parse.ts';

/** For one program. A member that misses it once is not asked further, so that a view does not wait for it again and again. */
const defaultMs = 4000;

/** `startedMs`, `endedMs`: monotonic. `exitedWell` is necessary and never enough: exit codes collide, and 0 is no proof. */
export interface Said {
  readonly text: string;
  readonly exitedWell: boolean;
  readonly startedMs: number;
  readonly endedMs: number;
}

/** An answer that is none: the reason stands for it. */
export class NoAnswer extends Error {
  readonly denied: boolean;
  constructor(said: string, denied: boolean) {
    super(said);
    this.denied = denied;
  }
}

/** The programs of one instance: each with a limit, an environment of its own, and run as the owner of its files. */
export class Programs {
  readonly place: MemberPlace;
  readonly #host: Host;
  readonly #signal: AbortSignal;
  readonly #as: Owner | undefined;

  private constructor(place: MemberPlace, host: Host, signal: AbortSignal, as?: Owner) {
    this.place = place;
    this.#host = host;
    this.#signal = signal;
    this.#as = as;
  }

  /** `file`: whose owner to be, as root. A helper that the engine starts on the way would belong to root else, and shut its users out. */
  static async of(
    place: MemberPlace,
    host: Host,
    signal: AbortSignal,
    file = place.replicationInstance,
  ): Promise<Programs> {
    const programs = new Programs(place, host, signal);
    const [asker, owner] = parseOwners(await programs.text(owners(file))) ?? [];
    return asker?.uid === 0 && owner !== undefined && owner.uid !== 0
      ? new Programs(place, host, signal, owner)
      : programs;
  }

  /** Throws NoAnswer where there is nothing to read: the program could not be started, or did not end within its limit. */
  async run(argv: Argv, timeoutMs = defaultMs): Promise<Said> {
    try {
      const env = environmentOf(this.place);
      const result = await this.#host.exec.run({ argv, env, ...this.#as, timeoutMs, signal: this.#signal });
      const { stdout, stderr, startedMs, endedMs, exitCode } = result;
      const program = argv.slice(0, 4).join(' ');
      if (result.timedOut) throw new NoAnswer(`${program} did not end within ${timeoutMs} ms`, false);
      // The programs print nearly everything on stderr, success too, but not all.
      const text = [stdout, stderr].filter((part) => part !== '').join('\n');
      if (exitCode === null) throw new NoAnswer(`${program} was ended: ${complaintOf(text)}`, false);
      return { text, startedMs, endedMs, exitedWell: exitCode === 0 };
    } catch (cause) {
      if (cause instanceof StillpointError) throw new NoAnswer(messageOf(cause), false);
      throw cause;
    }
  }

  async text(argv: Argv): Promise<string> {
    return (await this.run(argv)).text;
  }
}
