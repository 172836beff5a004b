import type { CommandSpan, HoldEnd } from './hold.ts';
import type { Bytes, Verdict } from './point.ts';
import type { Moment } from './time.ts';

/** What a part reports on its way, in this order, each once. */
export const stages = ['ready', 'frozen', 'cut', 'thawed', 'judged', 'copied', 'recorded'] as const;
export type Stage = (typeof stages)[number];

/** The hold of one part, by the clock of its own host. Of no use beside the times of another host. */
export interface PartHold {
  /** Whether nobody could write to its data while it was held. */
  readonly stopsWriters: boolean;
  readonly budgetMs: number;
  readonly toldToFreeze: Moment;
  readonly frozen: Moment;
  readonly toldToCut: Moment;
  /** When its first volume's cut was called, and when its last one's instant was fixed. */
  readonly cutCalled: Moment;
  readonly cutFixed: Moment;
  readonly thawed: Moment;
  readonly heldThroughout: boolean;
  readonly endedBy: HoldEnd;
  /** Of engine and provider. */
  readonly spans: readonly CommandSpan[];
}

/** The point that a part recorded, in the repository of its host. */
export interface PartPoint {
  readonly id: string;
  readonly repositorySnapshot: string;
  readonly verdict: Verdict;
  /** Which data set it is a state of. */
  readonly identity: string;
  readonly bytes: Bytes;
}

/** One part, as the coordinator heard of it. */
export interface PartEvidence {
  readonly name: string;
  /** The host by the name that it gives itself. */
  readonly host: string;
  readonly bootId: string;
  readonly workload: string;
  /** By the coordinator's clock. */
  readonly heard: Readonly<Partial<Record<Stage, Moment>>>;
  readonly hold: PartHold | null;
  readonly point: PartPoint | null;
  /** For people only: how far its wall clock is ahead of the coordinator's, as exact as half of the round trip. */
  readonly clock?: { readonly aheadMs: number; readonly roundTripMs: number };
}

/** A group of parts on several hosts, held by one barrier. Times are the coordinator's own. */
export interface TogetherEvidence {
  readonly budgetMs: number;
  /** Longest time between the cuts of parts whose writers go on, if that was accepted. */
  readonly skewMs: number | null;
  /** When the first part was told. */
  readonly saidFreeze: Moment;
  readonly saidCut: Moment;
  /** Every part of the group, heard of or not. */
  readonly parts: readonly PartEvidence[];
}

/**
 * No two parts were cut further apart than this, whatever their clocks say: each was cut after the first word to cut, and before it
 * was heard that it had been. Undefined if a part was not heard of.
 */
export function skewOf(together: TogetherEvidence): number | undefined {
  const heard = together.parts.map((part) => part.heard.cut?.monoMs ?? Number.NaN);
  const skew = Math.max(...heard) - together.saidCut.monoMs;
  return Number.isFinite(skew) ? skew : undefined;
}

/**
 * Two parts of one data set are one part that was counted twice. A path names a data set of its host only; what an engine numbers itself
 * is the same everywhere.
 */
export function dataSetOf(part: Pick<PartEvidence, 'host' | 'bootId'>, identity: string): string {
  return identity.includes('/') ? `${part.host} ${part.bootId} ${identity}` : identity;
}
