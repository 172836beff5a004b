import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { codeOf } from '../../../model/errors.ts';
import { compareOpTimes, parseHello, parseSetConfig, parseStatus } from './parse.ts';

const at = (t: number): object => ({ ts: { $timestamp: { t, i: 1 } }, t: 1 });
const optimes = {
  lastCommittedOpTime: at(1_622_984_261),
  lastCommittedWallTime: { $date: '2021-06-06T12:57:41.001Z' },
  appliedOpTime: at(1_622_984_261),
  durableOpTime: at(1_622_984_251),
  lastAppliedWallTime: { $date: '2021-06-06T12:57:41.001Z' },
  lastDurableWallTime: { $date: '2021-06-06T12:57:31Z' },
};

/** Fields and values that MongoDB 4.4.6 printed for rs.status(), as far as they are read, in extended JSON. */
const status446 = {
  set: 'rs1',
  date: { $date: '2021-06-06T12:57:41.69Z' },
  myState: 1,
  term: 1,
  heartbeatIntervalMillis: 2000,
  majorityVoteCount: 2,
  writeMajorityCount: 2,
  votingMembersCount: 3,
  writableVotingMembersCount: 3,
  optimes,
  members: [
    {
      ...{ _id: 0, name: 'mongodb_1:27017', health: 1, state: 1, stateStr: 'PRIMARY', uptime: 373 },
      ...{ optime: at(1_622_984_261), syncSourceHost: '', syncSourceId: -1, self: true },
    },
    {
      ...{ _id: 1, name: 'mongodb_2:27017', health: 1, state: 2, stateStr: 'SECONDARY', uptime: 161 },
      ...{ optime: at(1_622_984_251), syncSourceHost: 'mongodb_1:27017', syncSourceId: 0 },
    },
    { _id: 2, name: 'witness:27017', health: 0, state: 8, stateStr: '(not reachable/healthy)', uptime: 0 },
  ],
  ok: 1,
};

const seat = { _id: 0, host: 'a:1', arbiterOnly: false, hidden: false, priority: 1, votes: 1, buildIndexes: true };
const config = {
  config: {
    _id: 'rs1',
    version: 3,
    term: 2,
    members: [{ ...seat, secondaryDelaySecs: 0 }],
    settings: {
      electionTimeoutMillis: 10_000,
      heartbeatIntervalMillis: 2000,
      replicaSetId: { $oid: '60bcc5e3a1b2c3d4e5f60718' },
    },
  },
};

const misunderstood = (run: () => unknown, what: RegExp): void =>
  assert.throws(run, (cause) => codeOf(cause) === 'command-failed' && what.test(String(cause)));

describe('hello', () => {
  it('tells a primary, and whatever else answers', () => {
    const said = { setName: 'rs1', me: 'a:1', primary: 'a:1', isWritablePrimary: true };
    assert.deepEqual(parseHello(said), {
      ...{ set: 'rs1', me: 'a:1', primary: 'a:1', writable: true },
      ...{ arbiter: false, router: false, uninitiated: false },
    });
    assert.equal(parseHello({ msg: 'isdbgrid', isWritablePrimary: true }).router, true);
    assert.equal(parseHello({ isreplicaset: true }).uninitiated, true);
    assert.equal(parseHello({ setName: 'rs1', arbiterOnly: true }).arbiter, true);
    misunderstood(() => parseHello({ setName: 7 }), /hello is not understood.*setName/);
  });
});

describe('replSetGetStatus', () => {
  it('tells the member itself, the others, and how far it is', () => {
    const read = parseStatus(status446);
    assert.deepEqual([read.set, read.term, read.self, read.state, read.majority, read.voters], ['rs1', 1, 0, 1, 2, 3]);
    assert.deepEqual([read.writeMajority, read.writableVoters, read.tooStale], [2, 3, false]);
    assert.deepEqual(read.applied, { term: 1, seconds: 1_622_984_261, count: 1 });
    assert.equal(read.appliedAtMs - read.receivedAtMs, 10_001);
    assert.equal(read.received.seconds, 1_622_984_251);
    assert.equal(read.committedAtMs, read.appliedAtMs);
    assert.deepEqual(
      read.words.map(({ id, up, said, syncsFrom }) => [id, up, said, syncsFrom]),
      [
        [0, true, 'PRIMARY', ''],
        [1, true, 'SECONDARY', 'mongodb_1:27017'],
        [2, false, '(not reachable/healthy)', ''],
      ],
    );
    assert.equal(read.words[2]?.applied, undefined);
  });

  it('takes what is written to the oplog where the server tells it, as 8.0 does', () => {
    const written = { writtenOpTime: at(1_622_984_261), lastWrittenWallTime: { $date: '2021-06-06T12:57:41.001Z' } };
    const read = parseStatus({ ...status446, optimes: { ...optimes, ...written } });
    assert.equal(read.received.seconds, 1_622_984_261);
    assert.equal(read.receivedAtMs, read.appliedAtMs);
  });

  it('reads long numbers, a member without itself, and refuses what it must trust', () => {
    const { lastCommittedWallTime: _gone, ...rest } = optimes;
    const read = parseStatus({
      ...status446,
      ...{ term: { $numberLong: '9007199254740993' }, members: [], optimes: rest, tooStale: true },
    });
    assert.deepEqual(
      [read.term, read.self, read.committedAtMs, read.tooStale],
      [9_007_199_254_740_992, undefined, undefined, true],
    );
    const { term: _term, ...without } = status446;
    misunderstood(() => parseStatus(without), /replSetGetStatus is not understood.*term/);
    misunderstood(() => parseStatus({ ...status446, optimes: { ...optimes, appliedOpTime: 7 } }), /appliedOpTime/);
  });
});

describe('replSetGetConfig', () => {
  it('tells seats, delays under both names, and timers', () => {
    const read = parseSetConfig(config);
    assert.deepEqual([read.set, read.identity, read.version, read.term], ['rs1', '60bcc5e3a1b2c3d4e5f60718', 3, 2]);
    assert.deepEqual([read.electionTimeoutMs, read.heartbeatMs], [10_000, 2000]);
    assert.deepEqual(read.seats, [
      { id: 0, host: 'a:1', arbiter: false, hidden: false, priority: 1, votes: 1, delayMs: 0, buildsIndexes: true },
    ]);
    const { buildIndexes: _absent, ...bare } = seat;
    const old = parseSetConfig({
      config: { ...config.config, members: [{ ...bare, slaveDelay: { $numberLong: '3600' } }] },
    });
    assert.deepEqual([old.seats[0]?.delayMs, old.seats[0]?.buildsIndexes], [3_600_000, true]);
  });

  it('has a name where it has no identity, and refuses a member whose delay nobody tells', () => {
    const { replicaSetId: _absent, ...settings } = config.config.settings;
    const { term: _term, ...rest } = config.config;
    const read = parseSetConfig({ config: { ...rest, settings } });
    assert.deepEqual([read.identity, read.term], ['rs1', -1]);
    misunderstood(
      () => parseSetConfig({ config: { ...config.config, members: [seat] } }),
      /neither secondaryDelaySecs/,
    );
  });
});

it('puts an older term behind, whatever its time', () => {
  const place = (term: number, seconds: number, count: number) => ({ term, seconds, count });
  const ordered = [place(1, 500, 9), place(2, 100, 1), place(2, 100, 2), place(2, 101, 1)];
  assert.deepEqual(ordered.toReversed().toSorted(compareOpTimes), ordered);
});
