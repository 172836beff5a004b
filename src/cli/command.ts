import type { HostGroup } from '../flows/barrier-group.ts';
import type { Environment, Reporter, Workload } from '../flows/environment.ts';
import type { ErrorCode, ExitCode, StillpointError } from '../model/errors.ts';
import type { Point } from '../model/point.ts';
import type { Discovered } from '../ports/module.ts';
import type { Repository } from '../repository/api.ts';
import type { Paint } from './format.ts';

/** A configuration, ready to work with. Catalog and repository open at first use; `close` closes what was opened. */
export interface Session {
  readonly configFile: string;
  readonly workloads: ReadonlyMap<string, Workload>;
  /** Workloads on several hosts that are held together. */
  readonly groups: ReadonlyMap<string, HostGroup>;
  readonly environment: Environment;
  /** Where drills of a workload make their copy; undefined: below the state directory. */
  drillDirectoryOf(workload: string): string | undefined;
  initRepository(options: { readonly generatePassword: boolean }): Promise<{
    readonly repository: Repository;
    /** The password file that was made just now, if one was. */
    readonly passwordFile: string | undefined;
  }>;
  close(): Promise<void>;
}

export interface FoundApplication extends Discovered {
  readonly kind: string;
  /** What its files lie on, for people; undefined when it could not be found out. */
  readonly storage: string | undefined;
}

export interface DemoOptions {
  /** Undefined: a new directory below the system's temporary one. */
  readonly directory: string | undefined;
  /** Leaves configuration, repository and the restored copy behind. */
  readonly keep: boolean;
  readonly signal: AbortSignal;
  readonly reporter: CliReporter;
  readonly paint: Paint;
}

/** What the independent writer counted, held against what came back. */
export interface DemoReport {
  /** How the volumes were really cut, and why so. */
  readonly method: string;
  readonly why: string;
  readonly points: readonly Point[];
  /** Rows that the database had acknowledged to the writer before the cut of the last point was called. */
  readonly acknowledged: number;
  /** How many of those are in the restored copy. */
  readonly restored: number;
  readonly lost: number;
  /** Milliseconds. */
  readonly times: Readonly<Record<string, number>>;
  /** Where it was left, with --keep. */
  readonly directory: string | null;
}

/** What commands use of the rest of the program; made in the composition root. */
export interface Services {
  readonly version: string;
  compose(options: { readonly configFile: string | undefined; readonly reporter: Reporter }): Promise<Session>;
  discover(signal: AbortSignal): Promise<readonly FoundApplication[]>;
  demo(options: DemoOptions): Promise<DemoReport>;
}

/** Everything that one call of a command has around it. */
export interface Context {
  readonly services: Services;
  readonly json: boolean;
  readonly configFile: string | undefined;
  readonly signal: AbortSignal;
  readonly reporter: CliReporter;
  readonly paint: Paint;
  /** Opens the configuration; closed by the runner when the command is over. */
  session(): Promise<Session>;
}

export interface CliReporter extends Reporter {
  /** A line of the answer itself while the work goes on, on standard output; in JSON an event. */
  say(text: string, details?: Readonly<Record<string, unknown>>): void;
  /** Shows what was kept back and takes the progress line away. */
  end(): void;
}

/** What a command says when it is done: the same facts as a document and as lines. */
export interface Answer {
  readonly document: Readonly<Record<string, unknown>>;
  readonly lines: readonly string[];
  readonly exit?: ExitCode;
  /** The command did its work, and the result is a failure all the same (a failed drill). */
  readonly error?: StillpointError;
}

export type ErrorDocument = {
  readonly code: ErrorCode | 'bug';
  readonly message: string;
  readonly hint: string | null;
  readonly details: Readonly<Record<string, unknown>>;
};
