import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ClusterView } from '../../../model/cluster.ts';
import { Told, viewOf, type ViewSettings } from './view.ts';
import type { Report } from './way.ts';

const settings: ViewSettings = {
  group: 'failover1',
  mirrors: { md1: { monitor: 'mdw1' } },
  servers: ['server1', 'server2'],
  heartbeatTimeout: '30s',
  watchers: {},
  failover: 'automatic',
};

const both = (one: string, two = one): ReadonlyMap<string, string> =>
  new Map([
    ['server1', one],
    ['server2', two],
  ]);

const well: Report = {
  cluster: 'c',
  servers: both('Online'),
  parts: new Map(),
  groups: new Map([['failover1', { status: 'Online', current: 'server1' }]]),
  monitors: new Map([['mdw1', both('Online')]]),
  mirrors: new Map([['md1', { status: 'Normal', colours: both('GREEN') }]]),
  ratio: 1,
};

/** As server1 and server2 tell it. */
function view(one: Partial<Report>, two: Partial<Report> = one, more: Partial<ViewSettings> = {}): ClusterView {
  const heard = [
    { server: 'server1', report: { ...well, ...one } },
    { server: 'server2', report: { ...well, ...two } },
  ];
  return viewOf(new Told(heard), { ...settings, ...more });
}

const mirror = (status: string, one: string, two: string): Partial<Report> => ({
  mirrors: new Map([['md1', { status, colours: both(one, two) }]]),
});

const healths = ({ members }: ClusterView): readonly string[] => members.map(({ health }) => health);
const caughtUp = ({ members }: ClusterView): boolean | undefined => members[1]?.transfer?.caughtUp;

describe('what servers told, held against each other', () => {
  it('is healthy only for words that mean it', () => {
    assert.deepEqual(healths(view({})), ['healthy', 'healthy']);
    const servers: Readonly<Record<string, string>> = {
      Offline: 'down',
      Caution: 'trouble',
      'Online Pending': 'trouble',
      'Offline Failure': 'trouble',
      Unknown: 'unknown',
      オンライン: 'unknown',
    };
    for (const [word, health] of Object.entries(servers))
      assert.deepEqual(healths(view({ servers: both('Online', word) })), ['healthy', health], word);
    const colours: Readonly<Record<string, string>> = {
      YELLOW: 'trouble',
      RED: 'trouble',
      BLUE: 'trouble',
      GRAY: 'unknown',
      PINK: 'unknown',
    };
    for (const [colour, health] of Object.entries(colours))
      assert.deepEqual(healths(view(mirror('Abnormal', 'GREEN', colour))), ['healthy', health], colour);
    assert.deepEqual(healths(view({ mirrors: new Map() })), ['unknown', 'unknown']);
    const pending = new Map([['failover1', { status: 'Offline Pending', current: 'server1' }]]);
    assert.deepEqual(healths(view({ groups: pending })), ['trouble', 'healthy']);
  });

  it('is caught up only when the mirror is whole by every sign', () => {
    assert.equal(caughtUp(view({})), true);
    assert.equal(caughtUp(view(mirror('Normal', 'GREEN', 'RED'))), false);
    assert.equal(caughtUp(view(mirror('Recovering', 'GREEN', 'GREEN'))), false);
    assert.equal(caughtUp(view(mirror('Uncertain', 'GREEN', 'GREEN'))), undefined);
    assert.equal(caughtUp(view(mirror('Normal', 'GREEN', 'GRAY'))), undefined);
    assert.equal(caughtUp(view({}, mirror('Recovering', 'YELLOW', 'YELLOW'))), undefined, 'they say two things');
    assert.equal(caughtUp(view({ mirrors: new Map() })), undefined);
    const two = { md1: { monitor: 'mdw1' }, md2: { monitor: 'mdw2' } };
    assert.equal(caughtUp(view({}, {}, { mirrors: two })), undefined);
  });

  it('takes two different words for none', () => {
    const odd = view({}, { servers: both('Online', 'Offline') });
    assert.deepEqual(healths(odd), ['healthy', 'unknown']);
    assert.match(odd.members[1]?.reported ?? '', /server Online or Offline/);
    assert.equal(odd.members[1]?.mayTakeOver, true);
    assert.equal(view({ ratio: 3 }, { ratio: 5 }).failover.detectionMs, 30_000, 'the shortest that it can be');
    assert.equal(view({ ratio: 3 }).failover.detectionMs, 90_000);
    assert.equal(view({ ratio: undefined }).failover.detectionMs, 30_000);
  });

  it('is refused for another cluster, a server that it has not, and a group that is on two', () => {
    assert.throws(() => view({}, { cluster: 'd' }), { code: 'cluster-unknown', message: /several clusters: c or d/ });
    assert.throws(() => view({}, {}, { servers: ['server1', 'db2'] }), {
      code: 'cluster-unknown',
      message: /no server db2/,
    });
    const elsewhere = new Map([['failover1', { status: 'Online', current: 'server2' }]]);
    assert.throws(() => view({}, { groups: elsewhere }), { code: 'cluster-unknown', message: /contradict/ });
    const heard = [
      { server: 'server1', why: 'a' },
      { server: 'server2', why: 'b' },
    ];
    assert.throws(() => new Told(heard), { code: 'cluster-unknown', message: /server1: a; server2: b/ });
  });

  it('says what keeps whom from what', () => {
    assert.equal(view({}, {}, { failover: 'manual' }).failover.automatic, false);
    assert.equal(view({}, {}, { failover: 'manual' }).members[1]?.mayTakeOver, false);
    const holdOff = { monitors: ['psqlw1'], ratio: { factor: 40, time: '20m' } };
    const monitors = (one: string, two: string) => new Map([['psqlw1', both(one, two)]]);
    const held = (report: Partial<Report>): boolean | undefined => view(report, report, { holdOff }).failover.heldOff;
    assert.equal(held({ ratio: 40, monitors: monitors('Suspend', 'Offline') }), true);
    assert.equal(held({ ratio: 50, monitors: monitors('Suspend', 'Suspend') }), true);
    assert.equal(held({ ratio: 39, monitors: monitors('Suspend', 'Offline') }), false);
    assert.equal(held({ ratio: undefined, monitors: monitors('Suspend', 'Offline') }), false);
    assert.equal(held({ ratio: 40, monitors: monitors('Suspend', 'Online') }), false);
    assert.equal(held({ ratio: 40, monitors: monitors('Offline', 'Offline') }), false, 'it may come up');
    assert.equal(held({ ratio: 40 }), false);
  });
});
