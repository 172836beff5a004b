import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { memberOf } from '../../../model/cluster.ts';
import type { Facts, Live, Refused } from './ask.ts';
import { newest, partsAt, termOf } from './history.ts';
import type { HistoryRecord, InstanceFile, Pool } from './parse.ts';
import { viewOf } from './view.ts';

const record = (
  primary: string,
  start: number,
  created = `2026/01/01 00:00:${String(start).padStart(2, '0')}`,
): HistoryRecord => ({
  ...{ primary, start: BigInt(start), created, creator: `${start}` },
});

const file = (instance: string, more: Partial<InstanceFile> = {}): InstanceFile => ({
  ...{ instance, rootPrimary: false, supplementary: false, open: true, next: 1n, group: 'A.1.1', poolMemory: '7' },
  ...{ secondaries: [], history: [record('A', 1)] },
  ...more,
});

function facts(
  name: string,
  shown: Facts['live'],
  more: Partial<InstanceFile> = {},
  processes: Partial<Facts['processes']> = {},
): Facts {
  const running = new Map([
    [1, 'S'],
    [2, 'S'],
    [3, 'S'],
  ]);
  return {
    name,
    live: shown,
    file: file(name, more),
    processes: { mupip: running, attached: new Map([['7', 1]]), ...processes },
  };
}

function live(pool: Partial<Pool>, more: Partial<Live> = {}): Live {
  return {
    pool: { posted: 9n, updatesDisabled: false, frozen: undefined, sources: [], ...pool },
    ...{ acknowledged: new Map(), receiver: undefined, received: { last: undefined, answeredMs: 0 } },
    ...{ regions: [{ region: 'DEFAULT', replication: 'ON' as const, next: 10n }], askedMs: 0, answeredMs: 0 },
    ...more,
  };
}

const source = (secondary: string, mode: string, state = 'SENDING_JNLRECS', pid = 1) => ({
  secondary,
  mode,
  state,
  pid,
});
const primary = live({ sources: [source('B', 'ACTIVE')] });
const replica = live(
  { updatesDisabled: true, sources: [source('A', 'PASSIVE', 'START')] },
  { receiver: { receiver: 2, update: 3 }, received: { last: 9n, answeredMs: 0 } },
);
const caughtUp = new Map([['B', { transfer: { updates: 0n, ms: 1.4 }, apply: { updates: 0n, ms: 1.4 } }]]);

function checksOf(all: readonly (Facts | Refused)[], name: string): readonly string[] | undefined {
  return memberOf(viewOf(all, caughtUp), name)?.findings.map(({ severity, check }) => `${severity} ${check}`);
}

