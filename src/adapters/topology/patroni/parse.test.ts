import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  engineRole,
  isPrimary,
  isTagged,
  listedRole,
  markerKey,
  mayBeElected,
  parseCluster,
  parseDynamic,
  parseStatus,
  pausedBy,
  stateOf,
  timeOf,
  timingOf,
} from './parse.ts';

function transcript(name: string): unknown {
  return JSON.parse(
    readFileSync(new URL(`../../../../test/transcripts/patroni-${name}.json`, import.meta.url), 'utf8'),
  );
}

const versions = ['2.1.7', '3.0.2', '4.1.4'] as const;

describe('answers of every version', () => {
  for (const version of versions) {
    it(`of ${version} are understood`, () => {
      const cluster = parseCluster(transcript(`${version}-cluster`));
      assert.deepEqual(
        cluster?.members.map(({ name, role, timeline }) => [name, listedRole(role), timeline]),
        [
          ['db1', 'leader', 1],
          ['db2', 'replica', 1],
          ['db3', 'replica', 1],
        ],
      );
      assert.deepEqual(
        cluster.members.map((member) => mayBeElected(member)),
        [true, true, false],
      );
      assert.equal(cluster.pause, undefined);

      const primary = parseStatus(transcript(`${version}-primary`));
      assert.equal(isPrimary(primary), true);
      assert.equal(primary?.patroni?.version, version);
      assert.match(primary.database_system_identifier ?? '', /^\d{19}$/);
      assert.ok((primary.xlog?.location ?? 0) > 0);
      assert.deepEqual(primary.replication?.map(({ application_name: name, state }) => `${name} ${state}`).toSorted(), [
        'db2 streaming',
        'db3 streaming',
      ]);

      const replica = parseStatus(transcript(`${version}-replica`));
      assert.equal(isPrimary(replica), false);
      assert.equal(replica?.sync_standby, version === '2.1.7' ? undefined : true);
      assert.equal(replica?.xlog?.paused, false);
      assert.equal(replica?.replication_state, version === '4.1.4' ? 'streaming' : undefined);
      assert.ok((replica?.dcs_last_seen ?? 0) > 1_700_000_000);
    });
  }

  it('of a paused member without a server say so', () => {
    const stopped = parseStatus(transcript('3.0.2-paused-stopped'));
    assert.deepEqual(
      [stopped?.state, stopped?.pause, stopped?.xlog, isPrimary(stopped)],
      ['stopped', true, undefined, false],
    );
    assert.equal(parseCluster(transcript('3.0.2-paused-cluster'))?.pause, true);
  });

  it('that are something else are not understood', () => {
    assert.equal(parseCluster({ members: 'none' }), undefined);
    assert.equal(parseStatus('<html>'), undefined);
    assert.equal(parseDynamic([]), undefined);
    assert.equal(parseDynamic(undefined), undefined);
  });

  it('keep what is understood where one field is strange', () => {
    const status = parseStatus({ state: 'running', role: 'primary', timeline: 'one', xlog: 7, tags: [], pause: 'yes' });
    assert.deepEqual(
      [status?.state, status?.timeline, status?.xlog, status?.pause],
      ['running', undefined, undefined, undefined],
    );
    const cluster = parseCluster({ members: [], scheduled_switchover: 'soon' });
    assert.match(cluster?.scheduled_switchover?.at ?? '', /not understood/);
  });
});

describe('words', () => {
  it('of roles of every version, and unknown ones', () => {
    assert.deepEqual(
      ['master', 'primary', 'replica', 'standby_leader', 'demoted', 'uninitialized', ''].map(engineRole),
      ['primary', 'primary', 'replica', 'standby_leader', 'unknown', 'unknown', 'unknown'],
    );
    assert.deepEqual(
      ['leader', 'master', 'primary', 'standby_leader', 'replica', 'sync_standby', 'quorum_standby', 'king'].map(
        listedRole,
      ),
      ['leader', 'leader', 'leader', 'standby_leader', 'replica', 'replica', 'replica', 'unknown'],
    );
  });

  it('of states', () => {
    assert.deepEqual(['running', 'creating replica', 'crashed', 'unknown', 'dancing'].map(stateOf), [
      'running',
      'unwell',
      'unwell',
      'unknown',
      'unknown',
    ]);
  });

  it('of tags, in all ways in which YAML says yes', () => {
    const tagged = (value: unknown): boolean | undefined =>
      isTagged({ tags: { noloadbalance: value } }, 'noloadbalance');
    assert.deepEqual([true, 1, 'yes', 'True', false, 0, 'off', {}].map(tagged), [
      true,
      true,
      true,
      true,
      false,
      false,
      false,
      false,
    ]);
    assert.equal(isTagged(undefined, 'noloadbalance'), undefined);
    assert.equal(isTagged({ tags: {} }, 'noloadbalance'), undefined);
  });

  it('of tags about elections: nofailover wins over failover_priority', () => {
    const elected = (tags?: Record<string, unknown>): boolean => mayBeElected({ tags });
    assert.deepEqual(
      [
        undefined,
        { nofailover: true },
        { nofailover: false },
        { failover_priority: 0 },
        { failover_priority: '2' },
        { nofailover: false, failover_priority: 0 },
      ].map(elected),
      [true, false, true, false, true, true],
    );
    assert.equal(mayBeElected(undefined), true);
  });
});

describe('timing', () => {
  it('is what is set, and the default of Patroni where nothing is', () => {
    assert.deepEqual(timingOf(parseDynamic(transcript('3.0.2-config')) ?? {}), {
      ttl: 20,
      loopWait: 4,
      retryTimeout: 6,
    });
    assert.deepEqual(timingOf({}), { ttl: 30, loopWait: 10, retryTimeout: 10 });
    assert.deepEqual(timingOf({ ttl: '45' }), { ttl: 45, loopWait: 10, retryTimeout: 10 });
  });

  it('is not known where something else is set', () => {
    assert.equal(timingOf({ ttl: 'long' }), undefined);
    assert.equal(timingOf({ loop_wait: -1 }), undefined);
  });

  it('of commits is read as Patroni writes it', () => {
    assert.equal(timeOf('2026-11-21 17:05:59.824447+00:00'), Date.UTC(2026, 10, 21, 17, 5, 59, 824));
    assert.deepEqual([timeOf(null), timeOf(undefined), timeOf('yesterday')], [undefined, undefined, undefined]);
  });
});

describe('a pause', () => {
  it('is ours by its mark, somebody else’s without one, and none where it is not set', () => {
    assert.equal(pausedBy({}), undefined);
    assert.equal(pausedBy({ pause: false, [markerKey]: 'stillpoint:a' }), undefined);
    assert.equal(pausedBy({ pause: true, [markerKey]: 'stillpoint:a' }), 'stillpoint:a');
    assert.equal(pausedBy({ pause: 'on' }), 'somebody else');
    assert.equal(pausedBy({ pause: true, [markerKey]: 7 }), 'somebody else');
  });
});
