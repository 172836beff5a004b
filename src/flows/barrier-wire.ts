/**
 * What coordinator and part say to each other: JSON, a line each, over the standard input and output of the part's process. Whoever
 * does not hear the other for `silentMs`, or whose line ends, gives the barrier up (docs/design/barrier.md).
 */
import type { Finding, Level, Outcome } from '../model/point.ts';
import type { PartHold, PartPoint, Stage } from '../model/together.ts';

/** Raised when an older end would not understand a newer one. */
export const wireVersion = 1;

export type Word =
  | {
      readonly say: 'begin';
      readonly version: number;
      readonly group: string;
      readonly budgetMs: number;
      readonly silentMs: number;
      readonly level?: Level;
    }
  | { readonly say: Gate }
  | { readonly say: 'ping'; readonly id: number }
  | { readonly say: 'abort'; readonly why: string };

/** A part waits at each of these for the word of that name, behind the report of the stage that it has reached. */
export const gates = { freeze: 'ready', cut: 'frozen', copy: 'judged', record: 'copied' } as const satisfies Record<
  string,
  Stage
>;
export type Gate = keyof typeof gates;

/** Known before the freeze, so that a group that cannot be sound is refused while nothing is frozen. */
export interface Ready {
  readonly host: string;
  readonly bootId: string;
  readonly identity: string;
  /** False where the part is configured to be cut without a hold. */
  readonly holds: boolean;
  readonly stopsWriters: boolean;
  /** What its cluster leaves of the barrier's. */
  readonly budgetMs: number;
}

export interface Recorded {
  readonly hold: PartHold | null;
  readonly point: PartPoint;
}

export type Report =
  | ({ readonly at: 'ready' } & Ready)
  | { readonly at: Exclude<Stage, 'ready' | 'recorded'> }
  | ({ readonly at: 'recorded' } & Recorded)
  | { readonly at: 'pong'; readonly id: number; readonly wallMs: number }
  | { readonly at: 'finding'; readonly finding: Finding }
  | { readonly at: 'progress'; readonly what: string; readonly bytesDone: number; readonly bytesTotal: number }
  /** The last: what was begun is over or undone, unless `code` says otherwise. */
  | {
      readonly at: 'ended';
      readonly outcome: Outcome;
      readonly code?: string;
      readonly message?: string;
      readonly hint?: string;
    };

/** Undefined for a line that is none of ours: a login shell may greet. */
export function readLine<T extends Word | Report>(line: string, key: 'say' | 'at'): T | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    // Written by the other end of the same version, which `begin` makes sure of.
    return typeof value === 'object' && value !== null && typeof Object(value)[key] === 'string'
      ? (value as T)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Between two signs of life. */
export const pingMs = 1_000;
