import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { StillpointError } from './errors.ts';
import type { RecoveryTarget, ShippedJournal } from './journal.ts';
import type { Level, Method, Point } from './point.ts';
import { chainOf, journalBreaks, planRecovery, reasonsToKeep, restoreAsIs, standsOnAnother } from './recovery.ts';

/** Minutes after midnight, as times are written. */
function at(minutes: number): string {
  return new Date(Date.UTC(2026, 0, 1) + minutes * 60_000).toISOString();
}

function point(id: string, minutes: number, more: Partial<Point> = {}): Point {
  return {
    id,
    workload: 'orders',
    method: 'snapshot',
    level: 'full',
    parent: null,
    verdict: 'application-consistent',
    reasons: [],
    cutAt: at(minutes),
    cutCalledAt: at(minutes),
    member: 'db1',
    role: 'primary',
    epoch: '1',
    identity: 'this',
    hold: null,
    volumes: [],
    journal: null,
    starts: [],
    marks: null,
    bytes: { logical: 0, read: 0, changed: 0, stored: 0 },
    repositorySnapshot: `snapshot of ${id}`,
    drill: { at: null, rtoMs: null, outcome: 'none', findings: [] },
    ...more,
  };
}

/** From position to position, which are minutes here too. */
function journal(begin: number, end: number, more: Partial<ShippedJournal> = {}): ShippedJournal {
  const part = more.part ?? '';
  return {
    part,
    name: `j${begin}`,
    path: `/journal/${part}/j${begin}`,
    begin: `at ${begin}`,
    end: `at ${end}`,
    beganAt: at(begin),
    endedAt: at(end),
    coversTo: at(end),
    bytes: 1,
    workload: 'orders',
    identity: 'this',
    snapshot: `shipment ${begin}`,
    sha256: '',
    ...more,
  };
}

const from = (minutes: number, part = ''): Point['starts'][number] => ({
  part,
  file: `j${minutes}`,
  position: `at ${minutes}`,
});
const time = (minutes: number): RecoveryTarget => ({ kind: 'time', at: at(minutes) });
const latest: RecoveryTarget = { kind: 'latest' };
const file = (name: string): RecoveryTarget => ({ kind: 'file', name });

function plan(
  target: RecoveryTarget,
  points: readonly Point[],
  journals: readonly ShippedJournal[],
  of?: Point,
): ReturnType<typeof planRecovery> {
  return planRecovery({ workload: 'orders', target, points, journals, ...(of === undefined ? {} : { point: of }) });
}

function refusal(work: () => unknown): StillpointError {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof StillpointError, String(error));
    assert.notEqual(error.hint, undefined);
    return error;
  }
  assert.fail('nothing was refused');
}

const names = (files: readonly ShippedJournal[]): readonly string[] => files.map((each) => each.name);

const full = point('full', 10, { method: 'online', marks: { a: '10' } });
const first = point('first', 20, { method: 'online', level: 'incremental', parent: 'full', marks: { a: '20' } });
const cumulative = point('cumul', 30, { method: 'online', level: 'cumulative', parent: 'full', marks: { a: '30' } });
const second = point('second', 40, { method: 'online', level: 'incremental', parent: 'cumul', marks: { a: '40' } });
const online = [second, full, cumulative, first];

