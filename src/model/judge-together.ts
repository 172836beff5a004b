import type { Reason } from './point.ts';
import { dataSetOf, skewOf, stages, type PartEvidence, type PartHold, type TogetherEvidence } from './together.ts';

/** Rules of a group of parts, each with its one name. */
export type TogetherRule =
  | 'part-missing'
  | 'part-weaker'
  | 'part-twice'
  | 'part-not-held'
  | 'cut-before-all-frozen'
  | 'thawed-before-cut'
  | 'barrier-disordered'
  | 'writers-not-stopped'
  | 'skew-too-long';

interface Broken extends Reason {
  readonly rule: TogetherRule;
}

/**
 * Every rule that is broken. Pure. Empty: there was an instant at which all parts were held, and what each part's cut shows is its state
 * of that instant. That needs no clocks that agree: every cut was called after every part had said that it was frozen, and every part
 * stayed frozen until its own cut was fixed.
 */
export function judgeTogether(together: TogetherEvidence): readonly Broken[] {
  return [
    ...(together.parts.length === 0 ? [broken('part-missing', 'the group has no part')] : []),
    ...together.parts.flatMap((part) => [...rulesOfPoint(part), ...rulesOfHold(part), ...rulesOfWords(part, together)]),
    ...twice(together.parts),
    ...writers(together),
  ];
}

function broken(rule: TogetherRule, said: string): Broken {
  return { rule, said };
}

function rulesOfPoint({ name, point }: PartEvidence): readonly Broken[] {
  if (point === null) return [broken('part-missing', `${name} recorded no point`)];
  return point.verdict === 'application-consistent'
    ? []
    : [broken('part-weaker', `point ${point.id} of ${name} is ${point.verdict}`)];
}

/** By the part's own clock. */
function rulesOfHold({ name, hold }: PartEvidence): readonly Broken[] {
  if (hold === null) return [broken('part-not-held', `${name} was cut without a hold`)];
  const found: Broken[] = [];
  if (!hold.heldThroughout) found.push(broken('part-not-held', `the hold of ${name} did not last until its thaw`));
  if (hold.endedBy !== 'word')
    found.push(broken('part-not-held', `the hold of ${name} was ended by ${hold.endedBy}, not by its flow's word`));
  if (hold.cutCalled.monoMs < hold.toldToCut.monoMs)
    found.push(broken('cut-before-all-frozen', `${name} called its cut before it was told to`));
  if (hold.thawed.monoMs < hold.cutFixed.monoMs)
    found.push(broken('thawed-before-cut', `${name} was thawed before its cut was fixed`));
  const wrong = firstFall(hold);
  if (wrong !== undefined) found.push(broken('barrier-disordered', `by the clock of ${name} ${wrong}`));
  return found;
}

function firstFall(hold: PartHold): string | undefined {
  const order = [
    ['it was told to freeze', hold.toldToFreeze],
    ['it was frozen', hold.frozen],
    ['it was told to cut', hold.toldToCut],
  ] as const;
  for (const [index, [what, at]] of order.entries()) {
    const next = order[index + 1];
    if (next !== undefined && next[1].monoMs < at.monoMs) return `${next[0]} before ${what}`;
  }
  return hold.cutFixed.monoMs < hold.cutCalled.monoMs ? 'its cut was fixed before it was called' : undefined;
}

/** By the coordinator's clock: what was said and heard, in the order that makes the proof. */
function rulesOfWords({ name, heard }: PartEvidence, { saidFreeze, saidCut }: TogetherEvidence): readonly Broken[] {
  const lost = stages.filter((stage) => heard[stage] === undefined);
  const times = stages.flatMap((stage) => heard[stage]?.monoMs ?? []);
  const { ready, frozen, cut } = heard;
  if (lost.length > 0 || ready === undefined || frozen === undefined || cut === undefined)
    return [broken('part-missing', `it was not heard of ${name} that it was ${lost.join(', ')}`)];
  const found: Broken[] = [];
  if (frozen.monoMs > saidCut.monoMs)
    found.push(broken('cut-before-all-frozen', `the word to cut was said before ${name} was heard to be frozen`));
  if (ready.monoMs > saidFreeze.monoMs || frozen.monoMs < saidFreeze.monoMs || cut.monoMs < saidCut.monoMs)
    found.push(broken('barrier-disordered', `${name} was heard to have done what it had not been told to`));
  if (times.some((ms, index) => ms < Math.max(...times.slice(0, index))))
    found.push(broken('barrier-disordered', `${name} was not heard in order`));
  return found;
}

function twice(parts: readonly PartEvidence[]): readonly Broken[] {
  const seen = new Map<string, string>();
  return parts.flatMap((part) => {
    if (part.point === null) return [];
    const set = dataSetOf(part, part.point.identity);
    const other = seen.get(set);
    seen.set(set, part.name);
    return other === undefined ? [] : [broken('part-twice', `${other} and ${part.name} are the same data set`)];
  });
}

/** Where writers go on, each part shows its own moment: they lie apart by the skew. */
function writers(together: TogetherEvidence): readonly Broken[] {
  const going = together.parts.filter((part) => part.hold?.stopsWriters === false).map((part) => part.name);
  if (going.length === 0) return [];
  const skew = skewOf(together);
  const apart = skew === undefined ? 'nobody knows how far' : `up to ${skew.toFixed(1)} ms`;
  const limit = together.skewMs ?? 0;
  return [
    broken('writers-not-stopped', `writers of ${going.join(', ')} went on, so the cuts lie apart: ${apart}`),
    ...(skew === undefined || skew > limit
      ? [broken('skew-too-long', `the cuts lie apart: ${apart}; accepted are ${limit} ms`)]
      : []),
  ];
}
