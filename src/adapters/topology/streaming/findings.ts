import type { Finding } from '../../../model/point.ts';
import type { Measured } from '../../../platform/measure-lag.ts';
import type { Facts } from './parse.ts';
import type { Answered, Seen } from './view.ts';

/** A slot that has less than this part of `max_slot_wal_keep_size` left is near its loss. */
const nearlyUsed = 0.25;

function finding(severity: Finding['severity'], check: string, said: string, value?: number): Finding {
  return { severity, check, said, ...(value === undefined ? {} : { value }) };
}

export function clusterFindings(
  seen: readonly Seen[],
  primary: Answered | undefined,
  others: readonly string[],
): readonly Finding[] {
  const found: Finding[] = [];
  const silent = seen.filter((each) => 'refused' in each).map(({ name }) => name);
  if (primary === undefined) {
    found.push(finding('error', 'primary', 'every member that answers is in recovery: nobody is seen to be primary'));
  }
  if (silent.length > 0) {
    found.push(
      finding('warning', 'split-brain', `whether ${silent.join(', ')} is primary as well cannot be asked just now`),
    );
  }
  if (others.length > 0) {
    const who = others.join(', ');
    found.push(
      finding('error', 'failover', `${who} runs here: this cluster does not wait for a person; use its own topology`),
    );
  }
  if (primary !== undefined) {
    const ours = new Set(seen.flatMap((each) => ('facts' in each ? (each.facts.ownSlot ?? []) : [])));
    for (const slot of primary.facts.slots.filter(({ name }) => !ours.has(name))) {
      found.push(...slotFindings(slot, primary.facts, 'warning', `slot ${slot.name}`));
    }
  }
  return found;
}

export function primaryFindings(facts: Facts): readonly Finding[] {
  return privileges(facts);
}

export function standbyFindings(
  name: string,
  facts: Facts,
  primary: Facts | undefined,
  measured: Measured | undefined,
): readonly Finding[] {
  const found: Finding[] = [...privileges(facts)];
  if (facts.replayPause !== 'not paused') {
    found.push(finding('warning', 'replay', `replay is ${facts.replayPause}: what it has is of the past`));
  }
  if (facts.applyDelayMs !== null && facts.applyDelayMs > 0) {
    found.push(finding('info', 'replay', `replay is delayed by ${facts.applyDelayMs} ms (recovery_min_apply_delay)`));
  }
  if (facts.conflicts > 0) {
    const said = `${facts.conflicts} queries were cancelled by recovery conflicts since its statistics began`;
    found.push(finding('warning', 'conflicts', said, facts.conflicts));
  }
  if (primary === undefined) return found;
  const receiver = facts.receiver;
  if (receiver === null) found.push(finding('warning', 'receiver', 'it receives nothing: no WAL receiver runs'));
  else if (receiver.timeline !== null && receiver.timeline !== primary.timeline) {
    const said = `it follows timeline ${receiver.timeline}, and the primary writes ${primary.timeline}`;
    found.push(finding('error', 'timeline', said));
  }
  return [...found, ...keeping(name, facts, primary, measured)];
}

/** Whether the primary keeps what this standby will need after a silence. */
function keeping(name: string, facts: Facts, primary: Facts, measured: Measured | undefined): readonly Finding[] {
  const slotName = facts.receiver?.slot ?? facts.ownSlot;
  const slot = primary.slots.find((each) => each.name === slotName);
  const sender = primary.senders.find((each) =>
    slot?.pid === undefined || slot.pid === null ? each.name === name : each.pid === slot.pid,
  );
  const found: Finding[] = [];
  if (sender?.sync === 'sync' || sender?.sync === 'quorum') {
    found.push(finding('info', 'synchronous', 'commits of the primary wait for it: a silence of it stops them'));
  }
  if (slot !== undefined) found.push(...slotFindings(slot, primary, 'error', `its slot ${slot.name}`));
  // A cascading standby has its slot on another one; only one that takes from the primary may be said to have none.
  else if (slotName !== null && sender !== undefined) {
    found.push(finding('error', 'slot', `its slot ${slotName} is not on the primary`));
  } else if (
    sender !== undefined &&
    primary.walKeepBytes !== null &&
    (measured?.transfer.bytes ?? 0) > primary.walKeepBytes
  ) {
    const said = `it has no slot, and is further behind than wal_keep_size (${primary.walKeepBytes} bytes) keeps for certain`;
    found.push(finding('warning', 'wal-keep', said, measured?.transfer.bytes));
  }
  return found;
}

function slotFindings(
  slot: Facts['slots'][number],
  primary: Facts,
  lost: 'warning' | 'error',
  what: string,
): readonly Finding[] {
  if (slot.wal === 'lost') {
    return [finding(lost, 'slot', `${what} is lost: WAL that it needs was removed, and it must be rebuilt`)];
  }
  const limit = primary.slotKeepBytes;
  if (slot.wal === 'unreserved') {
    return [finding('warning', 'slot', `${what} is over max_slot_wal_keep_size, and is lost at the next checkpoint`)];
  }
  if (limit === null || limit <= 0 || slot.safeBytes === null || slot.safeBytes >= limit * nearlyUsed) return [];
  const said = `${what} may lose its WAL after ${slot.safeBytes} more bytes (max_slot_wal_keep_size is ${limit})`;
  return [finding('warning', 'slot', said, slot.safeBytes)];
}

function privileges(facts: Facts): readonly Finding[] {
  return facts.readsStatistics
    ? []
    : [finding('warning', 'privileges', 'the role that asks is no member of pg_monitor: how it replicates is hidden')];
}
