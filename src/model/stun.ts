import { marginOf, stunToExpect } from './failover-margin.ts';

/** Why a virtual machine stood still. `helper`: the snapshot that a consolidation makes for itself while it merges. */
export type StunCause = 'creation' | 'creation-memory' | 'consolidation' | 'helper' | 'migration' | 'other';

export const stunCauses = [
  'creation',
  'creation-memory',
  'consolidation',
  'helper',
  'migration',
  'other',
] as const satisfies readonly StunCause[];

/** For people. */
export const causeNames: Readonly<Record<StunCause, string>> = {
  creation: 'snapshot',
  'creation-memory': 'snapshot with memory',
  consolidation: 'consolidation',
  helper: 'consolidation helper',
  migration: 'migration',
  other: 'other',
};

/** One time that a virtual machine stood still. */
export interface Stun {
  /** When it ran again, milliseconds since 1970. */
  readonly atMs: number;
  readonly durationMs: number;
  readonly cause: StunCause;
  /** The snapshot's name, where a snapshot was the cause. */
  readonly snapshot?: string;
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
}

/** What the logs of one virtual machine tell. */
export interface StunReport {
  /** Folder and name that its log files have in common. */
  readonly machine: string;
  /** The oldest first. */
  readonly files: readonly string[];
  readonly fromMs: number;
  readonly toMs: number;
  /** The logs bear no year; it was guessed. */
  readonly yearGuessed: boolean;
  /** Lines about a stun that are too damaged to be counted. */
  readonly torn: number;
  readonly stuns: readonly Stun[];
}

/** Undefined where there is no stun. */
export interface StunFigures {
  readonly count: number;
  readonly longestMs: number | undefined;
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
  /** How many are not below the margin. */
  readonly over: number;
}

export interface StunSummary {
  readonly marginMs: number;
  readonly total: StunFigures;
  /** Only causes that occur, in the order of `stunCauses`. */
  readonly causes: readonly (StunFigures & { readonly cause: StunCause })[];
}

/** A stun as long as the margin already crosses it, as in the gate before a backup. */
export function overMargin({ durationMs }: Stun, marginMs: number): boolean {
  return durationMs >= marginMs;
}

export function summarizeStuns(reports: readonly StunReport[], detectionMs: number): StunSummary {
  const marginMs = marginOf(detectionMs);
  const stuns = reports.flatMap((report) => report.stuns);
  return {
    marginMs,
    total: figuresOf(stuns, marginMs),
    causes: stunCauses.flatMap((cause) => {
      const caused = stuns.filter((stun) => stun.cause === cause);
      return caused.length === 0 ? [] : [{ cause, ...figuresOf(caused, marginMs) }];
    }),
  };
}

function figuresOf(stuns: readonly Stun[], marginMs: number): StunFigures {
  const sorted = stuns.map(({ durationMs }) => durationMs).toSorted((a, b) => a - b);
  // Nearest rank: always a stun that there was.
  const percentile = (percent: number): number | undefined => sorted[Math.ceil((percent / 100) * sorted.length) - 1];
  return {
    count: sorted.length,
    longestMs: sorted.at(-1),
    p50Ms: percentile(50),
    p99Ms: percentile(99),
    over: stuns.filter((stun) => overMargin(stun, marginMs)).length,
  };
}

/** Milliseconds; undefined where no such stun was seen, which says nothing about the next one and must not be taken for 0. */
export interface LongestStun {
  readonly creationMs: number | undefined;
  readonly removalMs: number | undefined;
}

/**
 * The longest stun that making and that removing a snapshot has cost, as a prediction for the next one. A stun whose cause the logs do
 * not show counts for neither.
 */
export function longestStun(reports: readonly StunReport[]): LongestStun {
  const longest = (...causes: readonly StunCause[]): number | undefined =>
    reports
      .flatMap(({ stuns }) => stuns)
      .filter(({ cause }) => causes.includes(cause))
      .map(({ durationMs }) => durationMs)
      .toSorted((a, b) => b - a)[0];
  return {
    creationMs: longest('creation', 'creation-memory'),
    removalMs: longest('consolidation', 'helper'),
  };
}

/** Stuns of one sort that there were, and the longest one to reckon with. Undefined: nothing can be said. */
export interface StunsSeen {
  readonly seen: number;
  readonly longestMs: number | undefined;
  readonly expectedMs: number | undefined;
}

/** What the next backup costs. They come one after the other: the removal when the hold is over. */
export interface StunForecast {
  readonly creation: StunsSeen;
  readonly removal: StunsSeen;
  /** Lines about a stun that are too damaged to be counted. */
  readonly torn: number;
}

/** From what the logs tell of snapshots that were made and removed; stuns of other causes are no backup's. Pure. */
export function forecastStuns(reports: readonly StunReport[], boundMs?: number): StunForecast {
  const { creationMs, removalMs } = longestStun(reports);
  const of = (longestMs: number | undefined, ...causes: readonly StunCause[]): StunsSeen => {
    const stuns = reports.flatMap((report) => report.stuns.filter(({ cause }) => causes.includes(cause)));
    const observed = stuns.map(({ durationMs }) => durationMs);
    return { seen: stuns.length, longestMs, expectedMs: stunToExpect(observed, boundMs) };
  };
  return {
    creation: of(creationMs, 'creation', 'creation-memory'),
    removal: of(removalMs, 'consolidation', 'helper'),
    torn: reports.reduce((sum, report) => sum + report.torn, 0),
  };
}
