import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ClusterMember, type ClusterView, memberOf } from '../../../model/cluster.ts';
import { codeOf, messageOf } from '../../../model/errors.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import type { Gathered, MemberAnswer } from './ask.ts';
import { leaderAmong } from './etcd.ts';
import { markerKey, parseCluster, parseStatus } from './parse.ts';
import { viewOf } from './view.ts';

const dateMs = 1_795_281_246_000;
const identity = '7710674198594820823';

interface Told {
  readonly role?: string;
  readonly listed?: string | null;
  readonly state?: string;
  /** Null: it does not answer. */
  readonly status?: Readonly<Record<string, unknown>> | null;
  readonly startedAt?: string;
}

/** Members by name: the primary `a` and the streaming replica `b`, unless told otherwise. */
function gathered(told: Readonly<Record<string, Told>>, more: Partial<Gathered> = {}): Gathered {
  const members = Object.entries(told).map(([name, each], index): MemberAnswer => {
    const role = each.role ?? (index === 0 ? 'primary' : 'replica');
    const isPrimary = role === 'primary' || role === 'master';
    const status =
      each.status === null
        ? undefined
        : parseStatus({
            state: each.state ?? 'running',
            role,
            timeline: 3,
            xlog: isPrimary ? { location: 100 } : { received_location: 100, replayed_location: 100, paused: false },
            ...(isPrimary ? {} : { replication_state: 'streaming' }),
            postmaster_start_time: each.startedAt ?? `start of ${name}`,
            database_system_identifier: identity,
            dcs_last_seen: dateMs / 1000 - 2,
            patroni: { version: '4.1.4', scope: 'shop', name },
            ...each.status,
          });
    const seen = status?.dcs_last_seen;
    return {
      ...{ name, url: `http://${name}:8008`, status, sinceMs: 0, dateMs, said: status === undefined ? 'silent' : role },
      dcsAgeMs: seen === undefined ? undefined : dateMs - seen * 1000,
    };
  });
  const listed = Object.entries(told).flatMap(([name, each], index) =>
    each.listed === null
      ? []
      : [{ name, role: each.listed ?? (index === 0 ? 'leader' : 'replica'), state: 'running', timeline: 3 }],
  );
  return {
    members,
    cluster: parseCluster({ members: listed }),
    dynamic: { ttl: 30, loop_wait: 10, retry_timeout: 10 },
    measured: new Map(
      members.map(({ name }) => [name, { transfer: { bytes: 0, ms: 0 }, apply: { bytes: 0, ms: 0 } }] as const),
    ),
    dcs: { quorum: { kind: 'dcs', health: 'healthy', said: 'etcd' }, leaderOn: 'elsewhere' },
    ...more,
  };
}

function member(view: ClusterView, name: string): ClusterMember {
  const found = memberOf(view, name);
  assert.ok(found !== undefined);
  return found;
}

function checks({ findings }: Pick<ClusterView, 'findings'>): readonly string[] {
  return findings.map(({ severity, check }) => `${severity} ${check}`);
}

function unknown(said: RegExp): (cause: unknown) => boolean {
  return (cause) => codeOf(cause) === 'cluster-unknown' && said.test(messageOf(cause));
}