describe('a point as it is', () => {
  it('takes the newest where none is named', () => {
    assert.equal(plan({ kind: 'point' }, [point('a', 1), point('c', 3), point('b', 2)], []).point.id, 'c');
    const nothing = refusal(() => plan({ kind: 'point' }, [], []));
    assert.equal(nothing.code, 'no-point');
    assert.match(nothing.hint ?? '', /stillpoint backup orders/);
  });

  it('puts the levels below it first, by the shortest way', () => {
    const ids = (of: Point): readonly string[] => chainOf(of, online).map((each) => each.id);
    assert.deepEqual(ids(second), ['full', 'cumul', 'second']);
    assert.deepEqual(ids(first), ['full', 'first']);
    assert.deepEqual(ids(full), ['full']);
    const made = restoreAsIs(second, online);
    assert.equal(made.base.id, 'full');
    assert.deepEqual(
      made.levels.map((each) => each.id),
      ['cumul', 'second'],
    );
    assert.equal(made.reachesTo, null);
    assert.deepEqual(made.journals, []);
  });

  it('names the level that is missing', () => {
    const refused = refusal(() => restoreAsIs(second, [second, full]));
    assert.equal(refused.code, 'point-incomplete');
    assert.match(refused.message, /second goes on top of cumul, which is not there/);
    assert.match(refusal(() => restoreAsIs({ ...first, parent: null })).message, /a point that it does not name/);
    assert.equal(refusal(() => restoreAsIs(first)).code, 'point-incomplete');
  });

  it('does not put a level on itself, on another data set, or on what is no backup by the engine', () => {
    const loop = [
      { ...first, parent: 'second' },
      { ...second, parent: 'first' },
    ] as const;
    assert.match(refusal(() => restoreAsIs(loop[0], loop)).message, /on top of itself/);
    assert.match(
      refusal(() => restoreAsIs(first, [{ ...full, identity: 'other' }])).message,
      /no backup by the engine/,
    );
    assert.match(refusal(() => restoreAsIs(first, [{ ...full, marks: null }])).message, /no backup by the engine/);
  });

  it('needs only levels of the own backup to stand on another', () => {
    const levels: readonly Level[] = ['full', 'cumulative', 'incremental'];
    const methods: readonly Method[] = ['snapshot', 'online', 'concurrent', 'cold', 'mirror-split'];
    const standing = methods.flatMap((method) =>
      levels.filter((level) => standsOnAnother({ method, level })).map((level) => `${method} ${level}`),
    );
    assert.deepEqual(standing, ['online cumulative', 'online incremental']);
    assert.equal(restoreAsIs(point('s', 1, { level: 'incremental', parent: 'gone' })).base.id, 's');
  });
});

describe('rolling forward', () => {
  const base = point('base', 10, { starts: [from(10)] });
  const files = [journal(30, 40), journal(10, 20), journal(20, 30), journal(0, 10)];

  it('takes the newest point before the time and the files up to the first that covers it', () => {
    const later = point('later', 30, { starts: [from(30)] });
    const made = plan(time(25), [later, base], files);
    assert.equal(made.point.id, 'base');
    assert.deepEqual(names(made.journals), ['j10', 'j20']);
    assert.equal(made.reachesTo, at(30));
    assert.deepEqual(names(plan(time(20), [base], files).journals), ['j10']);
    assert.deepEqual(names(plan(time(35), [later, base], files).journals), ['j30']);
  });

  it('goes by the name of the first file, else by the position at which one begins', () => {
    const middle = point('middle', 15, { starts: [{ part: '', file: 'j10', position: 'at 15' }] });
    assert.deepEqual(names(plan(time(25), [middle], files).journals), ['j10', 'j20']);
    const renamed = files.map((each) => ({ ...each, name: `${each.name}-old` }));
    assert.deepEqual(names(plan(time(25), [base], renamed).journals), ['j10-old', 'j20-old']);
    assert.equal(refusal(() => plan(time(25), [middle], renamed)).code, 'journal-gap');
  });

  it('says what is missing: the first file, one between, the last, all', () => {
    const without = (gone: string): StillpointError =>
      refusal(() =>
        plan(
          time(40),
          [base],
          files.filter((each) => each.name !== gone),
        ),
      );
    assert.match(without('j10').message, /from point base: the journal from at 10 \(j10\) is not in the repository/);
    assert.match(without('j20').message, /reaches to .*00:20.* \(j10\); the file that begins at at 20 is not/);
    assert.match(refusal(() => plan(time(41), [base], files)).message, /the file that begins at at 40/);
    assert.match(refusal(() => plan(time(41), [point('mute', 1)], files)).message, /does not say where its journal/);
    const levels = [point('top', 5, { method: 'online', level: 'incremental', parent: 'gone', starts: [from(0)] })];
    const broken = refusal(() => plan(time(6), levels, files));
    assert.match(broken.message, /which is not there any more/);
    assert.match(broken.hint ?? '', /journal ship orders/);
  });

  it('has no base for a time before every point', () => {
    const early = refusal(() => plan(time(5), [base], files));
    assert.equal(early.code, 'no-point');
    assert.match(early.message, /before 2026-01-01T00:05/);
  });

  it('takes an older base where the newer one has a gap before the target', () => {
    const newer = point('newer', 22, { starts: [from(22)] });
    const made = plan(time(35), [newer, base], files);
    assert.equal(made.point.id, 'base');
    assert.deepEqual(names(made.journals), ['j10', 'j20', 'j30']);
  });

  it('starts from the point that was named, or refuses', () => {
    const newer = point('newer', 20, { starts: [from(20)] });
    assert.equal(plan(time(35), [newer, base], files, base).point.id, 'base');
    assert.equal(refusal(() => plan(time(15), [newer, base], files, newer)).code, 'no-point');
    assert.equal(refusal(() => plan(latest, [base], files, point('mute', 9))).code, 'journal-gap');
  });

  it('never takes files of another data set', () => {
    const foreign = files.map((each) => ({ ...each, identity: 'other' }));
    assert.equal(refusal(() => plan(time(25), [base], foreign)).code, 'journal-gap');
    assert.deepEqual(plan(latest, [base], foreign).journals, []);
  });

  it('takes files without a change in passing, and never two ways on', () => {
    const idle = [
      journal(20, 20, { name: 'idle2', beganAt: at(20.5) }),
      journal(20, 20, { name: 'idle1', beganAt: at(20.2) }),
      journal(20, 20, { name: 'idle3', beganAt: at(20.5) }),
    ];
    assert.deepEqual(names(plan(time(25), [base], [...idle, ...files]).journals), [
      'j10',
      'idle1',
      'idle2',
      'idle3',
      'j20',
    ]);
    const fork = refusal(() => plan(time(25), [base], [...files, journal(20, 27, { name: 'fork' })]));
    assert.match(fork.message, /goes on in two files from at 20: j20 and fork/);
  });

  it('begins with files without a change where the position is all that is known', () => {
    const renamed = [...files, journal(10, 10, { name: 'idle', beganAt: at(10) })].map((each) => ({
      ...each,
      name: `${each.name}-old`,
    }));
    assert.deepEqual(names(plan(time(15), [base], renamed).journals), ['idle-old', 'j10-old']);
  });
});

