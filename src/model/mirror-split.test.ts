import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  nextAct,
  nextRestoreAct,
  type RestoreWanted,
  type ServerSeen,
  type SplitAct,
  type SplitSeen,
  type SplitWanted,
} from './mirror-split.ts';

const well: ServerSeen = {
  machine: 'running',
  attached: { volume: 'vol-1', state: 'attached' },
  answers: true,
  bootId: 'a',
  services: 'running',
  startup: 'automatic',
  word: 'Online',
  colour: 'GREEN',
  suspended: [],
};
const off: Partial<ServerSeen> = { machine: 'stopped', answers: false, services: 'unknown', startup: 'unknown' };
const wanted: SplitWanted = {
  active: 'one',
  standby: 'two',
  monitors: [
    { monitor: 'mdw1', server: 'one' },
    { monitor: 'mdw1', server: 'two' },
  ],
  cut: 'no',
  groupIsOurs: true,
  groupRefused: false,
  recoveryRefused: false,
  idleMs: 0,
  autoRecoveryMs: 1000,
};

interface Change {
  readonly one?: Partial<ServerSeen>;
  readonly two?: Partial<ServerSeen>;
  readonly group?: SplitSeen['group'];
  readonly mirror?: string;
}

const online: SplitSeen['group'] = { status: 'online', on: 'one' };
const offline: SplitSeen['group'] = { status: 'offline', on: null };

function seen({ one = {}, two = {}, group = online, mirror = 'Normal' }: Change): SplitSeen {
  return { servers: { one: { ...well, ...one }, two: { ...well, ...two } }, group, mirror };
}

/** `do`, and what it is about. */
function short(act: SplitAct): string {
  if (act.do === 'wait') return `wait ${act.for}`;
  return 'server' in act ? `${act.do} ${act.server}` : act.do;
}

const broken: Change = { mirror: 'Abnormal', two: { colour: 'RED' } };

describe('the next act of a backup', () => {
  const rows: readonly (readonly [string, Change, Partial<SplitWanted>, string])[] = [
    ['all is as before', {}, {}, 'done'],
    ['the standby stops', { two: { ...off, machine: 'stopping' } }, {}, 'wait off'],
    ['the standby starts', { two: { ...off, machine: 'pending' } }, {}, 'wait boot'],
    ['the standby runs without its system', { two: { ...off, machine: 'running' } }, {}, 'wait boot'],
    ['the standby is off', { two: off }, {}, 'start-machine two'],
    ['the standby is off and to be cut', { two: off }, { cut: 'wanted' }, 'cut'],
    ['the standby was told to leave', { two: { services: 'stopped' } }, { cut: 'wanted' }, 'wait off'],
    ['its machine is not known', { two: { machine: 'unknown' } }, {}, 'wait answer'],
    ['it was told not to start by itself', { two: { services: 'stopped', startup: 'manual' } }, {}, 'post two'],
    ['nobody knows whether it starts', { two: { services: 'stopped', startup: 'unknown' } }, {}, 'post two'],
    ['it starts by itself', { two: { services: 'stopped' } }, {}, 'wait service'],
    ['it does not tell', { two: { services: 'unknown' } }, {}, 'wait service'],
    ['the flag is set and it is still on', { ...broken, two: { startup: 'manual' } }, {}, 'stop-machine two'],
    ['a flag that nobody sees', broken, { recoveryRefused: true }, 'stop-machine two'],
    ['a monitor of ours', { one: { suspended: ['mdw1'] } }, {}, 'resume one'],
    ['a monitor of somebody else', { one: { suspended: ['other'] } }, {}, 'done'],
    ['ours, and not whole', { ...broken, two: { suspended: ['mdw1'], colour: 'RED' } }, {}, 'resume two'],
    ['the group is stopped by us', { group: offline }, {}, 'start-group one'],
    ['and a monitor is suspended', { group: offline, one: { suspended: ['mdw1'] } }, {}, 'start-group one'],
    ['the group is stopped by us, on RED', { group: offline, one: { colour: 'RED' }, mirror: 'x' }, {}, 'wait whole'],
    ['the group does not start', { ...broken, group: offline }, { groupRefused: true }, 'wait whole'],
    ['the group does not start, all whole', { group: offline }, { groupRefused: true }, 'alarm'],
    ['the group is stopped by others', { group: offline }, { groupIsOurs: false }, 'done'],
    ['the group is not known', { group: { status: 'unknown', on: null } }, {}, 'wait group'],
    ['the group is elsewhere', { group: { status: 'online', on: 'two' } }, {}, 'done'],
    ['the mirror recovers', { ...broken, mirror: 'Recovering' }, { idleMs: 5000 }, 'wait whole'],
    ['the mirror is broken', broken, {}, 'wait whole'],
    ['the mirror stays broken', broken, { idleMs: 1000 }, 'recover-mirror'],
    ['Normal without its colours', { two: { colour: 'unknown' } }, { idleMs: 1000 }, 'wait whole'],
    ['two copies are the newer one', { mirror: 'Uncertain' }, {}, 'alarm'],
    ['two copies were never one', { mirror: 'No Construction' }, {}, 'alarm'],
    ['the active is off', { one: off }, {}, 'alarm'],
    ['the active goes off', { one: { machine: 'stopping' } }, {}, 'alarm'],
    ['the active starts', { one: { machine: 'pending' } }, {}, 'alarm'],
    ['the active is given up', { one: { answers: false, services: 'unknown', word: 'Offline' } }, {}, 'alarm'],
    ['the active is out of the cluster', { one: { services: 'stopped' } }, {}, 'alarm'],
    ['the active is silent', { one: { answers: false, services: 'unknown' } }, {}, 'wait answer'],
    ['the active does not tell', { one: { services: 'unknown' } }, {}, 'wait answer'],
    ["the active's machine is not known", { one: { machine: 'unknown' } }, {}, 'wait answer'],
  ];
  for (const [name, change, more, act] of rows) {
    it(`${name}: ${act}`, () => assert.equal(short(nextAct(seen(change), { ...wanted, ...more })), act));
  }

  it('waits for servers that nobody told of', () => {
    assert.equal(short(nextAct({ ...seen({}), servers: { one: well } }, wanted)), 'wait answer');
    assert.equal(short(nextAct({ ...seen({}), servers: { two: well } }, wanted)), 'wait answer');
  });
});

