import { changeBetween } from './cluster.ts';
import { judgeSplit, type SplitRule } from './judge-split.ts';
import { judgeTogether, type TogetherRule } from './judge-together.ts';
import type { Evidence, HoldEvidence, OnlineEvidence } from './evidence.ts';
import type { Marks } from './journal.ts';
import { needsOneInstant, type MemberObservation } from './hold.ts';
import type { Reason, Verdict } from './point.ts';

/** The rules that evidence can break, each with its one name. docs/design/evidence.md explains them. */
export type Rule =
  | 'no-hold'
  | 'freeze-unconfirmed'
  | 'hold-unconfirmed-before-thaw'
  | 'cut-before-freeze'
  | 'cut-after-thaw'
  | 'hold-lost'
  | 'hold-ended-early'
  | 'thaw-unproved'
  | 'not-one-instant'
  | 'volume-not-cut'
  | 'path-not-covered'
  | 'role-changed'
  | 'role-not-observed'
  | 'journal-incomplete'
  | 'clock-disordered'
  | 'engine-backup-unfinished'
  | 'chain-broken'
  | 'dirty-copy-open'
  | SplitRule
  | TogetherRule;

export interface Judgement {
  readonly verdict: Verdict;
  /** Every rule that is broken, not only the first. Empty for `application-consistent`. */
  readonly reasons: readonly Reason[];
}

/**
 * What follows from the evidence. Pure: reads no clock, no database, no configuration.
 *
 * `application-consistent`: the engine itself said before the thaw that it was frozen, every volume that recovery needs was cut
 * inside the hold, the hold lasted, the journal of a `copy-rules` hold is complete, the volumes under a `one-instant` hold were cut at
 * one instant, and the member stayed who it was.
 * `crash-consistent`: that failed, but all needed volumes show one instant of one member, so that it looks like a power cut.
 * `unproven`: everything else.
 */
export function judge(evidence: Evidence): Judgement {
  if (evidence.online !== undefined) return judgeOnline(evidence.online, evidence);
  if (evidence.together !== undefined) {
    const reasons = judgeTogether(evidence.together);
    return { verdict: reasons.length === 0 ? 'application-consistent' : 'unproven', reasons };
  }
  if (evidence.split !== undefined) {
    const unseen = evidence.cluster === undefined ? [reason('role-not-observed', 'the cluster was not looked at')] : [];
    const reasons = [...judgeSplit(evidence.split), ...unseen, ...cluster(evidence)];
    return { verdict: reasons.length === 0 ? 'application-consistent' : 'unproven', reasons };
  }
  const broken = [...coverage(evidence), ...members(evidence), ...cluster(evidence), ...order(evidence)];
  const held = evidence.hold === null ? noHold() : holdRules(evidence.hold, evidence);
  const reasons = [...held, ...broken];
  const covered = evidence.cut.atomicity === 'one-instant' || !needsOneInstant(evidence.hold?.kind ?? 'none');
  if (reasons.length === 0 && covered) return { verdict: 'application-consistent', reasons };
  if (broken.length === 0 && evidence.cut.atomicity === 'one-instant') return { verdict: 'crash-consistent', reasons };
  const sequential = evidence.cut.atomicity === 'sequential' ? [notOneInstant(evidence)] : [];
  return { verdict: 'unproven', reasons: [...reasons, ...sequential] };
}

/** The engine answers for what it writes; what is left to judge is that it was done, that it fits, and that the member stayed. */
function judgeOnline(online: OnlineEvidence, evidence: Evidence): Judgement {
  const reasons = [...onlineRules(online), ...members(evidence), ...cluster(evidence)];
  return { verdict: reasons.length === 0 ? 'application-consistent' : 'unproven', reasons };
}

function onlineRules(online: OnlineEvidence): readonly Reason[] {
  const broken: Reason[] = [];
  if (!online.finished)
    broken.push(reason('engine-backup-unfinished', `the engine did not say that it was done: ${online.said}`));
  if (online.streams.reduce((sum, stream) => sum + stream.bytes, 0) === 0)
    broken.push(reason('engine-backup-unfinished', 'the engine wrote nothing'));
  if (online.ended.monoMs < online.began.monoMs)
    broken.push(reason('clock-disordered', "the engine's backup ended before it began"));
  if (Object.keys(online.to).length === 0)
    broken.push(reason('chain-broken', 'the engine did not say how far its backup reaches'));
  if (online.made !== 'full') return [...broken, ...chainRules(online.from, online.to, online.onTopOf ?? {})];
  if (online.dirty)
    broken.push(reason('dirty-copy-open', 'files were copied live, and no level since then closes them'));
  return broken;
}

function chainRules(from: Marks, to: Marks, below: Marks): readonly Reason[] {
  const parts = new Set([...Object.keys(from), ...Object.keys(to), ...Object.keys(below)]);
  return [...parts]
    .filter((part) => from[part] === undefined || to[part] === undefined || from[part] !== below[part])
    .map((part) =>
      reason(
        'chain-broken',
        `${part} goes from ${from[part] ?? 'nothing'} to ${to[part] ?? 'nothing'}, and what it goes on top of ends at ${below[part] ?? 'nothing'}`,
      ),
    );
}

function reason(rule: Rule, said: string): Reason {
  return { rule, said };
}

function noHold(): readonly Reason[] {
  return [reason('no-hold', 'the cut was made without a hold')];
}

function notOneInstant(evidence: Evidence): Reason {
  return reason('not-one-instant', `the cut was sequential (${evidence.cut.how}) and no proven hold covers that`);
}

