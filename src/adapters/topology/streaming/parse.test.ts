import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { codeOf } from '../../../model/errors.ts';
import { othersWhoFailOver, parseFacts, parsePositions, refusalOf } from './parse.ts';

/** As a standby of PostgreSQL 15 gave it. */
const standby = {
  version: 150_019,
  startedAt: '2026-11-21 16:54:02.137645+00',
  systemIdentifier: '7710669480832696768',
  inRecovery: true,
  timeline: 1,
  written: null,
  received: '50331648',
  replayed: '50331600',
  replayedAgoMs: 1023.5,
  replayPause: 'not paused',
  receiver: { status: 'streaming', timeline: 1, slot: 'db2' },
  senders: [],
  slots: [{ name: 'db4', type: 'physical', pid: null, wal: 'reserved', safeBytes: '67108864' }],
  conflicts: '0',
  ownSlot: 'db2',
  walKeepBytes: '0',
  slotKeepBytes: '-1048576',
  applyDelayMs: 0,
  readsStatistics: true,
  managers: [],
  libraries: '',
};

function notUnderstood(cause: unknown): boolean {
  return codeOf(cause) === 'command-failed' && /is not understood/.test(String(cause));
}

describe('facts of a server', () => {
  it('turns the positions into numbers', () => {
    const facts = parseFacts(JSON.stringify(standby));
    assert.deepEqual(
      [facts.received, facts.replayed, facts.written, facts.slotKeepBytes, facts.slots[0]?.safeBytes, facts.conflicts],
      [50_331_648, 50_331_600, null, -1_048_576, 67_108_864, 0],
    );
    assert.deepEqual(facts.receiver, standby.receiver);
  });

  it('takes what is hidden or absent as not known', () => {
    const facts = parseFacts(
      JSON.stringify({ ...standby, timeline: null, receiver: { status: null, timeline: null, slot: null } }),
    );
    assert.deepEqual([facts.timeline, facts.receiver?.status], [null, null]);
    assert.equal(parseFacts(JSON.stringify({ ...standby, receiver: null })).receiver, null);
  });

  it('refuses what it does not understand', () => {
    assert.throws(() => parseFacts(undefined), notUnderstood);
    assert.throws(() => parseFacts(JSON.stringify({ ...standby, received: '1/3000' })), notUnderstood);
    assert.throws(() => parseFacts(JSON.stringify({ ...standby, inRecovery: 'maybe' })), notUnderstood);
    assert.throws(() => parsePositions('{}'), notUnderstood);
  });

  it('reads positions alone', () => {
    assert.deepEqual(parsePositions('{"received":"7","replayed":null}'), { received: 7, replayed: null });
  });
});

describe('programs that fail over', () => {
  it('are known by their sessions and libraries', () => {
    assert.deepEqual(othersWhoFailOver({ managers: [], libraries: null }), []);
    assert.deepEqual(othersWhoFailOver({ managers: [], libraries: 'pg_stat_statements' }), []);
    assert.deepEqual(othersWhoFailOver({ managers: ['Patroni restapi'], libraries: '"repmgr", pgautofailover' }), [
      'Patroni restapi',
      'pgautofailover',
      'repmgr',
    ]);
  });
});

describe('a refused connection', () => {
  it('is a matter of the login, of a server that is unwell, or silence', () => {
    const cases = [
      ['28P01', 'login'],
      ['28000', 'login'],
      ['3D000', 'login'],
      ['42501', 'login'],
      ['57P03', 'unwell'],
      ['53300', 'unwell'],
      ['XX000', 'unwell'],
    ] as const;
    for (const [state, refusal] of cases) assert.equal(refusalOf(state, 'said'), refusal);
    assert.equal(refusalOf(undefined, 'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string'), 'login');
    assert.equal(refusalOf(undefined, 'connect ECONNREFUSED'), 'silent');
  });
});