describe('rolling forward to the latest state', () => {
  const old = point('old', 10, { starts: [from(10)] });
  const recent = point('recent', 35, { starts: [from(35)] });
  const files = [journal(10, 20), journal(20, 30)];

  it('goes to the last file that joins', () => {
    const made = plan(latest, [old], [...files, journal(40, 50)]);
    assert.deepEqual(names(made.journals), ['j10', 'j20']);
    assert.equal(made.reachesTo, at(30));
  });

  it('does not lose what only the newest point holds', () => {
    assert.equal(plan(latest, [old, recent], files).point.id, 'recent');
    assert.equal(plan(latest, [old, { ...recent, starts: [] }], files).point.id, 'recent');
    assert.equal(plan(latest, [old, { ...recent, starts: [] }], files).reachesTo, null);
  });

  it('does not lose what only the journal of an older point holds', () => {
    const made = plan(latest, [old, recent], [...files, journal(30, 60)]);
    assert.equal(made.point.id, 'old');
    assert.equal(made.reachesTo, at(60));
    assert.equal(plan(latest, [old, { ...recent, starts: [] }], [...files, journal(30, 60)]).point.id, 'old');
  });

  it('takes the newer of two bases that get as far', () => {
    const middle = point('middle', 20, { starts: [from(20)] });
    const made = plan(latest, [old, middle], files);
    assert.equal(made.point.id, 'middle');
    assert.deepEqual(names(made.journals), ['j20']);
  });

  it('says how far the part gets that is farthest behind, and never less than the point', () => {
    const two = point('two', 15, { starts: [from(10, 'a'), from(10, 'b')] });
    const a = [journal(10, 20, { part: 'a' }), journal(20, 30, { part: 'a' })];
    assert.equal(plan(latest, [two], a).reachesTo, at(15));
    assert.equal(plan(latest, [two], [...a, journal(10, 25, { part: 'b' })]).reachesTo, at(25));
    assert.equal(plan(latest, [two], [...a, journal(10, 25, { part: 'b', coversTo: at(12) })]).reachesTo, at(15));
  });

  it('compares times as times, however exactly they are written', () => {
    const two = point('two', 0, { starts: [from(10, 'a'), from(10, 'b')] });
    const a = journal(10, 20, { part: 'a', coversTo: '2026-01-01T00:20:00Z' });
    const b = journal(10, 20, { part: 'b', coversTo: '2026-01-01T00:20:00.500Z' });
    assert.equal(plan(latest, [two], [a, b]).reachesTo, '2026-01-01T00:20:00.000Z');
  });

  it('refuses where nothing can be taken', () => {
    assert.match(refusal(() => plan(latest, [], [])).message, /the latest state/);
    const fork = [...files, journal(20, 27, { name: 'fork' })];
    assert.match(refusal(() => plan(latest, [old], fork)).message, /the latest state cannot be reached/);
  });
});