describe('the next act of a backup, in every state', () => {
  const machines: readonly ServerSeen['machine'][] = ['pending', 'running', 'stopping', 'stopped', 'unknown'];
  const three = ['running', 'stopped', 'unknown'] as const;
  function* servers(): Generator<ServerSeen> {
    for (const machine of machines)
      for (const answers of [true, false])
        for (const services of three)
          for (const startup of ['automatic', 'manual', 'unknown'] as const)
            for (const colour of ['GREEN', 'YELLOW', 'RED', 'unknown'])
              for (const suspended of [[], ['mdw1'], ['other']])
                yield { ...well, machine, answers, services, startup, colour, suspended };
  }
  const actives = [
    well,
    ...[off, { colour: 'RED' }, { suspended: ['mdw1', 'other'] }].map((other) => ({ ...well, ...other })),
  ];
  const groups: readonly SplitSeen['group'][] = [online, offline, { status: 'online', on: 'two' }];

  function each(check: (now: SplitSeen, what: SplitWanted, act: SplitAct) => void): number {
    let count = 0;
    for (const one of actives)
      for (const two of servers())
        for (const group of groups)
          for (const mirror of ['Normal', 'Recovering', 'Abnormal', 'Uncertain', 'unknown'])
            for (const cut of ['wanted', 'no'] as const) {
              const now = { servers: { one, two }, group, mirror };
              const what = { ...wanted, cut, groupIsOurs: count % 2 === 0, idleMs: count % 3 === 0 ? 1000 : 0 };
              check(now, what, nextAct(now, what));
              count += 1;
            }
    return count;
  }

  it('starts the group only where it was, when we stopped it, on a GREEN side', () => {
    const count = each(({ servers: all, group }, { groupIsOurs }, act) => {
      if (act.do !== 'start-group') return;
      assert.equal(act.server, 'one');
      assert.deepEqual([all['one']?.colour, group.status, groupIsOurs], ['GREEN', 'offline', true]);
    });
    assert.ok(count > 100_000, String(count));
  });

  it('resumes only what runs suspended and was ours', () => {
    each(({ servers: all }, _, act) => {
      if (act.do !== 'resume') return;
      assert.equal(act.monitor, 'mdw1');
      assert.ok(all[act.server]?.suspended.includes('mdw1'));
    });
  });

  it('never touches the machine of the active server, and cuts only one that is off', () => {
    each(({ servers: all }, { cut }, act) => {
      if (act.do === 'start-machine' || act.do === 'stop-machine' || act.do === 'post') assert.equal(act.server, 'two');
      if (act.do === 'cut') assert.deepEqual([all['two']?.machine, cut], ['stopped', 'wanted']);
      assert.ok(act.do !== 'attach' && act.do !== 'detach');
    });
  });

  it('is done only when both copies are whole and no monitor of ours is suspended', () => {
    each(({ servers: all, mirror, group }, { groupIsOurs }, act) => {
      if (act.do !== 'done') return;
      assert.equal(mirror, 'Normal');
      assert.ok(Object.values(all).every((server) => server.colour === 'GREEN' && !server.suspended.includes('mdw1')));
      assert.ok(group.status === 'online' || !groupIsOurs);
    });
  });
});

