import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StillpointError } from '../model/errors.ts';
import type { Point } from '../model/point.ts';
import type { ShippedJournal } from '../model/journal.ts';
import { among, recoveryOf } from './select.ts';

/** Only what the choice looks at. */
function point(id: string, cutAt: string): Point {
  return { id, cutAt, workload: 'orders' } as Point;
}

const newestFirst = [
  point('c', '2026-01-03T12:00:00.700Z'),
  point('b', '2026-01-02T12:00:00.500Z'),
  point('a', '2026-01-01T12:00:00.300Z'),
];

function refusal(to: string, points: readonly Point[] = newestFirst): StillpointError {
  try {
    among('orders', points, to);
  } catch (error) {
    if (error instanceof StillpointError) return error;
    throw error;
  }
  assert.fail(`${to} was accepted`);
}

it('takes the newest point when nothing else is asked for', () => {
  assert.equal(among('orders', newestFirst, undefined).id, 'c');
  assert.equal(among('orders', newestFirst, 'latest').id, 'c');
});

it('takes a time to be as exact as it is written', () => {
  assert.equal(among('orders', newestFirst, '2026-01-02T12:00:00.500Z').id, 'b');
  assert.equal(among('orders', newestFirst, '2026-01-02T12:00:00Z').id, 'b');
  assert.equal(among('orders', newestFirst, '2026-01-02 12:00:00 +00:00').id, 'b');
  assert.equal(among('orders', newestFirst, '2026-01-02T12:00Z').id, 'b');
  assert.equal(refusal('2026-01-02T12:00:00.501Z').code, 'no-point');
});

it('names the points around a time that no point shows', () => {
  assert.deepEqual(refusal('2026-01-02T18:00:00Z').details, { before: 'b', after: 'c' });
  assert.deepEqual(refusal('2026-01-09T00:00:00Z').details, { before: 'c', after: null });
  const early = refusal('2025-01-01T00:00:00Z');
  assert.deepEqual(early.details, { before: null, after: 'a' });
  assert.match(early.hint ?? '', /stillpoint restore a/);
});

it('does not choose between two points of the same written time', () => {
  const twins = [point('y', '2026-01-01T12:00:00.900Z'), point('x', '2026-01-01T12:00:00.100Z')];
  assert.match(refusal('2026-01-01T12:00:00Z', twins).message, /2 points/);
});

it('tells positions, rubbish and an empty workload apart', () => {
  assert.equal(refusal('0/3004918').code, 'no-point');
  assert.equal(refusal('yesterday').code, 'usage');
  assert.equal(refusal('2026-13-45').code, 'usage');
  assert.match(refusal('latest', []).hint ?? '', /stillpoint backup orders/);
});

/** Rolled forward from the second at which it was cut. */
const started = newestFirst.map((each) => ({
  ...each,
  identity: 'this',
  starts: [{ part: '', file: `j${each.cutAt.slice(8, 10)}`, position: each.cutAt }],
}));

function journal(day: number, to: string): ShippedJournal {
  const name = `j0${day}`;
  return {
    part: '',
    name,
    path: `/j/${name}`,
    begin: name,
    end: `j0${day + 1}`,
    beganAt: `2026-01-0${day}T00:00:00Z`,
    endedAt: to,
    coversTo: to,
    bytes: 1,
    workload: 'orders',
    identity: 'this',
    snapshot: 's',
    sha256: '',
  };
}

const journals = [
  journal(1, '2026-01-02T00:00:00Z'),
  journal(2, '2026-01-03T00:00:00Z'),
  journal(3, '2026-01-03T20:00:00Z'),
];

interface Asked {
  readonly to?: string;
  readonly point?: Point | undefined;
  readonly journals?: readonly ShippedJournal[];
}

function chosen(asked: Asked): readonly string[] {
  const plan = recoveryOf({
    workload: 'orders',
    point: asked.point,
    points: started,
    journals: asked.journals ?? journals,
    to: asked.to,
  });
  return [plan.point.id, ...plan.journals.map((file) => file.name)];
}

function refused(asked: Asked): StillpointError {
  try {
    chosen(asked);
  } catch (error) {
    if (error instanceof StillpointError) return error;
    throw error;
  }
  assert.fail(`${asked.to} was accepted`);
}

const [, b, a] = started;

