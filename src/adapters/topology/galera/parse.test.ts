import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { codeOf } from '../../../model/errors.ts';
import { durationMs, parseCommitted, parseFacts, parseOptions, type Row } from './parse.ts';

/** As members of MariaDB 10.11.19 with Galera 26.4.23 gave them. */
const variables = {
  read_only: 'OFF',
  wsrep_cluster_name: 'trio',
  wsrep_on: 'ON',
  wsrep_provider_options:
    'base_host = 127.0.0.1; evs.auto_evict = 0; evs.delay_margin = PT1S; evs.inactive_timeout = PT15S; evs.suspect_timeout = PT5S; pc.ignore_quorum = false; pc.ignore_sb = false; pc.weight = 1; socket.recv_buf_size = auto; ',
  wsrep_reject_queries: 'NONE',
};

const synced = {
  wsrep_last_committed: '6',
  wsrep_local_recv_queue: '0',
  wsrep_flow_control_paused: '0.25',
  wsrep_flow_control_active: 'false',
  wsrep_flow_control_requested: 'false',
  wsrep_local_state_comment: 'Synced',
  wsrep_cluster_weight: '3',
  wsrep_desync_count: '0',
  wsrep_evs_evict_list: '',
  wsrep_gcomm_uuid: 'f74e73c8-e5d3-11f1-90e9-fff8cfe58ed3',
  wsrep_cluster_conf_id: '3',
  wsrep_cluster_size: '3',
  wsrep_cluster_state_uuid: 'f63bbeb7-e5d3-11f1-8bdd-57421d3599f0',
  wsrep_cluster_status: 'Primary',
  wsrep_connected: 'ON',
  wsrep_ready: 'ON',
};

/** After it failed to join: the provider has unloaded itself, and gives a few values only. */
const unloaded = {
  wsrep_last_committed: '-1',
  wsrep_local_state_comment: 'Initialized',
  wsrep_cluster_conf_id: '18446744073709551615',
  wsrep_cluster_size: '0',
  wsrep_cluster_status: 'Disconnected',
  wsrep_connected: 'OFF',
  wsrep_ready: 'OFF',
};

function rowsOf(values: Readonly<Record<string, string>>): readonly Row[] {
  return Object.entries(values).map(([name, value]) => ({ Variable_name: name, Value: value }));
}

describe('facts of a member', () => {
  it('reads one that is synced', () => {
    const facts = parseFacts(rowsOf(variables), rowsOf(synced));
    assert.deepEqual(
      [facts.on, facts.cluster, facts.component, facts.state, facts.configuration, facts.size, facts.weight],
      [true, 'trio', 'Primary', 'Synced', '3', 3, 3],
    );
    assert.deepEqual(
      [facts.connected, facts.ready, facts.committed, facts.paused, facts.pausedNow, facts.refusesWrites],
      [true, true, 6, 0.25, false, false],
    );
    assert.equal(facts.options.suspectMs, 5000);
  });

  it('reads one whose provider is gone, and a server without one', () => {
    const facts = parseFacts(rowsOf(variables), rowsOf(unloaded));
    assert.deepEqual(
      [facts.component, facts.connected, facts.committed, facts.incarnation],
      ['Disconnected', false, -1, ''],
    );
    const plain = parseFacts(rowsOf({ read_only: 'OFF' }), []);
    assert.deepEqual([plain.on, plain.component, plain.size], [false, 'none', 0]);
  });

  it('knows who may not be written to', () => {
    for (const more of [{ read_only: 'ON' }, { read_only: '1' }, { wsrep_reject_queries: 'ALL' }]) {
      assert.equal(parseFacts(rowsOf({ ...variables, ...more }), rowsOf(synced)).refusesWrites, true);
    }
    assert.equal(parseFacts(rowsOf({ ...variables, read_only: '0' }), rowsOf(synced)).refusesWrites, false);
  });

  it('takes every word for yes', () => {
    for (const value of ['ON', '1', 'true']) {
      const facts = parseFacts(rowsOf(variables), rowsOf({ ...synced, wsrep_flow_control_active: value }));
      assert.equal(facts.pausedNow, true, value);
    }
  });

  it('refuses what it does not understand', () => {
    const notUnderstood = (cause: unknown): boolean =>
      codeOf(cause) === 'command-failed' && /is not understood/.test(String(cause));
    assert.throws(() => parseFacts([], rowsOf(synced)), notUnderstood);
    assert.throws(() => parseCommitted(rowsOf({ wsrep_last_committed: 'many' })), notUnderstood);
    assert.equal(parseCommitted(rowsOf({ wsrep_last_committed: '9' })), 9);
  });
});

describe('options of the provider', () => {
  it('reads times, votes and what ignores them', () => {
    assert.deepEqual(parseOptions(variables.wsrep_provider_options), {
      suspectMs: 5000,
      inactiveMs: 15_000,
      autoEvict: 0,
      delayMarginMs: 1000,
      weight: 1,
      ignoresQuorum: false,
    });
    assert.deepEqual(parseOptions('evs.auto_evict=5;pc.weight=0;pc.ignore_sb=YES;alone'), {
      suspectMs: undefined,
      inactiveMs: undefined,
      autoEvict: 5,
      delayMarginMs: undefined,
      weight: 0,
      ignoresQuorum: true,
    });
    assert.equal(parseOptions('pc.ignore_quorum = 1').ignoresQuorum, true);
    assert.equal(parseOptions('').weight, 1);
  });

  it('reads durations, and takes what is none for unknown', () => {
    for (const [text, expected] of [
      ['PT5S', 5000],
      ['PT0.5S', 500],
      ['PT1M30S', 90_000],
      ['P1DT1H', 90_000_000],
      ['5', undefined],
      ['', undefined],
    ] as const) {
      assert.equal(durationMs(text), expected, text);
    }
  });
});