describe('a view of Patroni', () => {
  it('takes roles from the servers and the rest from both', () => {
    const view = viewOf(gathered({ a: {}, b: {} }), {});
    assert.equal(view.epoch, `${identity}/3`);
    assert.deepEqual(
      view.members.map(({ name, role, health, leadsQuorum }) => [name, role, health, leadsQuorum]),
      [
        ['a', 'primary', 'healthy', false],
        ['b', 'replica', 'healthy', false],
      ],
    );
    assert.deepEqual(view.failover.detectionMs, 20_000);
    assert.deepEqual(view.findings, []);
  });

  it('refuses two primaries, by whoever’s word', () => {
    assert.throws(
      () => viewOf(gathered({ a: {}, b: { role: 'master' } }), {}),
      unknown(/more than one member is primary: a .* and b/),
    );
    // The old leader still has the key, and does not answer; the new one takes writes already.
    assert.throws(
      () => viewOf(gathered({ a: { status: null }, b: { role: 'primary' } }), {}),
      unknown(/more than one/),
    );
  });

  it('knows nobody as primary while the holder of the key is still a replica', () => {
    const view = viewOf(gathered({ a: { role: 'replica' }, b: {} }), {});
    assert.deepEqual(
      view.members.map(({ role, health }) => [role, health]),
      [
        ['unknown', 'trouble'],
        ['replica', 'healthy'],
      ],
    );
    assert.equal(view.epoch, `${identity}/nobody`);
    assert.ok(checks(view).includes('error primary'));
  });

  it('takes no word of a member whose server was not asked', () => {
    const view = viewOf(gathered({ a: {}, b: { role: 'master', state: 'crashed', status: { xlog: undefined } } }), {});
    assert.deepEqual([member(view, 'b').role, member(view, 'b').health], ['replica', 'trouble']);
  });

  it('calls words that it does not know unknown', () => {
    const view = viewOf(gathered({ a: {}, b: { role: 'ghost' }, c: { state: 'dancing' } }), {});
    assert.deepEqual([member(view, 'b').role, member(view, 'b').health], ['unknown', 'trouble']);
    assert.equal(member(view, 'c').health, 'unknown');
    const listed = viewOf(gathered({ a: {}, b: { listed: 'ghost', status: null } }), {});
    assert.deepEqual([member(listed, 'b').role, member(listed, 'b').health], ['unknown', 'down']);
  });

  it('believes no position of a replica that does not stream on the primary’s timeline', () => {
    const view = viewOf(
      gathered({
        a: {},
        b: { status: { timeline: 2 } },
        c: { status: { replication_state: 'in archive recovery' } },
        d: { status: { replication_state: undefined } },
        e: { status: { replication_state: undefined, tags: { replicatefrom: 'b' } } },
      }),
      {},
    );
    assert.deepEqual(
      ['b', 'c', 'd', 'e'].map((name) => [member(view, name).health, member(view, name).apply]),
      [
        ['trouble', undefined],
        ['trouble', undefined],
        ['trouble', undefined],
        ['unknown', undefined],
      ],
    );
  });

  it('says what is wrong with a member that runs', () => {
    const status = {
      xlog: { received_location: 100, replayed_location: 100, paused: true },
      scheduled_restart: { schedule: '2026-12-01T00:00:00+00:00' },
      pending_restart: true,
      watchdog_failed: true,
      sync_standby: true,
      tags: { noloadbalance: true },
    };
    assert.deepEqual(checks(member(viewOf(gathered({ a: {}, b: { status } }), {}), 'b')), [
      'info tags',
      'warning replay',
      'warning restart',
      'info restart',
      'warning watchdog',
      'info synchronous',
    ]);
    const replication = [{ application_name: 'b', state: 'streaming', sync_state: 'quorum' }];
    const old = gathered({ a: { status: { replication } }, b: { status: { replication_state: undefined } } });
    assert.deepEqual(checks(member(viewOf(old, {}), 'b')), ['info synchronous']);
    assert.equal(member(viewOf(old, {}), 'b').health, 'healthy');
  });

  it('has the leader in the epoch of a standby cluster, where nobody is primary', () => {
    const view = viewOf(gathered({ a: { role: 'standby_leader', listed: 'standby_leader' }, b: {} }), {});
    assert.equal(view.epoch, `${identity}/nobody/a`);
    assert.equal(member(view, 'a').role, 'replica');
    assert.deepEqual(checks(view), ['info primary']);
  });

  it('shows configured members that the cluster has forgotten, and those that are tagged', () => {
    const view = viewOf(
      gathered({ a: {}, b: { status: null, listed: null }, c: { status: { tags: { nofailover: true } } } }),
      {},
    );
    assert.deepEqual([member(view, 'b').role, member(view, 'b').health], ['unknown', 'down']);
    assert.deepEqual([member(view, 'b').mayTakeOver, member(view, 'c').mayTakeOver], [true, false]);
  });

  it('refuses members of different clusters, or that are one server', () => {
    const other = { database_system_identifier: '1' };
    assert.throws(() => viewOf(gathered({ a: {}, b: { status: other } }), {}), unknown(/system identifiers differ/));
    assert.throws(
      () => viewOf(gathered({ a: {}, b: { status: { patroni: { scope: 'depot', name: 'b' } } } }), {}),
      unknown(/different clusters/),
    );
    assert.throws(
      () => viewOf(gathered({ a: {}, b: { status: { patroni: { scope: 'shop', name: 'c' } } } }), {}),
      unknown(/http:\/\/b:8008 is c, and not b/),
    );
    assert.throws(
      () => viewOf(gathered({ a: { startedAt: 'x' }, b: { startedAt: 'x' } }), {}),
      unknown(/one and the same server/),
    );
    assert.throws(() => viewOf(gathered({ a: { status: null } }), {}), unknown(/no Patroni answers: a: silent/));
  });
});

