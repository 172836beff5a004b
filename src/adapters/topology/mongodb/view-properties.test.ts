import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { arbiter, configOf, placesOf, refused, seat, told } from '../../../../test/doubles/mongodb/seen.ts';
import { chooseMember, type MemberPolicy } from '../../../model/choose-member.ts';
import type { ClusterView } from '../../../model/cluster.ts';
import { codeOf } from '../../../model/errors.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import type { Seen } from './members.ts';
import type { Seat } from './parse.ts';
import { viewOf } from './view.ts';

/** One member: what it is, and what it would say. State 8 in `beliefs`: it does not hear that one. */
interface Soul {
  readonly kind: 'data' | 'hidden' | 'delayed' | 'arbiter' | 'silent voter' | 'no vote';
  readonly answers: 'yes' | 'silent' | 'login' | 'misfit';
  readonly term: number;
  readonly beliefs: readonly number[];
  readonly writable: boolean | undefined;
  readonly tooStale: boolean;
  readonly lagMs: number | undefined;
}

const most = 5;
const kindOf: Readonly<Record<Soul['kind'], Partial<Seat>>> = {
  data: {},
  hidden: { hidden: true, priority: 0 },
  delayed: { hidden: true, priority: 0, delayMs: 60_000 },
  arbiter: { arbiter: true, priority: 0 },
  'silent voter': { priority: 0 },
  'no vote': { priority: 0, votes: 0 },
};

/** Mostly a set that agrees with itself, and then some of it is not so. */
const souls = fc
  .record({ size: fc.integer({ min: 1, max: most }), primary: fc.nat(most - 1), noise: fc.integer({ min: 0, max: 3 }) })
  .chain(({ size, primary, noise }) => {
    const rarely = <T>(usual: T, other: fc.Arbitrary<T>): fc.Arbitrary<T> =>
      fc.oneof({ weight: 10, arbitrary: fc.constant(usual) }, { weight: noise, arbitrary: other });
    const leader = primary % size;
    const belief = (about: number): fc.Arbitrary<number> =>
      rarely(about === leader ? 1 : 2, fc.constantFrom(1, 2, 3, 5, 8, 9));
    return fc.tuple(
      ...Array.from({ length: size }, () =>
        fc.record<Soul>({
          kind: fc.oneof(
            { weight: 6, arbitrary: fc.constant<Soul['kind']>('data') },
            {
              weight: 3,
              arbitrary: fc.constantFrom<Soul['kind']>('hidden', 'delayed', 'arbiter', 'silent voter', 'no vote'),
            },
          ),
          answers: rarely<Soul['answers']>('yes', fc.constantFrom('silent', 'login', 'misfit')),
          term: rarely(3, fc.constantFrom(2, 4)),
          beliefs: fc.tuple(...Array.from({ length: size }, (_, about) => belief(about))),
          writable: rarely<boolean | undefined>(undefined, fc.boolean()),
          tooStale: rarely(false, fc.boolean()),
          lagMs: rarely<number | undefined>(0, fc.constantFrom(undefined, 500, 50_000)),
        }),
      ),
    );
  });

function seatsOf(all: readonly Soul[]): readonly Seat[] {
  return all.map(({ kind }, id) => seat(id, kindOf[kind]));
}

function seenOf(all: readonly Soul[]): readonly Seen[] {
  const seats = seatsOf(all);
  const config = configOf(seats);
  return all.map(({ kind, answers, term, beliefs, writable, tooStale, lagMs }, id): Seen => {
    if (answers !== 'yes') return refused(id, answers);
    if (kind === 'arbiter') return arbiter(id, config, seats[beliefs.indexOf(1)]?.host);
    const lag = lagMs === undefined ? {} : lagMs === 0 ? { ms: 0 } : { ageMs: lagMs };
    return told(id, config, {
      ...{ states: beliefs, term, status: { tooStale }, told: { transfer: lag, apply: lag } },
      ...(writable === undefined ? {} : { hello: { writable } }),
    });
  });
}

function viewIfAny(all: readonly Soul[]): ClusterView | undefined {
  const seen = seenOf(all);
  try {
    return viewOf(seen, placesOf(seen));
  } catch (cause) {
    assert.ok(['cluster-unknown', 'database-login'].includes(codeOf(cause) ?? ''), String(cause));
    return undefined;
  }
}

const majorityOf = (all: readonly Soul[]): number =>
  Math.floor(all.filter(({ kind }) => kind !== 'no vote').length / 2) + 1;
const idOf = (name: string): number => Number(name.slice(2));