const pair: RestoreWanted = {
  ...{ active: 'one', standby: 'two', monitors: wanted.monitors, groupIsOurs: true, groupRefused: false },
  ...{ disks: { one: 'new-1', two: 'new-2' }, known: ['new-1', 'new-2', 'old-1', 'old-2'] },
  ...{ idleMs: 0, autoRecoveryMs: 1000, named: ['one', 'two'], taken: [] },
};
const has = (volume: string, state = 'attached'): Partial<ServerSeen> => ({ attached: { volume, state } });
const outside: Partial<ServerSeen> = { services: 'stopped', startup: 'manual' };
const in1 = has('new-1');
const in2 = has('new-2');

describe('the next act of a restore', () => {
  const rows: readonly (readonly [string, Change, Partial<RestoreWanted>, string])[] = [
    [
      'the old disk is there, off',
      { one: { ...off, ...has('old-1') }, two: { ...off, ...has('old-2') } },
      {},
      'detach two',
    ],
    ['one is out', { one: { ...off, ...has('old-1') }, two: { ...off, attached: null } }, {}, 'attach two'],
    ['the new one is there', { one: { ...off, ...has('old-1') }, two: { ...off, ...in2 } }, {}, 'detach one'],
    ['it goes out', { one: { ...off, ...in1 }, two: { ...off, ...has('old-2', 'detaching') } }, {}, 'wait attach'],
    ['it comes in', { one: { ...off, ...in1 }, two: { ...off, ...has('new-2', 'attaching') } }, {}, 'wait attach'],
    ['a disk of others', { one: { ...off, ...in1 }, two: { ...off, ...has('vol-9') } }, {}, 'alarm'],
    ['it still runs', { one: { ...off, ...in1 }, two: has('old-2') }, {}, 'stop-machine two'],
    ['it starts', { one: in1, two: { ...has('old-2'), machine: 'pending' } }, {}, 'stop-machine two'],
    ['it goes off', { one: in1, two: { ...has('old-2'), machine: 'stopping' } }, {}, 'wait off'],
    ['its disks are not known', { one: in1, two: { attached: undefined } }, {}, 'wait answer'],
    ['its machine is not known', { one: in1, two: { ...in2, machine: 'unknown' } }, {}, 'wait answer'],
    ['both are off', { one: { ...off, ...in1 }, two: { ...off, ...in2 } }, {}, 'start-machine two'],
    ['one is off', { one: { ...off, ...in1 }, two: { ...outside, ...in2 } }, {}, 'start-machine one'],
    ['one goes off', { one: { ...off, ...in1, machine: 'stopping' }, two: { ...outside, ...in2 } }, {}, 'wait off'],
    ['one boots', { one: { ...off, ...in1, machine: 'pending' }, two: { ...outside, ...in2 } }, {}, 'wait boot'],
    [
      'one has no system yet',
      { one: { ...off, ...in1, machine: 'running' }, two: { ...outside, ...in2 } },
      {},
      'wait boot',
    ],
    ['it was told to leave and did not', { one: in1, two: { ...in2, startup: 'manual' } }, {}, 'stop-machine two'],
    ['both are ready', { one: { ...outside, ...in1 }, two: { ...outside, ...in2 } }, {}, 'post two'],
    [
      'its names have changed',
      { one: { ...outside, ...in1 }, two: { ...outside, ...in2 } },
      { named: ['one'] },
      'alarm',
    ],
    [
      'the standby is taken in and boots',
      { one: { ...outside, ...in1 }, two: { ...off, ...in2, machine: 'running' } },
      { taken: ['two'] },
      'post one',
    ],
    ['it comes', { one: in1, two: { ...in2, services: 'stopped' } }, { taken: ['two'] }, 'wait service'],
    ['both are in, the group is not', { one: in1, two: in2, group: offline }, {}, 'start-group one'],
    ['both are in', { one: in1, two: in2 }, {}, 'done'],
    ['both are in and differ', { one: in1, two: { ...in2, colour: 'RED' }, mirror: 'Abnormal' }, {}, 'wait whole'],
    ['and stay so', { one: in1, two: { ...in2, colour: 'RED' }, mirror: 'Abnormal' }, { idleMs: 1000 }, 'alarm'],
  ];
  for (const [name, change, more, act] of rows) {
    it(`${name}: ${act}`, () => assert.equal(short(nextRestoreAct(seen(change), { ...pair, ...more })), act));
  }

  it('waits for a server that nobody told of, or that has no disk to come', () => {
    assert.equal(short(nextRestoreAct({ ...seen({}), servers: {} }, pair)), 'wait answer');
    assert.equal(short(nextRestoreAct(seen({ one: in1, two: in2 }), { ...pair, disks: {} })), 'wait answer');
  });

  it('starts nothing of the cluster on a server whose partitions are not at their names', () => {
    const one = { ...outside, ...in1 };
    for (const two of [{ ...outside, ...in2 }, { ...off, ...in2 }, in2])
      assert.ok(!short(nextRestoreAct(seen({ one, two }), { ...pair, named: [] })).startsWith('post'));
  });
});