describe('what --to means where journals were shipped', () => {
  it('takes the point as it is where nothing is asked for, or its very time', () => {
    assert.deepEqual(chosen({}), ['c']);
    assert.deepEqual(chosen({ point: b }), ['b']);
    assert.deepEqual(chosen({ to: '2026-01-02T12:00:00.500Z' }), ['b']);
    assert.deepEqual(chosen({ to: '2026-01-02T12:00:00.500Z', point: b }), ['b']);
  });

  it('rolls the newest point before a time forward to it', () => {
    assert.deepEqual(chosen({ to: '2026-01-02T18:00:00Z' }), ['b', 'j02']);
    assert.deepEqual(chosen({ to: '2026-01-03T18:00:00Z' }), ['c', 'j03']);
    assert.deepEqual(chosen({ to: '2026-01-02 18:00 +00:00' }), ['b', 'j02']);
  });

  it('takes a written second to its end', () => {
    const plan = recoveryOf({
      workload: 'orders',
      point: undefined,
      points: started,
      journals,
      to: '2026-01-02T18:00:00Z',
    });
    assert.deepEqual(plan.target, { kind: 'time', at: '2026-01-02T18:00:00.999Z' });
    assert.deepEqual(chosen({ to: '2026-01-02T12:00:00Z' }), ['b', 'j02'], 'the point of that second is in it');
    const exact = recoveryOf({
      workload: 'orders',
      point: undefined,
      points: started,
      journals,
      to: '2026-01-02T18:00:00.250Z',
    });
    assert.deepEqual(exact.target, { kind: 'time', at: '2026-01-02T18:00:00.250Z' });
  });

  it('knows the latest state and the names of files', () => {
    assert.deepEqual(chosen({ to: 'latest' }), ['c', 'j03']);
    assert.deepEqual(chosen({ to: 'j02' }), ['b', 'j02']);
    assert.deepEqual(chosen({ to: 'j02', point: a }), ['a', 'j01', 'j02']);
    assert.equal(refused({ to: 'j09' }).code, 'usage');
  });

  it('starts from the point that is named, also to the time of another', () => {
    assert.deepEqual(chosen({ to: '2026-01-03T18:00:00Z', point: a }), ['a', 'j01', 'j02', 'j03']);
    assert.deepEqual(chosen({ to: '2026-01-02T12:00:00.500Z', point: a }), ['a', 'j01', 'j02']);
    assert.deepEqual(chosen({ to: 'latest', point: b }), ['b', 'j02', 'j03']);
    assert.equal(refused({ to: '2026-01-01T18:00:00Z', point: b }).code, 'no-point');
  });

  it('refuses what no journal reaches', () => {
    const late = refused({ to: '2026-01-03T21:00:00Z' });
    assert.equal(late.code, 'journal-gap');
    assert.match(late.hint ?? '', /journal ship orders/);
    assert.equal(refused({ to: '0/3004918' }).code, 'no-point');
    const position = refused({ to: '0/3004918', point: b });
    assert.equal(position.code, 'journal-gap');
    assert.match(position.message, /0\/3004918 is no journal file/);
  });

  it('has whole points only where nothing was shipped', () => {
    const none = { journals: [] };
    assert.deepEqual(chosen({ ...none, to: 'latest' }), ['c']);
    assert.deepEqual(chosen({ ...none, to: 'latest', point: a }), ['a']);
    assert.deepEqual(chosen({ ...none, to: '2026-01-02T12:00:00Z' }), ['b']);
    assert.equal(refused({ ...none, to: '2026-01-02T18:00:00Z' }).code, 'no-point');
    const named = refused({ ...none, to: '2026-01-02T18:00:00Z', point: a });
    assert.equal(named.code, 'journal-gap');
    assert.match(named.message, /no journal of orders is in the repository/);
  });

  it('takes the levels below a point with it', () => {
    const chain = [
      {
        ...point('top', '2026-01-02T00:00:00Z'),
        method: 'online',
        level: 'incremental',
        parent: 'full',
        identity: 'this',
        marks: {},
      },
      {
        ...point('full', '2026-01-01T00:00:00Z'),
        method: 'online',
        level: 'full',
        parent: null,
        identity: 'this',
        marks: {},
      },
    ] as unknown as readonly Point[];
    const of = (points: readonly Point[], asked: Point | undefined, to?: string): string =>
      recoveryOf({ workload: 'orders', point: asked, points, journals: [], to }).base.id;
    assert.equal(of(chain, chain[0]), 'full');
    assert.equal(of(chain, undefined), 'full');
    assert.equal(of(chain, undefined, 'latest'), 'full');
    assert.equal(of(chain, chain[0], 'latest'), 'full');
    assert.throws(() => of(chain.slice(0, 1), undefined), { code: 'point-incomplete' });
  });
});