function holdRules(hold: HoldEvidence, evidence: Evidence): readonly Reason[] {
  const broken: Reason[] = [];
  if (!hold.frozen.frozen)
    broken.push(reason('freeze-unconfirmed', `the engine did not confirm the freeze: ${hold.frozen.said}`));
  const asked = hold.askedBeforeThaw;
  if (asked === undefined) {
    broken.push(
      reason('hold-unconfirmed-before-thaw', 'the engine was not asked before the thaw whether it was still frozen'),
    );
  } else if (!asked.frozen) {
    broken.push(
      reason('hold-unconfirmed-before-thaw', `asked before the thaw, the engine was not frozen: ${asked.said}`),
    );
  }
  for (const cut of evidence.cut.cuts) {
    if (cut.called.monoMs < hold.frozen.at.monoMs) {
      broken.push(
        reason(
          'cut-before-freeze',
          `volume ${cut.volume} was cut from ${ms(hold.frozen.at.monoMs - cut.called.monoMs)} before the freeze`,
        ),
      );
    }
    // The engine's last word counts, not the thaw's time: between the two the hold may have ended by itself.
    const end = asked?.at.monoMs ?? hold.thawed.at.monoMs;
    if (cut.fixed.monoMs > end) {
      broken.push(
        reason(
          'cut-after-thaw',
          `volume ${cut.volume} was cut until ${ms(cut.fixed.monoMs - end)} after the hold was last confirmed`,
        ),
      );
    }
  }
  if (!hold.thawed.heldThroughout)
    broken.push(reason('hold-lost', `the hold did not last until the thaw: ${hold.thawed.said}`));
  if (hold.thawed.by !== 'word')
    broken.push(reason('hold-ended-early', `the hold was ended by ${hold.thawed.by}, not by the flow's word`));
  if (!hold.thawed.proved) broken.push(reason('thaw-unproved', `the thaw was not proved: ${hold.thawed.said}`));
  if (hold.kind === 'copy-rules') broken.push(...journalRules(hold));
  return broken;
}

function journalRules(hold: HoldEvidence): readonly Reason[] {
  const span = hold.journal;
  if (span === undefined) return [reason('journal-incomplete', 'the engine named no journal between freeze and thaw')];
  const collected = new Set(hold.journalCollected);
  return span.files
    .filter((file) => !collected.has(file))
    .map((file) => reason('journal-incomplete', `journal file ${file} between freeze and thaw is not in the point`));
}

function coverage(evidence: Evidence): readonly Reason[] {
  const broken: Reason[] = [];
  const cut = new Set(evidence.cut.cuts.map((each) => each.volume));
  const held = new Set<string>();
  for (const volume of evidence.volumes) {
    if (cut.has(volume.id)) for (const name of volume.holds) held.add(name);
    else broken.push(reason('volume-not-cut', `volume ${volume.id} is in the group and was not cut`));
  }
  for (const path of evidence.required) {
    if (!held.has(path.name))
      broken.push(reason('path-not-covered', `${path.role} ${path.path} is on no volume that was cut`));
  }
  return broken;
}

function members(evidence: Evidence): readonly Reason[] {
  const first = evidence.members.find((each) => each.when === 'chosen');
  if (first === undefined) return [reason('role-not-observed', 'role and epoch were not observed before the freeze')];
  const broken: Reason[] = [];
  const needed = evidence.hold === null ? (['cut', 'record'] as const) : (['frozen', 'cut', 'record'] as const);
  for (const when of needed) {
    const seen = evidence.members.find((each) => each.when === when);
    if (seen === undefined) broken.push(reason('role-not-observed', `role and epoch were not observed at ${when}`));
    else if (!same(first.seen, seen.seen))
      broken.push(
        reason('role-changed', `${describe(first.seen)} was chosen, ${describe(seen.seen)} was seen at ${when}`),
      );
  }
  return broken;
}

/** The manager's word, beside the engine's: a failover that began and was not over yet shows there first. */
function cluster({ cluster: found }: Evidence): readonly Reason[] {
  if (found === undefined) return [];
  return (['cut', 'record'] as const).flatMap((when) => {
    const seen = found.seen.find((each) => each.when === when);
    if (seen === undefined) return [reason('role-not-observed', `the cluster was not looked at at ${when}`)];
    const changed = changeBetween(found.chosen, seen.seen);
    return changed === undefined ? [] : [reason('role-changed', `seen at ${when}: ${changed}`)];
  });
}

/** Times of one process that run backwards mean that the record itself cannot be trusted. */
function order(evidence: Evidence): readonly Reason[] {
  const broken: Reason[] = [];
  for (const cut of evidence.cut.cuts) {
    if (cut.fixed.monoMs < cut.called.monoMs)
      broken.push(reason('clock-disordered', `volume ${cut.volume} was fixed before it was called`));
  }
  const hold = evidence.hold;
  if (hold !== null && hold.frozen.at.monoMs < hold.freezeCalled.monoMs) {
    broken.push(reason('clock-disordered', 'the engine was frozen before the freeze was called'));
  }
  if (hold !== null && hold.thawed.at.monoMs < hold.frozen.at.monoMs) {
    broken.push(reason('clock-disordered', 'the engine was thawed before it was frozen'));
  }
  return broken;
}

function same(a: MemberObservation, b: MemberObservation): boolean {
  return a.member === b.member && a.role === b.role && a.epoch === b.epoch;
}

function describe(seen: MemberObservation): string {
  return `${seen.role} ${seen.member} in epoch ${seen.epoch}`;
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}