/** Voters of whose own mouth we have it that this one is primary in its term. Written again here, on what was made up. */
function votersFor(all: readonly Soul[], id: number): number {
  const term = all[id]?.term;
  return all.filter((each, at) => {
    if (each.kind === 'no vote' || each.answers !== 'yes') return false;
    if (each.kind === 'arbiter') return each.beliefs.indexOf(1) === id;
    return at === id || (each.term === term && each.beliefs[id] === 1);
  }).length;
}

it('never shows two primaries, nor one without a majority or of an old term', () => {
  let shown = 0;
  let unsure = 0;
  fc.assert(
    fc.property(souls, (all) => {
      const view = viewIfAny(all);
      const primaries = view?.members.filter(({ role }) => role === 'primary') ?? [];
      assert.ok(primaries.length <= 1);
      const [primary] = primaries;
      if (primary === undefined) {
        unsure += 1;
        return;
      }
      shown += 1;
      const id = idOf(primary.name);
      assert.ok(votersFor(all, id) >= majorityOf(all), 'a majority says so');
      const newest = Math.max(
        ...all.filter(({ answers, kind }) => answers === 'yes' && kind !== 'arbiter').map(({ term }) => term),
      );
      assert.equal(all[id]?.term, newest);
      assert.ok(!['arbiter'].includes(all[id]?.kind ?? ''));
    }),
    { numRuns: 3000 },
  );
  assert.ok(shown > 300 && unsure > 300, `both kinds must occur: ${shown} with a primary, ${unsure} without`);
});

it('never has a backup taken of an arbiter, of old data, or of a member that is in trouble', () => {
  const chosen = new Map<string, number>();
  const policies: readonly MemberPolicy[] = ['prefer-standby', 'primary', 'standby', 'async'];
  fc.assert(
    fc.property(souls, fc.constantFrom(...policies), fc.constantFrom(1000, 10_000_000), (all, policy, maxLagMs) => {
      const view = viewIfAny(all);
      if (view === undefined) return;
      const reachable = new Set(all.map((_, id) => `db${id}`));
      const { member: name } = chooseMember({ view, policy, maxLagMs, reachable });
      if (name === undefined) return;
      const soul = all[idOf(name)];
      assert.ok(soul !== undefined);
      chosen.set(soul.kind, (chosen.get(soul.kind) ?? 0) + 1);
      assert.ok(soul.kind !== 'arbiter' && soul.kind !== 'delayed', soul.kind);
      assert.equal(soul.answers, 'yes');
      assert.equal(soul.tooStale, false);
      const id = idOf(name);
      const primary = view.members.find(({ role }) => role === 'primary');
      const isPrimary = primary?.name === name;
      assert.equal(
        soul.beliefs[id] === 2 || (isPrimary && soul.beliefs[id] !== 8),
        true,
        `its own state is ${soul.beliefs[id]}`,
      );
      if (primary === undefined || isPrimary) return;
      assert.notEqual(soul.writable, true);
      assert.ok((soul.lagMs ?? Number.NaN) <= maxLagMs, 'its lag is known and small enough');
      assert.notEqual(all[idOf(primary.name)]?.beliefs[id], 8, 'the primary hears it');
    }),
    { numRuns: 3000 },
  );
  for (const kind of ['data', 'hidden', 'no vote'])
    assert.ok((chosen.get(kind) ?? 0) > 5, `${kind} must be chosen sometimes`);
});

it('never allows a silence that leaves no majority', () => {
  let allowed = 0;
  fc.assert(
    fc.property(souls, fc.nat(most - 1), (all, pick) => {
      const view = viewIfAny(all);
      const name = `db${pick % all.length}`;
      if (view === undefined || !failoverMargin(view, name, { stunMs: 1000, holdMs: 0 }).allowed) return;
      const voters = all.filter(({ kind }) => kind !== 'no vote').length;
      if (voters <= 1) return;
      allowed += 1;
      const primary = view.members.find(({ role }) => role === 'primary');
      assert.ok(primary !== undefined);
      const heard = all[idOf(primary.name)]?.beliefs ?? [];
      const left = all.filter(
        ({ kind, answers }, id) =>
          kind !== 'no vote' &&
          answers === 'yes' &&
          `db${id}` !== name &&
          (heard[id] !== 8 || `db${id}` === primary.name),
      );
      assert.ok(left.length >= majorityOf(all), `${left.length} voters are left, and it takes ${majorityOf(all)}`);
    }),
    { numRuns: 3000 },
  );
  assert.ok(allowed > 100, `${allowed} were allowed`);
});