describe('the quorum', () => {
  it('is as bad as the worst word about it', () => {
    const healthOf = (told: Readonly<Record<string, Told>>, more: Partial<Gathered> = {}): string =>
      viewOf(gathered(told, more), {}).quorum.health;
    const late = { dcs_last_seen: dateMs / 1000 - 60 };
    assert.equal(healthOf({ a: {}, b: {} }), 'healthy');
    assert.equal(healthOf({ a: {}, b: { status: late } }), 'trouble');
    assert.equal(healthOf({ a: { status: late }, b: { status: late } }), 'down');
    assert.equal(healthOf({ a: { status: { failsafe_mode_is_active: true } }, b: {} }), 'down');
    assert.equal(healthOf({ a: { status: { cluster_unlocked: true } }, b: {} }), 'trouble');
    const dcs = { quorum: { kind: 'dcs', health: 'unknown', said: 'not asked' }, leaderOn: undefined } as const;
    assert.equal(healthOf({ a: {}, b: {} }, { dcs }), 'healthy');
    const old = { dcs_last_seen: undefined };
    assert.equal(healthOf({ a: { status: old }, b: { status: old } }, { dcs }), 'unknown');
  });

  it('leaves who leads open where nobody said where etcd runs, or said a wrong name', () => {
    const dcs = { quorum: { kind: 'dcs', health: 'healthy', said: 'etcd' }, leaderOn: 'bd1' } as const;
    const settings = { dcs: { etcd: [{ url: 'http://a:2379', on: 'bd1' }] } };
    const view = viewOf(gathered({ a: {}, b: {} }, { dcs }), settings);
    assert.equal(member(view, 'a').leadsQuorum, undefined);
    assert.ok(checks(view).includes('error dcs'));
    const { risks } = failoverMargin(view, 'b', { stunMs: 100, holdMs: 0 });
    assert.deepEqual(
      risks.map(({ code }) => code),
      ['quorum-lead-unknown'],
    );
  });

  it('of etcd counts those of the newest term, and finds the leader among them', () => {
    const etcd = (on: string, own: string, leader: string, term: bigint) => ({
      ...{ url: `http://${on}`, on, said: 'answers' },
      status: { own, leader, term },
    });
    const silent = { url: 'http://x', on: 'x', said: 'silent', status: undefined };
    const of = (seen: Parameters<typeof leaderAmong>[0]): unknown => {
      const { quorum, leaderOn } = leaderAmong(seen);
      return [quorum.health, leaderOn];
    };
    assert.deepEqual(of([etcd('a', '1', '2', 5n), etcd('b', '2', '2', 5n), etcd('c', '3', '2', 5n)]), ['healthy', 'b']);
    assert.deepEqual(of([etcd('a', '1', '2', 5n), etcd('b', '2', '2', 5n), silent]), ['trouble', 'b']);
    assert.deepEqual(of([etcd('a', '1', '2', 5n), silent, silent]), ['down', undefined]);
    // Cut off, it still believes that it leads.
    assert.deepEqual(of([etcd('a', '1', '1', 4n), etcd('b', '2', '2', 5n), etcd('c', '3', '2', 5n)]), ['trouble', 'b']);
    assert.deepEqual(of([etcd('a', '1', '0', 6n), etcd('b', '2', '0', 6n), etcd('c', '3', '0', 6n)]), [
      'down',
      undefined,
    ]);
    // The one that leads was not asked.
    assert.deepEqual(of([etcd('a', '1', '9', 5n), etcd('b', '2', '9', 5n)]), ['healthy', undefined]);
  });
});

describe('the rule of failover', () => {
  it('counts from the last renewal of the key, or of the watchdog', () => {
    const detection = (dynamic: Readonly<Record<string, unknown>>, watchdogTimeout?: string): number | undefined =>
      viewOf(gathered({ a: {}, b: {} }, { dynamic }), watchdogTimeout === undefined ? {} : { watchdogTimeout }).failover
        .detectionMs;
    assert.equal(detection({}), 20_000);
    assert.equal(detection({ ttl: 60, loop_wait: 5 }), 55_000);
    assert.equal(detection({}, '15s'), 5000);
    assert.equal(detection({}, '300s'), 20_000);
    assert.equal(detection({ ttl: 5, loop_wait: 10 }), 0);
    assert.equal(detection({ ttl: 'soon' }), undefined);
  });

  it('says in which modes Patroni decides', () => {
    const { failover } = viewOf(
      gathered({ a: {}, b: {} }, { dynamic: { synchronous_mode: 'on', failsafe_mode: true } }),
      {},
    );
    assert.match(failover.said, /lives 30 s and is renewed every 10 s; synchronous_mode; failsafe_mode$/);
  });

  it('is held off only where every member that answers has seen the pause', () => {
    const dynamic = { pause: true, [markerKey]: 'stillpoint:r' };
    const heldOff = (second: boolean, listed = true): boolean | undefined => {
      const all = gathered(
        { a: { status: { pause: true } }, b: { status: second ? { pause: true } : {} } },
        { dynamic },
      );
      const cluster = all.cluster === undefined ? undefined : { ...all.cluster, pause: listed };
      return viewOf({ ...all, cluster }, {}).failover.heldOff;
    };
    assert.deepEqual([heldOff(true), heldOff(false), heldOff(true, false)], [true, false, false]);
  });

  it('says what is planned or left', () => {
    const cluster = parseCluster({ members: [], scheduled_switchover: { at: '2026-12-01T00:00:00+00:00' } });
    assert.deepEqual(checks(viewOf(gathered({ a: {}, b: {} }, { cluster }), {})), ['error switchover']);
    const left = viewOf(gathered({ a: {}, b: {} }, { dynamic: { [markerKey]: 'stillpoint:r' } }), {});
    assert.deepEqual(checks(left), ['info pause']);
    const paused = viewOf(gathered({ a: {}, b: {} }, { dynamic: { pause: true } }), {});
    assert.deepEqual(checks(paused), ['warning pause']);
    assert.deepEqual(checks(viewOf(gathered({ a: {}, b: {} }, { cluster: undefined }), {})), ['error cluster']);
  });
});
