import type { Evidence } from './evidence.ts';
import type { CommandSpan } from './hold.ts';
import type { HoldSummary } from './point.ts';
import type { TogetherEvidence } from './together.ts';

interface Interval {
  readonly start: number;
  readonly end: number;
}

/** Length of the union of intervals, clipped to `within`: parallel commands count once. Milliseconds. */
export function coveredMs(spans: readonly Interval[], within: Interval): number {
  const clipped = spans
    .map((span) => ({ start: Math.max(span.start, within.start), end: Math.min(span.end, within.end) }))
    .filter((span) => span.end > span.start)
    .sort((a, b) => a.start - b.start);
  let covered = 0;
  let reached = within.start;
  for (const span of clipped) {
    const from = Math.max(span.start, reached);
    if (span.end > from) {
      covered += span.end - from;
      reached = span.end;
    }
  }
  return covered;
}

/** Every engine and provider command of the hold and the cut. */
export function commandSpans(evidence: Evidence): readonly CommandSpan[] {
  return [
    ...(evidence.hold?.frozen.spans ?? []),
    ...(evidence.hold?.askedBeforeThaw?.spans ?? []),
    ...(evidence.hold?.thawed.spans ?? []),
    ...evidence.cut.spans,
    ...(evidence.online?.spans ?? []),
  ];
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/**
 * The hold in figures. `heldMs` runs from the engine's word that it is frozen to its word that it is thawed; `overheadMs` is what is
 * left of that when the engine's and the provider's own commands are taken out: our own doing.
 */
export function summarizeHold(evidence: Evidence): HoldSummary | null {
  if (evidence.together !== undefined) return summarizeTogether(evidence.together);
  const hold = evidence.hold;
  if (hold === null) return null;
  const within = { start: hold.frozen.at.monoMs, end: hold.thawed.at.monoMs };
  const heldMs = within.end - within.start;
  const commands = commandSpans(evidence).map((span) => ({ start: span.startMs, end: span.endMs }));
  return {
    frozenAt: hold.frozen.at.wall,
    cutAt: cutAt(evidence),
    thawedAt: hold.thawed.at.wall,
    heldMs: round(heldMs),
    overheadMs: round(heldMs - coveredMs(commands, within)),
    budgetMs: hold.budgetMs,
    heldThroughout: hold.thawed.heldThroughout,
  };
}

/**
 * From the word to freeze until the last part was heard to be thawed: longer than any part was held. Our own doing is what is left when
 * the part that kept its engine and provider busy longest is taken out.
 */
function summarizeTogether({ saidFreeze, saidCut, parts, budgetMs }: TogetherEvidence): HoldSummary | null {
  const last = parts.flatMap((part) => part.heard.thawed ?? []).toSorted((a, b) => b.monoMs - a.monoMs)[0];
  if (last === undefined) return null;
  const heldMs = last.monoMs - saidFreeze.monoMs;
  const busy = parts.map(({ hold }) => {
    const spans = hold?.spans.map((span) => ({ start: span.startMs, end: span.endMs })) ?? [];
    return hold === null ? 0 : coveredMs(spans, { start: hold.toldToFreeze.monoMs, end: hold.thawed.monoMs });
  });
  return {
    frozenAt: saidFreeze.wall,
    cutAt: saidCut.wall,
    thawedAt: last.wall,
    heldMs: round(heldMs),
    overheadMs: round(heldMs - Math.max(...busy)),
    budgetMs,
    heldThroughout: parts.every((part) => part.hold?.heldThroughout === true),
  };
}

/** When the first volume's cut was called. Empty without a cut. */
export function cutCalledAt(evidence: Evidence): string {
  const called = evidence.cut.cuts.map((cut) => cut.called);
  return (
    called.toSorted((a, b) => a.monoMs - b.monoMs)[0]?.wall ??
    evidence.together?.saidCut.wall ??
    evidence.online?.began.wall ??
    ''
  );
}

/** The point's time: when the first volume was cut, since later ones can only hold more. Empty without a cut. */
export function cutAt(evidence: Evidence): string {
  let first: { monoMs: number; wall: string } | undefined;
  for (const cut of evidence.cut.cuts) {
    if (first === undefined || cut.fixed.monoMs < first.monoMs) first = cut.fixed;
  }
  // The engine does not say at which moment of its run it took the state; its end is never too early to roll forward from.
  return first?.wall ?? evidence.together?.saidCut.wall ?? evidence.online?.ended.wall ?? '';
}
