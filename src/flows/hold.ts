import { join } from 'node:path';
import { mkdir, rm } from 'node:fs/promises';
import { StillpointError, codeOf } from '../model/errors.ts';
import type { FrozenFileSystem, HoldToken } from '../model/hold.ts';
import { launchGuard } from '../guard/launch.ts';
import type { GuardCalls, GuardClient, GuardSpec, HoldReport } from '../guard/protocol.ts';
import { within } from '../platform/clock.ts';
import { killExactly, type ProcessIdentity } from '../platform/process.ts';
import type { Environment, Workload } from './environment.ts';
import type { Trace } from './journal.ts';

/** The guard and the sentinel have had their deadlines when this much more has passed; then the flow acts itself. */
const patienceMs = 1_500;
/** To end an engine session that is idle by then. */
const releaseMs = 10_000;
const guardHint = 'see `stillpoint status`, then run again';

/** Where a run's guard listens and leaves its result. */
export function holdPlaces(
  stateDirectory: string,
  runId: string,
): { readonly directory: string; readonly socket: string; readonly resultFile: string } {
  const directory = join(stateDirectory, 'holds');
  return { directory, socket: join(directory, `${runId}.sock`), resultFile: join(directory, `${runId}.json`) };
}

/**
 * The flow's end of one hold. The guard owns the freeze; this asks it, and is the third party that thaws when guard and sentinel have
 * both failed.
 */
export class Hold {
  readonly token: HoldToken;
  readonly budgetMs: number;
  readonly #workload: Workload;
  readonly #environment: Environment;
  readonly #spec: GuardSpec;
  #client: GuardClient | undefined;
  #guard: ProcessIdentity | undefined;
  #mayBeFrozen = false;
  #report: HoldReport | undefined;

  constructor(
    workload: Workload,
    environment: Environment,
    runId: string,
    budgetMs: number,
    how: {
      readonly way?: 'freeze' | 'stop';
      readonly fileSystems?: readonly FrozenFileSystem[];
      readonly failover?: GuardSpec['failover'];
    } = {},
  ) {
    this.#workload = workload;
    this.#environment = environment;
    this.budgetMs = budgetMs;
    this.token = {
      runId,
      workload: workload.name,
      engine: workload.application.engine,
      identity: `stillpoint:${runId}`,
      ...(workload.member === undefined ? {} : { member: workload.member }),
      ...(how.way === 'stop' ? { way: how.way } : {}),
      ...(how.fileSystems === undefined || how.fileSystems.length === 0 ? {} : { fileSystems: how.fileSystems }),
    };
    const places = holdPlaces(environment.stateDirectory, runId);
    this.#spec = {
      workload: workload.name,
      application: workload.applicationSpec,
      token: this.token,
      ...(how.failover === undefined ? {} : { failover: how.failover }),
      budgetMs,
      socket: places.socket,
      stateDirectory: environment.stateDirectory,
      resultFile: places.resultFile,
    };
  }

  get #trace(): Trace {
    return { kind: 'hold', token: this.token, socket: this.#spec.socket, resultFile: this.#spec.resultFile };
  }

  get report(): HoldReport | undefined {
    return this.#report;
  }

  /** Starts guard and sentinel and lets them connect and prepare. Slow, and before the hold. */
  async prepare(note: (trace: Trace) => Promise<void>, signal: AbortSignal): Promise<void> {
    await mkdir(holdPlaces(this.#environment.stateDirectory, this.token.runId).directory, {
      recursive: true,
      mode: 0o700,
    });
    // Before the guard begins: from here on there may be something to end, and a socket to remove.
    await note(this.#trace);
    const { client, status } = await (this.#environment.launch ?? launchGuard)(this.#spec, this.#environment.exec);
    this.#client = client;
    this.#guard = status.guard;
    await note({ kind: 'guard', process: status.guard });
    // A checkpoint of a large database may take minutes; it can be walked away from, for nothing is frozen yet.
    await Promise.race([client.call('prepare'), rejectOn(signal)]);
  }

  /** An answer that comes after the hold has ended is worth nothing, so the end of the hold is the answer then. */
  async freeze(): Promise<GuardCalls['freeze']> {
    this.#mayBeFrozen = true;
    const client = this.#connected();
    return await Promise.race([this.#inTime(client.call('freeze'), this.budgetMs + patienceMs), rejectOn(client.held)]);
  }

  /** Aborts when the hold ends or the guard dies. */
  get held(): AbortSignal {
    return this.#connected().held;
  }

  /** Leaves the guard behind, frozen: it thaws on `stillpoint thaw` or at the deadline. */
  async leave(): Promise<void> {
    await this.#connected().call('leave');
    this.#client?.close();
    this.#mayBeFrozen = false;
  }

  /**
   * Ends the hold, whatever state it is in; takes no cancellation. Asks the guard, and when that is dead or does not answer in time,
   * the engine itself. Throws `thaw-unproven` when nobody can prove the thaw. Idempotent.
   */
  async thaw(): Promise<HoldReport> {
    if (this.#report !== undefined) return this.#report;
    const report = (await this.#thawByGuard()) ?? (await this.#thawOurselves());
    this.#mayBeFrozen = !report.answer.thawed;
    if (!report.answer.thawed) throw unproven(this.token, report.answer.said);
    this.#report = report;
    return report;
  }

  /** Lets the guard go, thawing before if need be, and removes what it left if it was killed. */
  async release(): Promise<void> {
    const client = this.#client;
    try {
      if (this.#mayBeFrozen) await this.thaw();
      if (client !== undefined) {
        await this.#inTime(client.call('release'), releaseMs);
        await this.#inTime(client.closed, releaseMs);
      }
    } catch (error) {
      // A guard that is gone has nothing left to release; a thaw that cannot be proved is not to be swallowed.
      if (codeOf(error) !== 'guard-lost') throw error;
    } finally {
      client?.close();
      this.#client = undefined;
    }
    await rm(this.#spec.socket, { force: true });
    await rm(this.#spec.resultFile, { force: true });
  }

  async #thawByGuard(): Promise<HoldReport | undefined> {
    const client = this.#client;
    if (client === undefined) return undefined;
    try {
      return await this.#inTime(client.call('thaw'), this.budgetMs + patienceMs);
    } catch {
      // Gone, silent or at odds with itself: whatever it is, the engine is asked next, and its answer is what counts.
      return undefined;
    }
  }

  async #thawOurselves(): Promise<HoldReport> {
    // A stopped guard may hold a session that the engine believes in: without its process the session ends.
    if (this.#guard !== undefined) killExactly(this.#guard, 'SIGKILL');
    const answer = await this.#workload.application.thaw(this.token);
    return { answer: { ...answer, heldThroughout: false }, by: 'flow' };
  }

  /** A guard that does not answer in time counts as lost. */
  async #inTime<T>(call: Promise<T>, ms: number): Promise<T> {
    return await within<T, never>(this.#environment.clock, ms, call, () => {
      throw new StillpointError('guard-lost', 'the guard does not answer', { hint: guardHint });
    });
  }

  #connected(): GuardClient {
    if (this.#client === undefined) throw new Error('the guard was not started');
    return this.#client;
  }
}

function rejectOn(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const abort = (): void =>
      reject(signal.reason instanceof StillpointError ? signal.reason : new StillpointError('cancelled', 'cancelled'));
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}

export function unproven(token: HoldToken, said: string): StillpointError {
  return new StillpointError('thaw-unproven', `it could not be proved that ${token.workload} is thawed: ${said}`, {
    hint: `ask the engine: \`stillpoint status ${token.workload}\`; then \`stillpoint recover\``,
    details: { token },
  });
}