describe('rolling forward to the end of a file', () => {
  const base = point('base', 10, { starts: [from(10)] });
  const files = [journal(10, 20), journal(20, 30), journal(30, 40)];

  it('stops behind it', () => {
    assert.deepEqual(names(plan(file('j20'), [base], files).journals), ['j10', 'j20']);
    assert.match(refusal(() => plan(file('j99'), [base], files)).message, /journal file j99 is not in the repository/);
    assert.match(refusal(() => plan(file('j9'), [], files)).message, /the end of journal file j9/);
  });

  it('does not begin behind it', () => {
    const later = point('later', 35, { starts: [from(30)] });
    assert.match(refusal(() => plan(file('j10'), [later], files)).message, /j10 ends before the point was cut/);
    assert.equal(plan(file('j10'), [later, base], files).point.id, 'base');
    const another = point('another', 10, { starts: [from(10, 'a')] });
    const both = [...files, journal(10, 50, { part: 'a', name: 'a10' })];
    assert.match(refusal(() => plan(file('j20'), [another], both)).message, /j20 ends before/);
  });

  it('says what is missing before it', () => {
    const gap = refusal(() => plan(file('j30'), [base], [journal(10, 20), journal(30, 40)]));
    assert.match(gap.message, /the file that begins at at 20 is not in the repository/);
  });

  it('takes other parts as far as its last change, and not over their gaps', () => {
    const two = point('two', 10, { starts: [from(10, 'a'), from(10, 'b')] });
    const a = [10, 20, 30].map((begin) => journal(begin, begin + 10, { part: 'a', name: `a${begin}` }));
    const b = [10, 15, 20, 25, 30, 35].map((begin) => journal(begin, begin + 5, { part: 'b', name: `b${begin}` }));
    const made = plan(file('a20'), [two], [...a, ...b]);
    assert.deepEqual(names(made.journals), ['a10', 'a20', 'b10', 'b15', 'b20', 'b25']);
    const gap = refusal(() => plan(file('a20'), [two], [...a, ...b.filter((each) => each.name !== 'b20')]));
    assert.match(gap.message, /the journal of b reaches to .*b15/);
    assert.match(refusal(() => plan(file('a20'), [two], a)).message, /the journal of b from at 10/);
  });

  it('ends each part with its own file where two have files of one name', () => {
    const two = point('two', 10, { starts: [from(10, 'a'), from(10, 'b')] });
    const both = ['a', 'b'].flatMap((part) => [journal(10, 20, { part }), journal(20, 30, { part })]);
    const made = plan(file('j10'), [two], both);
    assert.deepEqual(
      made.journals.map((each) => `${each.part} ${each.name}`),
      ['a j10', 'b j10'],
    );
  });
});

/** A history of an engine with journals: each minute may end files, make a point, or lose a file afterwards. */
interface History {
  readonly points: readonly Point[];
  readonly journals: readonly ShippedJournal[];
  /** By name: what the engine wrote, also what was lost later. */
  readonly written: ReadonlyMap<string, ShippedJournal>;
}

const partNames = ['a', 'b', 'c'];

interface Tick {
  readonly point: 'none' | 'snapshot' | 'mute' | 'concurrent' | Level;
  readonly switches: boolean;
  readonly idle: boolean;
  readonly keepPoint: boolean;
  readonly keepFiles: readonly boolean[];
  readonly foreign: boolean;
}

const tick: fc.Arbitrary<Tick> = fc.record({
  point: fc.constantFrom(
    'none',
    'none',
    'snapshot',
    'mute',
    'concurrent',
    'full',
    'cumulative',
    'incremental',
    'incremental',
  ),
  switches: fc.boolean(),
  idle: fc.integer({ min: 0, max: 4 }).map((value) => value === 0),
  keepPoint: fc.integer({ min: 0, max: 9 }).map((value) => value > 0),
  keepFiles: fc.array(
    fc.integer({ min: 0, max: 19 }).map((value) => value > 0),
    { minLength: 3, maxLength: 3 },
  ),
  foreign: fc.integer({ min: 0, max: 9 }).map((value) => value === 0),
});

