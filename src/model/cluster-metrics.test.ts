import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterMetrics, prometheusText, type Measured } from './cluster-metrics.ts';
import type { ClusterMember, ClusterView } from './cluster.ts';

const member = (name: string, more: Partial<ClusterMember> = {}): ClusterMember => ({
  ...{ name, role: 'replica', health: 'healthy', reported: '', mayTakeOver: true, findings: [] },
  ...more,
});
const view: ClusterView = {
  ...{ manager: 'm', name: 'pair', epoch: '1', findings: [] },
  members: [
    member('a', { role: 'primary', mayTakeOver: false, leadsQuorum: false }),
    member('b', { transfer: { ms: 1500, bytes: 300, caughtUp: undefined }, apply: { caughtUp: false } }),
  ],
  quorum: { kind: 'arbiter', health: 'unknown', said: '' },
  failover: { automatic: true, detectionMs: 8000, heldOff: false, said: '' },
};
const measured = (more: Partial<Measured> = {}): Measured => ({
  ...{ workload: 'orders', viewedAtMs: 1_700_000_000_500, view, disks: [], alarms: [] },
  ...more,
});
/** Without the workload, which all have. */
const figures = (more: Partial<Measured> = {}): readonly string[] =>
  clusterMetrics(measured(more)).map(({ name, labels: { workload, ...labels }, value, unit }) => {
    assert.equal(workload, 'orders');
    return [name.replace('stillpoint_cluster_', ''), ...Object.values(labels), value, unit].join(' ');
  });

describe('metrics of a cluster', () => {
  it('are all that is known, in seconds and bytes', () => {
    const disks = [
      { member: 'a', path: '/jrn', freeBytes: 4096, fullInMs: 7_200_000 },
      { member: 'a', path: '/data', freeBytes: 1 },
    ];
    assert.deepEqual(figures({ disks, alarms: [{ code: 'no-primary', severity: 'error', said: '' }] }), [
      'up 1 state',
      'view_timestamp_seconds 1700000000.5 time',
      'alarms warning 0 count',
      'alarms error 1 count',
      'member_health a 3 state',
      'member_role a primary 1 state',
      'member_may_take_over a 0 state',
      'member_leads_quorum a 0 state',
      'member_health b 3 state',
      'member_role b replica 1 state',
      'member_may_take_over b 1 state',
      'member_transfer_lag_seconds b 1.5 seconds',
      'member_transfer_lag_bytes b 300 bytes',
      'member_apply_caught_up b 0 state',
      'primaries 1 count',
      'failover_automatic 1 state',
      'failover_held_off 0 state',
      'failover_detection_seconds 8 seconds',
      'failover_margin_seconds 3.75 seconds',
      'quorum_health arbiter 1 state',
      'journal_disk_free_bytes a /jrn 4096 bytes',
      'journal_disk_full_seconds a /jrn 7200 seconds',
      'journal_disk_free_bytes a /data 1 bytes',
    ]);
  });

  it('have no figure for what is not known, and none of before where there is no view', () => {
    const person: ClusterView = {
      ...view,
      members: [member('b', { health: 'down', role: 'unknown' })],
      quorum: { kind: 'none', health: 'unknown', said: '' },
      failover: { automatic: false, said: '' },
    };
    assert.deepEqual(figures({ view: person }).slice(4), [
      'member_health b 0 state',
      'member_role b unknown 1 state',
      'member_may_take_over b 1 state',
      'primaries 0 count',
      'failover_automatic 0 state',
    ]);
    const disks = [{ member: 'a', path: '/jrn', freeBytes: 4096 }];
    const none = ['up 0 state', 'view_timestamp_seconds 0 time', 'alarms warning 0 count', 'alarms error 0 count'];
    assert.deepEqual(figures({ view: undefined, viewedAtMs: undefined, disks }), none);
    assert.match(figures({ view: undefined })[1] ?? '', /1700000000\.5/, 'the time of the last one stays');
  });
});

describe('the text format', () => {
  it('has one help and one type for each name, with its metrics right behind', () => {
    const text = prometheusText(clusterMetrics(measured()));
    const names = text
      .trimEnd()
      .split('\n')
      .map((line) => /^(?:# (?:HELP|TYPE) )?([a-z_]+)/.exec(line)?.[1] ?? line);
    const runs = names.filter((name, at) => name !== names[at - 1]);
    assert.deepEqual(runs, [...new Set(names)]);
    for (const name of runs) {
      assert.match(text, new RegExp(`^# HELP ${name} \\S.*\\n# TYPE ${name} gauge\\n${name}\\{`, 'm'));
    }
    assert.ok(text.endsWith('\n'));
    assert.match(text, /^stillpoint_cluster_member_health\{workload="orders",member="b"\} 3$/m);
  });

  it('escapes what would end a label or a line', () => {
    const metric = {
      name: 'x',
      unit: 'count',
      help: 'a \\ b\nc',
      labels: { path: 'C:\\"d"\ne' },
      value: 1e21,
    } as const;
    const lines = String.raw`# HELP x a \\ b\nc
# TYPE x gauge
x{path="C:\\\"d\"\ne"} 1e+21
`;
    assert.equal(prometheusText([metric]), lines);
    assert.equal(prometheusText([]), '\n');
  });
});
