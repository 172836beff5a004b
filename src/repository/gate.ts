/** Lets at most `width` holders in at once; the others wait in order. Back pressure for pipelines. */
export class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(width: number) {
    this.#free = width;
  }

  async enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

/**
 * Runs tasks beside the caller, at most `width` at a time. The first failure is thrown at the next `start` or `settled`; nothing is
 * left running once `settled` returned or threw.
 */
export class Tasks {
  readonly #gate: Gate;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(width: number) {
    this.#gate = new Gate(width);
  }

  /** Fulfils when the task has begun. */
  async start(task: () => Promise<void>): Promise<void> {
    await this.#gate.enter();
    if (this.#failure !== undefined) {
      this.#gate.leave();
      throw this.#failure.error;
    }
    const running = this.#run(task);
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #run(task: () => Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      this.#failure ??= { error };
    } finally {
      this.#gate.leave();
    }
  }
}