/** Positions count changes, one a minute; times and positions come apart as soon as the engine is idle. */
function historyOf(parts: number, ticks: readonly Tick[]): History {
  const points: Point[] = [];
  const kept: Point[] = [];
  const journals: ShippedJournal[] = [];
  const written = new Map<string, ShippedJournal>();
  const mine = partNames.slice(0, parts);
  let position = 0;
  let open = { number: 1, begin: 0, beganAt: 0 };
  for (const [minute, each] of ticks.entries()) {
    if (!each.idle) position += 1;
    const now = 10 * minute + 5;
    if (each.point !== 'none') {
      const level: Level = each.point === 'cumulative' || each.point === 'incremental' ? each.point : 'full';
      const below = points.findLast(
        (one) => one.method === 'online' && (level === 'incremental' || one.level === 'full'),
      );
      const onTop = level !== 'full' && below !== undefined;
      const made = point(`p${minute}`, now, {
        method:
          each.point === 'snapshot' || each.point === 'mute'
            ? 'snapshot'
            : each.point === 'concurrent'
              ? 'concurrent'
              : 'online',
        level: onTop ? level : 'full',
        parent: onTop ? below.id : null,
        starts:
          each.point === 'mute'
            ? []
            : mine.map((part) => ({ part, file: `${part}-${open.number}`, position: `${position}` })),
        marks:
          each.point === 'snapshot' || each.point === 'mute'
            ? null
            : Object.fromEntries(mine.map((part) => [part, `${position}`])),
      });
      points.push(made);
      if (each.keepPoint) kept.push(made);
    }
    if (!each.switches) continue;
    for (const [index, part] of mine.entries()) {
      const shipped = journal(0, 0, {
        part,
        name: `${part}-${open.number}`,
        begin: `${open.begin}`,
        end: `${position}`,
        beganAt: at(open.beganAt),
        endedAt: at(now),
        coversTo: at(now),
      });
      written.set(shipped.name, shipped);
      if (each.keepFiles[index] === true) journals.push(shipped);
      // The same place in the history of another data set: tempting, and wrong.
      if (each.foreign) journals.unshift({ ...shipped, identity: 'other' });
    }
    open = { number: open.number + 1, begin: position, beganAt: now };
  }
  return { points: kept, journals, written };
}

/**
 * By brute force, by the numbers of the files and what the engine really wrote: which files does this part need? A lost file without a
 * change that is not in the point costs nothing.
 */
function wanted(
  start: Point['starts'][number],
  { journals, written }: History,
  until: (file: ShippedJournal) => boolean,
): readonly ShippedJournal[] | undefined {
  const out: ShippedJournal[] = [];
  for (let number = Number(start.file.split('-')[1]); ; number++) {
    const name = `${start.part}-${number}`;
    const found = journals.find((each) => each.identity === 'this' && each.name === name);
    if (found === undefined) {
      const lost = written.get(name);
      if (lost === undefined || Number(lost.end) > Math.max(Number(lost.begin), Number(start.position)))
        return undefined;
      continue;
    }
    out.push(found);
    if (until(found)) return out;
  }
}

const changed = (files: readonly ShippedJournal[] | undefined): readonly string[] | undefined =>
  files === undefined ? undefined : names(files.filter((each) => each.begin !== each.end));

function restorable(of: Point, points: readonly Point[]): boolean {
  if (of.method !== 'online' || of.level === 'full') return true;
  const below = points.find((each) => each.id === of.parent);
  return below !== undefined && restorable(below, points);
}

