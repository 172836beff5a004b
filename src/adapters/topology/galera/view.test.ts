import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { memberOf } from '../../../model/cluster.ts';
import { codeOf } from '../../../model/errors.ts';
import type { Answered, Seen } from './component.ts';
import type { Facts, Options } from './parse.ts';
import { viewOf } from './view.ts';

const options: Options = {
  suspectMs: 5000,
  inactiveMs: 15_000,
  autoEvict: 0,
  delayMarginMs: 1000,
  weight: 1,
  ignoresQuorum: false,
};

const facts: Facts = {
  on: true,
  cluster: 'trio',
  options,
  refusesWrites: false,
  component: 'Primary',
  stateUuid: 'f63bbeb7',
  configuration: '3',
  size: 3,
  weight: 3,
  connected: true,
  ready: true,
  state: 'Synced',
  incarnation: '',
  committed: 6,
  queue: 0,
  paused: 0,
  pausedNow: false,
  asksForPause: false,
  desyncs: 0,
  evicted: '',
};

const names = ['db1', 'db2', 'db3'];

function inside(name: string, more: Partial<Facts> = {}): Answered {
  return { name, facts: { ...facts, incarnation: name, ...more } };
}

function dead(name: string): Seen {
  return { name, refused: 'silent', said: 'no answer' };
}

function refusal(seen: readonly Seen[]): string {
  try {
    viewOf(seen, names);
    return 'none';
  } catch (cause) {
    assert.equal(codeOf(cause), 'cluster-unknown');
    return String(cause);
  }
}

function checks(seen: readonly Seen[], name?: string): readonly string[] {
  const view = viewOf(seen, names);
  const of = name === undefined ? view : memberOf(view, name);
  return (of?.findings ?? []).map(({ severity, check }) => `${severity} ${check}`);
}

describe('members that contradict each other', () => {
  it('are of no one cluster', () => {
    assert.match(refusal([inside('db1'), inside('db2', { stateUuid: 'other' })]), /different components \(stateUuid/);
    assert.match(refusal([inside('db1'), inside('db2', { configuration: '4' })]), /\(configuration 3 and 4\)/);
    assert.match(refusal([inside('db1'), inside('db2', { cluster: 'duo' })]), /\(cluster trio and duo\)/);
    assert.match(refusal([inside('db1'), inside('db2', { incarnation: 'db1' })]), /one and the same server/);
  });

  it('are two halves with one number', () => {
    const half = { size: 1, weight: 1 };
    assert.match(
      refusal([inside('db1', half), inside('db2', half)]),
      /db1, db2 are 2 members, and each one knows of 1/,
    );
  });

  it('do not, where one of them knows that it is outside', () => {
    const outside = inside('db3', { component: 'non-Primary', configuration: '18446744073709551615', ready: false });
    const view = viewOf([inside('db1'), inside('db2'), outside], names);
    assert.deepEqual([memberOf(view, 'db3')?.role, memberOf(view, 'db3')?.health], ['unknown', 'trouble']);
  });
});

describe('votes', () => {
  const leaders = (seen: readonly Seen[]): readonly string[] =>
    viewOf(seen, names).members.flatMap(({ name, leadsQuorum }) => (leadsQuorum === true ? [name] : []));

  it('go on without any one of three', () => {
    assert.deepEqual(leaders(names.map((name) => inside(name))), []);
  });

  it('do not go on without one of two, but with an arbitrator beside them', () => {
    assert.deepEqual(leaders([inside('db1', { size: 2, weight: 2 }), inside('db2', { size: 2, weight: 2 })]), [
      'db1',
      'db2',
    ]);
    assert.deepEqual(leaders([inside('db1'), inside('db2')]), []);
  });

  it('need the one that has most of them', () => {
    const heavy = { weight: 4 };
    const seen = [
      inside('db1', { ...heavy, options: { ...options, weight: 2 } }),
      inside('db2', heavy),
      inside('db3', heavy),
    ];
    assert.deepEqual(leaders(seen), ['db1']);
  });

  it('of a member that does not answer are not counted', () => {
    assert.deepEqual(leaders([inside('db1'), inside('db2'), dead('db3')]), ['db1', 'db2']);
  });

  it('are no safety where they are ignored', () => {
    const ignores = { options: { ...options, ignoresQuorum: true } };
    assert.ok(checks(names.map((name) => inside(name, ignores))).includes('error quorum'));
  });
});

describe('detection', () => {
  const detection = (...all: readonly Options[]): number | undefined =>
    viewOf(
      all.map((each, index) => inside(names[index] ?? '', { options: each })),
      names,
    ).failover.detectionMs;

  it('is the shortest time that any member knows', () => {
    assert.equal(detection(options, { ...options, suspectMs: 3000 }), 3000);
    assert.equal(detection(options, { ...options, inactiveMs: 2000 }), 2000);
    assert.equal(detection(options, { ...options, autoEvict: 5 }), 1000);
  });

  it('is not known where one member does not tell', () => {
    assert.equal(detection(options, { ...options, suspectMs: undefined }), undefined);
  });
});

describe('findings', () => {
  it('tell who makes the others wait, and who waits', () => {
    const slow = inside('db3', { asksForPause: true, queue: 20 });
    const seen = [inside('db1', { pausedNow: true, paused: 0.5 }), inside('db2'), slow];
    assert.deepEqual(checks(seen, 'db3'), ['warning flow-control']);
    assert.deepEqual(checks(seen, 'db1'), ['warning flow-control', 'warning paused']);
    assert.deepEqual(checks(seen, 'db2'), []);
  });

  it('tell who is shut out for good', () => {
    const strict = { options: { ...options, autoEvict: 5 }, evicted: 'f74e73c8' };
    const found = checks([inside('db1', strict), inside('db2'), inside('db3')]);
    assert.deepEqual(found, ['info configuration', 'warning auto-evict', 'error evicted']);
  });

  it('tell that no configured writer takes writes', () => {
    const closed = { refusesWrites: true };
    const seen = names.map((name) => inside(name, closed));
    assert.ok(checks(seen).includes('error primary'));
    assert.equal(viewOf(seen, names).epoch, 'nobody');
  });

  it('tell that the primary component has members that nobody sees', () => {
    assert.ok(checks([inside('db1'), inside('db2')]).includes('info members'));
  });
});