describe('the view of GT.M instances', () => {
  it('of a pair that is well', () => {
    const seen = viewOf([facts('A', primary), facts('B', replica)], caughtUp);
    assert.equal(seen.epoch, 'A.1@A.1.1');
    assert.deepEqual(
      seen.members.map(({ name, role, health, findings }) => [name, role, health, findings.length]),
      [
        ['A', 'primary', 'healthy', 0],
        ['B', 'replica', 'healthy', 0],
      ],
    );
    assert.deepEqual(memberOf(seen, 'B')?.apply, { ms: 1, caughtUp: true });
  });

  it('calls a replica in trouble that nobody sends to, and one of another database', () => {
    const alone = [facts('A', live({ sources: [source('B', 'ACTIVE', 'START', 0)] })), facts('B', replica)];
    assert.deepEqual(checksOf(alone, 'A'), ['error servers']);
    assert.deepEqual(checksOf(alone, 'B'), ['error link']);
    const stranger = [facts('A', primary), facts('B', replica, { group: 'X.1.1' })];
    assert.deepEqual(checksOf(stranger, 'B'), ['error rollback']);
    assert.deepEqual(memberOf(viewOf(stranger, caughtUp), 'B')?.apply, { caughtUp: false });
  });

  it('takes a server that was shut down in order for none, and one whose number another program has for gone', () => {
    const shut = live({ sources: [source('B', 'ACTIVE'), source('C', 'ACTIVE', 'START', 0)] });
    assert.deepEqual(checksOf([facts('A', shut), facts('B', replica)], 'A'), []);
    const gone = live({ sources: [source('B', 'ACTIVE', 'SENDING_JNLRECS', 4)] });
    assert.deepEqual(checksOf([facts('A', gone), facts('B', replica)], 'A'), ['error servers', 'warning link']);
  });

  it('calls an instance down that nobody has open, whatever its memory says', () => {
    const none = { mupip: new Map<number, string>() };
    const unattached = facts('A', primary, { rootPrimary: true }, { ...none, attached: new Map([['7', 0]]) });
    const untold = facts('A', primary, { rootPrimary: true }, { ...none, attached: undefined });
    for (const dead of [unattached, untold]) {
      const member = memberOf(viewOf([dead, facts('B', replica)], new Map()), 'A');
      assert.deepEqual([member?.role, member?.health], ['primary', 'down']);
    }
    // Whoever reads a replica does not keep it alive.
    assert.equal(
      memberOf(viewOf([facts('A', primary), facts('B', replica, {}, none)], new Map()), 'B')?.health,
      'down',
    );
  });

  it('tells the role of one that is down by its file, unless another one has it now', () => {
    const roleOf = (more: Partial<InstanceFile>, other: Facts): string | undefined =>
      memberOf(viewOf([facts('A', 'closed', { open: false, ...more }), other], new Map()), 'A')?.role;
    assert.equal(roleOf({ rootPrimary: true }, facts('B', replica)), 'primary');
    assert.equal(roleOf({ rootPrimary: true }, facts('B', live({}), { rootPrimary: true })), 'unknown');
    assert.equal(roleOf({}, facts('B', live({}), { rootPrimary: true })), 'replica');
    assert.equal(roleOf({ history: [] }, facts('B', 'closed')), 'standalone');
  });

  it('counts neither updates nor roles of a supplementary instance', () => {
    const supplementary = facts('B', live({ updatesDisabled: false }), { supplementary: true, group: 'B.2.2' });
    const seen = viewOf([facts('A', primary), supplementary], caughtUp);
    assert.deepEqual([memberOf(seen, 'B')?.role, memberOf(seen, 'B')?.apply, seen.findings], ['async', undefined, []]);
  });

  it('says which region is not replicated, and when nothing tells', () => {
    const regions = (['ON', 'OFF', 'WAS_ON', 'unknown'] as const).map((replication) => ({
      ...{ region: 'R', replication, next: 10n },
    }));
    const member = memberOf(viewOf([facts('A', live({}, { regions }))], new Map()), 'A');
    assert.deepEqual([member?.health, member?.findings.length], ['trouble', 3]);
    assert.deepEqual(checksOf([facts('A', live({}, { regions: undefined }))], 'A'), ['error replication-state']);
  });

  it('says when nobody may be asked', () => {
    const refused: Refused = { name: 'A', said: 'no', denied: false };
    assert.throws(() => viewOf([refused], new Map()), { code: 'cluster-unknown' });
    assert.throws(() => viewOf([refused, { ...refused, name: 'B', denied: true }], new Map()), {
      code: 'database-login',
    });
    assert.deepEqual(checksOf([facts('A', primary), { ...refused, name: 'B' }], 'B'), ['error instance']);
  });
});

describe('histories', () => {
  const [a1, a5, b7] = [record('A', 1), record('A', 5), record('B', 7)];

  it('name a term by its first start', () => {
    const term = (...history: readonly HistoryRecord[]): string => termOf(facts('A', 'closed', { history }));
    assert.equal(term(), 'none@A.1.1');
    assert.equal(term(a1, a5), 'A.1@A.1.1');
    assert.equal(term(a1, a5, b7), 'B.7@A.1.1');
    assert.equal(term(a1, b7, record('A', 9)), 'A.9@A.1.1');
    assert.equal(termOf(facts('A', 'closed', { group: undefined, history: [a1] })), 'A.1@nobody');
  });

  it('of instances that are all down count from the newest', () => {
    const [old, young] = [facts('A', 'closed', { history: [a1, a5] }), facts('B', 'closed', { history: [a1, b7] })];
    assert.equal(newest([old, young])?.name, 'B');
    assert.equal(newest([young, old])?.name, 'B');
    assert.equal(newest([facts('C', 'closed', { history: [] }), old])?.name, 'A');
  });

  it('part where updates were made under another record', () => {
    assert.equal(partsAt([a1, b7], [a1, b7], 20n), undefined);
    assert.equal(partsAt([a1, b7], [a1], 7n), undefined, 'it has not yet what the new primary made');
    assert.equal(partsAt([a1, b7], [a1], 9n), 7n, 'it made updates that the new primary does not know');
    assert.equal(partsAt([a1], [a1, b7], 7n), undefined, 'a term in which nothing was updated');
    assert.equal(partsAt([a1], [a1, b7], 8n), 7n);
    assert.equal(partsAt([a1, b7], [a1, a5], 9n), 5n);
    // Made from a copy, it knows its history from there on only.
    assert.equal(partsAt([a1, b7], [{ ...a1, start: 4n }, b7], 20n), undefined);
    assert.equal(partsAt([a1, b7], [{ ...a1, start: 4n }], 9n), 7n);
    assert.equal(partsAt([{ ...a1, start: 4n }, b7], [a1, b7], 20n), undefined);
    assert.equal(partsAt([a1], [], 20n), undefined);
    // A start without an update since is written over by the next one.
    assert.equal(partsAt([a1, record('A', 5, 'later')], [a1, a5], 5n), undefined);
  });
});