function assertSound(made: ReturnType<typeof planRecovery>, { points, journals }: History): void {
  assert.equal(made.base.level === 'full' || made.base.method !== 'online', true);
  let below = made.base;
  for (const level of made.levels) {
    assert.equal(level.parent, below.id);
    assert.equal(level.method, 'online');
    assert.notEqual(level.level, 'full');
    assert.notEqual(below.marks, null);
    below = level;
  }
  assert.equal(below, made.point);
  assert.ok(points.includes(made.point));
  const byPart = Map.groupBy(made.journals, (each) => each.part);
  for (const [part, files] of byPart) {
    const start = made.point.starts.find((each) => each.part === part);
    assert.ok(start !== undefined, `${part} has no start`);
    for (const [index, each] of files.entries()) {
      assert.equal(each.identity, 'this');
      assert.ok(journals.includes(each));
      const before = files[index - 1];
      if (before === undefined) assert.ok(each.name === start.file || each.begin === start.position, each.name);
      else assert.equal(each.begin, before.end);
    }
  }
}

describe('files of an idle engine', () => {
  it('does not go back to one that lies before the beginning', () => {
    const empty = { begin: '0', end: '0', part: 'a' };
    const older = journal(0, 5, { ...empty, name: 'a-1' });
    const newer = journal(5, 25, { ...empty, name: 'a-2' });
    const base = point('p', 15, { starts: [{ part: 'a', file: 'a-2', position: '0' }] });
    const made = plan(latest, [base], [older, newer]);
    assert.deepEqual(names(made.journals), ['a-2']);
    assert.equal(made.reachesTo, at(25));
  });
});

describe('any history', () => {
  const histories = fc
    .tuple(fc.integer({ min: 1, max: 3 }), fc.array(tick, { minLength: 1, maxLength: 30 }))
    .map(([parts, ticks]) => ({ parts, ...historyOf(parts, ticks) }));

  it('is planned to a time without a gap, or something is missing', () => {
    let [planned, refused] = [0, 0];
    fc.assert(
      fc.property(histories, fc.integer({ min: 0, max: 320 }), (history, minute) => {
        const { points, journals } = history;
        const target = time(minute);
        const until = (each: ShippedJournal): boolean => each.coversTo >= at(minute);
        const possible = points
          .filter((each) => each.cutAt <= at(minute) && each.starts.length > 0 && restorable(each, points))
          .filter((each) => each.starts.every((start) => wanted(start, history, until) !== undefined))
          .toSorted((a, b) => (a.cutAt < b.cutAt ? 1 : -1));
        let made: ReturnType<typeof planRecovery>;
        try {
          made = plan(target, points, journals);
        } catch (error) {
          assert.ok(error instanceof StillpointError);
          assert.equal(possible.length, 0, `${error.message}, but ${possible[0]?.id} would do`);
          refused += 1;
          return;
        }
        planned += 1;
        assertSound(made, history);
        assert.ok(made.point.cutAt <= at(minute));
        assert.equal(made.point.id, possible[0]?.id);
        for (const start of made.point.starts) {
          const files = made.journals.filter((each) => each.part === start.part);
          assert.deepEqual(changed(files), changed(wanted(start, history, until)));
        }
        assert.ok(made.reachesTo !== null && made.reachesTo >= at(minute));
      }),
      { numRuns: 2000 },
    );
    assert.ok(planned > 50 && refused > 50, `${planned} planned, ${refused} refused`);
  });

  it('is planned to the end of a file without a gap, or something is missing', () => {
    let planned = 0;
    fc.assert(
      fc.property(histories, fc.nat(40), (history, pick) => {
        const { points, journals } = history;
        const limit = journals.filter((each) => each.identity === 'this')[pick];
        if (limit === undefined) return;
        let made: ReturnType<typeof planRecovery>;
        try {
          made = plan(file(limit.name), points, journals);
        } catch (error) {
          assert.ok(error instanceof StillpointError);
          const until = (each: ShippedJournal): boolean =>
            each.part === limit.part ? each.name === limit.name : each.coversTo >= limit.endedAt;
          const could = points.filter(
            (each) =>
              each.starts.length > 0 &&
              restorable(each, points) &&
              each.starts.every((start) => wanted(start, history, until) !== undefined),
          );
          assert.deepEqual(could, [], error.message);
          return;
        }
        planned += 1;
        assertSound(made, history);
        assert.equal(made.journals.filter((each) => each.part === limit.part).at(-1), limit);
        for (const { part } of made.point.starts) {
          const last = made.journals.filter((each) => each.part === part).at(-1);
          assert.ok(last !== undefined && last.coversTo >= limit.endedAt, `${part} stays behind`);
        }
      }),
      { numRuns: 2000 },
    );
    assert.ok(planned > 20, `${planned} planned`);
  });

  it('gets to the latest state as far as any point and its journals go', () => {
    fc.assert(
      fc.property(histories, (history) => {
        const { points, journals } = history;
        const reaches = points
          .filter((each) => restorable(each, points))
          .map((each) => {
            const ends = each.starts.map((start) => {
              let end = each.cutAt;
              wanted(start, history, (seen) => {
                if (seen.coversTo > end) end = seen.coversTo;
                return false;
              });
              return end;
            });
            return ends.toSorted()[0] ?? each.cutAt;
          })
          .toSorted();
        const most = reaches.at(-1);
        if (most === undefined) {
          refusal(() => plan(latest, points, journals));
          return;
        }
        const made = plan(latest, points, journals);
        assertSound(made, history);
        assert.equal(made.reachesTo ?? made.point.cutAt, most);
      }),
      { numRuns: 1000 },
    );
  });

  it('has a break exactly where files were lost between others', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 30 }), fc.nat(), (kept, seed) => {
        // Every second file is of the same second as the one before: nothing but positions tells them apart.
        const all = kept.map((_keep, index) =>
          journal(0, 0, {
            name: `n${index}`,
            begin: `${index * 333}`,
            end: `${(index + 1) * 333}`,
            beganAt: at(index),
          }),
        );
        const left = all.filter((_each, index) => kept[index] === true);
        const expected = left.flatMap((each, index) => {
          const next = left[index + 1];
          return next === undefined || each.end === next.begin
            ? []
            : [{ part: '', after: each.name, from: each.end, before: next.name }];
        });
        const shuffled = left.toSorted(
          (a, b) => ((a.bytes + seed + Number(a.begin)) % 7) - ((b.bytes + seed + Number(b.begin)) % 7),
        );
        assert.deepEqual(journalBreaks(shuffled), expected);
      }),
    );
  });
});

describe('journal breaks', () => {
  it('are not seen where files of one second join', () => {
    const same = { beganAt: at(0) };
    assert.deepEqual(
      journalBreaks([journal(999, 1000, same), journal(1000, 1001, same), journal(1001, 1002, same)]),
      [],
    );
  });

  it('keep parts and data sets apart', () => {
    const files = [journal(10, 20), journal(30, 40, { part: 'a' }), journal(50, 60, { identity: 'other' })];
    assert.deepEqual(journalBreaks(files), []);
    assert.deepEqual(journalBreaks([...files, journal(90, 95, { part: 'a', name: 'late' })]), [
      { part: 'a', after: 'j30', from: 'at 40', before: 'late' },
    ]);
  });

  it('are not bridged and not made by files without a change', () => {
    const idle = journal(20, 20, { name: 'idle', beganAt: at(21) });
    assert.deepEqual(journalBreaks([journal(10, 20), idle, journal(20, 30)]), []);
    assert.deepEqual(
      journalBreaks([journal(10, 15), idle]).map((each) => each.before),
      ['idle'],
    );
    assert.deepEqual(journalBreaks([idle, { ...idle, name: 'idle2' }]), []);
  });

  it('end also where files lead in a circle', () => {
    const circle = [journal(0, 1), journal(1, 2), journal(2, 1)];
    assert.deepEqual(journalBreaks(circle), []);
  });
});

describe('reasons to keep a journal file', () => {
  const there = { part: 'a', name: 'j10', begin: '10', end: '20' };

  it('are gone only when the repository has that very file and nobody needs it', () => {
    assert.deepEqual(reasonsToKeep(there, [there], []), []);
    assert.deepEqual(reasonsToKeep(there, [there], [{ part: 'b', name: 'j10', why: 'no' }]), []);
    const { end: _open, ...open } = there;
    assert.deepEqual(reasonsToKeep(open, [there], []), ['the engine writes to it']);
    for (const other of [
      { ...there, part: 'b' },
      { ...there, begin: '11' },
      { ...there, end: '21' },
    ])
      assert.deepEqual(reasonsToKeep(there, [other], []), ['it is not in the repository']);
    const need = { part: 'a', name: 'j10', why: 'db2 has not received it' };
    assert.deepEqual(reasonsToKeep(there, [there], [need]), [need.why]);
    assert.deepEqual(reasonsToKeep(there, [], [need]), ['it is not in the repository', need.why]);
  });
});
