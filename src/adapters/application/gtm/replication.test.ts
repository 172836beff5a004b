import assert from 'node:assert/strict';
import { createWriteStream } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { describe, it, type TestContext } from 'node:test';
import { copyFiles } from '../../../../test/contract/application.ts';
import { type GtmInstance, type GtmPair, openGtmPair } from '../../../../test/doubles/gtm-pair.ts';
import { type GtmOptions, type Load, whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import type { HoldToken } from '../../../model/hold.ts';
import type { JournalFile, JournalStart } from '../../../model/journal.ts';
import type { Finding } from '../../../model/point.ts';
import { reasonsToKeep } from '../../../model/recovery.ts';
import type { Application, Copy } from '../../../ports/application.ts';
import type { JournalNeed, Journals, PlacedJournal } from '../../../ports/journals.ts';
import { wentWell } from './engine.ts';
import type { ReplicationFile, SourceServer } from './parse-journal.ts';
import { isYoung, wantedByOthers } from './replication.ts';

const limits = { limitMs: 60_000 };
const never = new AbortController().signal;
const { clock } = testPlatform;

async function pairOf(t: TestContext, options: Partial<GtmOptions> = {}): Promise<GtmPair> {
  const pair = await openGtmPair({ regions: 2, ...options });
  t.after(() => pair[Symbol.asyncDispose]());
  return pair;
}

async function connected(t: TestContext, options: Partial<GtmOptions> = {}): Promise<GtmPair> {
  const pair = await pairOf(t, options);
  await pair.a.startSource();
  await pair.b.startReceiver();
  return pair;
}

async function directory(t: TestContext): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'sp-gtm-pair-'));
  await chmod(made, 0o755);
  t.after(() => rm(made, { recursive: true, force: true }));
  return made;
}

function journalsOf(db: GtmInstance): Journals {
  const { journals } = db.application();
  assert.ok(journals !== undefined);
  return journals;
}

/** The last update in a closed file, by the records themselves; 0 for a file without any. */
async function lastUpdateIn(t: TestContext, db: GtmInstance, file: JournalFile): Promise<bigint> {
  const extract = join(await directory(t), 'extract');
  const args = ['journal', `-extract=${extract}`, '-forward', '-noverify', '-fences=none', file.path];
  const answer = await db.gtm.mupip(args, limits);
  assert.ok(wentWell(answer), answer.text);
  const updates = (await readFile(extract, 'latin1')).split('\n').filter((line) => line.startsWith('05\\'));
  return updates
    .map((line) => BigInt(line.split('\\')[5] ?? ''))
    .reduce((most, each) => (each > most ? each : most), 0n);
}

const forB = /instance B/;

function isNeeded(file: JournalFile, needs: readonly JournalNeed[], why: RegExp = forB): boolean {
  return needs.some((need) => need.part === file.part && need.name === file.name && why.test(need.why));
}

/**
 * What the purge does with a repository that has every closed file, and harder: what only crash recovery of this instance needs goes too,
 * so that the other one has nothing but what is kept for it.
 */
async function purge(db: GtmInstance): Promise<readonly string[]> {
  const files = await journalsOf(db).list(never);
  const shipped = files.flatMap((file) => (file.end === undefined ? [] : [{ ...file, end: file.end }]));
  const removed: string[] = [];
  for (const file of files) {
    const needed = (await journalsOf(db).needed(never)).filter((need) => /\binstance\b/.test(need.why));
    if (reasonsToKeep(file, shipped, needed).length > 0) continue;
    await journalsOf(db).remove(file);
    removed.push(file.name);
  }
  return removed;
}

/** Everything in it, as the engine writes it out. */
async function contentOf(t: TestContext, db: GtmInstance): Promise<string> {
  const file = join(await directory(t), 'content');
  const answer = await db.gtm.mupip(['extract', '-format=zwr', '-nolog', file], limits);
  assert.ok(wentWell(answer), answer.text);
  const text = await readFile(file, 'latin1');
  // The first two lines are a title and the time.
  return text.slice(text.indexOf('\n', text.indexOf('\n') + 1));
}

/** B has everything that A has, the same, and it is whole. */
async function assertEqual(t: TestContext, pair: GtmPair, from = pair.a, to = pair.b): Promise<void> {
  await pair.caughtUp(from, to);
  const [mine, theirs] = [await contentOf(t, from), await contentOf(t, to)];
  assert.ok(mine.length > 100);
  assert.ok(mine === theirs, 'both ends are equal');
  const answer = await to.gtm.routine('inv^spwriter', limits);
  assert.match(answer.stdout, /invariant holds/);
}

/** Files with updates of one region only, of both, and of none. */
async function rounds(db: GtmInstance): Promise<void> {
  for (const globals of [['a'], ['b'], [], ['a', 'b'], ['a']] as const) {
    for (const global of globals) await db.update(50, global);
    await journalsOf(db).switch(never);
  }
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const endMs = clock.monoMs() + 30_000;
  while (!(await condition())) {
    assert.ok(clock.monoMs() < endMs, what);
    await clock.sleep(200);
  }
}

let tokens = 0;
function newToken(): HoldToken {
  tokens += 1;
  const runId = `gtm-pair-${process.pid}-${tokens}`;
  return { runId, workload: 'test', engine: 'gtm', identity: runId };
}

async function findingsOf(found: AsyncIterable<Finding> | undefined): Promise<readonly Finding[]> {
  const all: Finding[] = [];
  for await (const finding of found ?? []) all.push(finding);
  return all;
}

async function newCopy(t: TestContext, application: Application): Promise<Copy> {
  const at = await directory(t);
  const { paths, facts } = await application.locate(never);
  for (const { path } of paths) await mkdir(dirname(join(at, path)), { recursive: true });
  return { at: (original) => join(at, original), required: paths, facts, scratch: await directory(t) };
}

/** The last row of the load in a copy that passes the drill. */
async function lastRow(t: TestContext, application: Application, copy: Copy): Promise<number> {
  const findings = await findingsOf(application.verify({ ...copy, scratch: await directory(t) }, never));
  assert.deepEqual(
    findings.filter((each) => each.severity === 'error'),
    [],
  );
  const said = findings.find((each) => each.check === 'invariant')?.said ?? '';
  assert.match(said, /invariant holds/);
  return Number(/la\(1\)=(\d+)/.exec(said)?.[1]);
}

async function largestGap(load: Load, fromMs: number, toMs: number): Promise<number> {
  const times = (await load.acknowledged()).map((each) => each.ms).filter((ms) => ms >= fromMs && ms <= toMs);
  assert.ok(times.length > 10, 'the writer goes on');
  return Math.max(...[...times, toMs].map((ms, index) => ms - (times[index - 1] ?? fromMs)));
}

interface Base {
  readonly db: GtmInstance;
  readonly copy: Copy;
  readonly starts: readonly JournalStart[];
  /** Last row of the load. */
  readonly last: number;
}

async function takeFull(t: TestContext, db: GtmInstance): Promise<Base> {
  const application = db.application();
  const { online } = application;
  assert.ok(online !== undefined);
  const before = await lastLive(db);
  await using run = await online.start({
    level: 'full',
    since: undefined,
    scratch: await directory(t),
    signal: never,
  });
  const into = await directory(t);
  const streams = new Map<string, string>();
  for (const stream of run.streams) {
    streams.set(stream.name, join(into, stream.name));
    await pipeline(stream.open(), createWriteStream(join(into, stream.name)));
  }
  const { finished, said, starts } = await run.finish();
  assert.ok(finished, said);
  const [copy, looked] = [await newCopy(t, application), await newCopy(t, application)];
  for (const each of [copy, looked]) await online.apply({ level: 'full', streams }, each, never);
  const last = await lastRow(t, application, looked);
  assert.ok(before > 0 && last >= before, `${last} in the backup of ${db.name}, ${before} before it`);
  return { db, copy, starts, last };
}

async function lastLive(db: GtmInstance): Promise<number> {
  return Number((await db.gtm.xecute('write $get(^la(1)),!', limits)).stdout);
}

/** Copies of the closed files of each region from where a base begins. */
async function shippedSince(
  t: TestContext,
  db: GtmInstance,
  starts: readonly JournalStart[],
): Promise<readonly PlacedJournal[]> {
  const into = await directory(t);
  const placed: PlacedJournal[] = [];
  for (const file of await journalsOf(db).list(never)) {
    const start = starts.find((each) => each.part === file.part);
    if (file.end === undefined || start === undefined || BigInt(file.end) <= BigInt(start.position)) continue;
    const at = join(into, `${placed.length}-${file.name}`);
    await copyFile(file.path, at);
    placed.push({ file, at });
  }
  assert.ok(placed.length >= 2 * 4);
  return placed;
}

describe('gtm: a replicated pair', { skip: whyNoGtm() ?? false }, () => {
  it('keeps every journal file of which the other instance lacks an update, and no other; it catches up from them', async (t) => {
    const pair = await connected(t);
    const { a, b } = pair;
    await rounds(a);
    await pair.caughtUp(a, b);
    const closed = async (): Promise<readonly JournalFile[]> =>
      (await journalsOf(a).list(never)).filter((file) => file.end !== undefined);
    const nobodyWaits = async (): Promise<boolean> => {
      const needs = await journalsOf(a).needed(never);
      return (await closed()).every((file) => !isNeeded(file, needs));
    };
    await until('the acknowledgement comes with a heartbeat', nobodyWaits);
    const has = await b.processed();
    await b.stopReceiver();
    assert.deepEqual(
      (await journalsOf(a).list(never)).flatMap((file, index, all) =>
        file.part === all[index + 1]?.part && file.end === undefined ? [file.name] : [],
      ),
      [],
      'the open file is the last of its region, also without a change',
    );
    await rounds(a);
    const needs = await journalsOf(a).needed(never);
    const files = await closed();
    assert.equal(files.length, 22);
    const lacking = new Set<string>();
    let kept = 0;
    for (const file of files) {
      if ((await lastUpdateIn(t, a, file)) > has) lacking.add(file.part);
      // A file without updates leads from the next one back to those that have some.
      const keep = lacking.has(file.part);
      if (keep) kept += 1;
      const named = isNeeded(file, needs, new RegExp(`^instance B has acknowledged up to ${has}$`));
      assert.equal(named, keep, `${file.part} ${file.name}`);
    }
    assert.deepEqual([...lacking].toSorted(), ['DEFAULT', 'SECOND']);
    assert.ok(kept >= 9, `${kept}`);
    const removed = await purge(a);
    assert.ok(removed.length >= 8, `${removed.length}`);
    await b.startReceiver();
    await assertEqual(t, pair);
    await until('the acknowledgement comes with a heartbeat', nobodyWaits);
    await purge(a);
    assert.equal((await closed()).length, 0);
    await a.update(10, 'b');
    await assertEqual(t, pair);
  });

  it('never takes for acknowledged what the other instance has received but not processed', async (t) => {
    const pair = await connected(t);
    const { a, b } = pair;
    const load = await a.load(1);
    let lagging = 0;
    for (let round = 0; round < 6; round += 1) {
      // Under a plain freeze B goes on receiving.
      const frozen = round % 3 > 0;
      await b.gtm.mupip(['freeze', frozen ? '-on' : '-off', '*'], limits);
      await clock.sleep(400);
      const needs = await journalsOf(a).needed(never);
      const acknowledged = BigInt(/acknowledged up to (\d+)/.exec(needs.map((each) => each.why).join())?.[1] ?? 0);
      const has = await b.processed();
      assert.ok(acknowledged <= has, `A says that B has ${acknowledged}, and B has ${has}`);
      if (frozen && (await a.posted()) > has + 100n) lagging += 1;
    }
    await b.gtm.mupip(['freeze', '-off', '*'], limits);
    assert.ok(lagging > 0, 'B was behind while A was asked');
    await load.stop();
    await assertEqual(t, pair);
  });

  it('keeps everything for an instance that was never there, that is behind when it connects, or whose source server was killed', async (t) => {
    const pair = await pairOf(t);
    const { a, b } = pair;
    const empty = new Map<string, boolean>();
    const isEmpty = async (file: JournalFile): Promise<boolean> => {
      const known = empty.get(file.path) ?? (await lastUpdateIn(t, a, file)) === 0n;
      empty.set(file.path, known);
      return known;
    };
    const assertAllKept = async (why: RegExp): Promise<void> => {
      const needs = await journalsOf(a).needed(never);
      for (const file of await journalsOf(a).list(never)) {
        if (file.end === undefined || (await isEmpty(file))) continue;
        assert.ok(isNeeded(file, needs, why), `${file.part} ${file.name}: ${JSON.stringify(needs)}`);
      }
    };
    const fresh = await journalsOf(a).needed(never);
    assert.match(fresh.map((each) => each.why).join(), /no source server was ever started on instance A/);
    await a.startSource();
    await rounds(a);
    await assertAllKept(/instance B has acknowledged nothing/);
    await b.gtm.mupip(['freeze', '-on', '*'], limits);
    await b.startReceiver();
    await clock.sleep(2_500);
    assert.equal(await b.processed(), 0n);
    await assertAllKept(/instance B has acknowledged nothing/);
    const load = await a.load(1);
    await a.killSource();
    await assertAllKept(/what instance B has is unknown: no source server for it runs/);
    await journalsOf(a).switch(never);
    await load.stop();
    await purge(a);
    await assertAllKept(/what instance B has is unknown: no source server for it runs/);
    const bare = a.application({ replicationInstance: undefined }).journals;
    const unknown = (await bare?.needed(never)) ?? [];
    assert.ok(unknown.filter((each) => each.why.includes('without application.gtm.replicationInstance')).length >= 12);
    await b.gtm.mupip(['freeze', '-off', '*'], limits);
    await a.startSource();
    await assertEqual(t, pair);
  });

  it('lets an instance that crashed and went back catch up', async (t) => {
    const pair = await connected(t);
    const { a, b } = pair;
    const load = await a.load(1);
    for (let i = 0; i < 6; i += 1) {
      await clock.sleep(200);
      await journalsOf(a).switch(never);
    }
    const has = await b.processed();
    await b.crash();
    const removed = await purge(a);
    await load.stop();
    const rolledBack = await b.gtm.mupip(['journal', '-rollback', '-backward', '*'], limits);
    assert.ok(wentWell(rolledBack), rolledBack.text);
    const back = /instance after rollback is (\d+)/.exec(rolledBack.text)?.[1];
    t.diagnostic(
      `B had processed ${has}, crashed, and has everything before ${back}; ${removed.length} files were purged`,
    );
    await b.startReceiver();
    await assertEqual(t, pair);
  });

  it('tells the sides apart, and a switchover changes role and epoch', async (t) => {
    const pair = await connected(t);
    const { a, b } = pair;
    const memberOf = async (db: GtmInstance) => (await db.application().locate(never)).member;
    const saidBy = async (db: GtmInstance): Promise<string> =>
      (await findingsOf(db.application().check?.(never))).map((each) => `${each.check}: ${each.said}`).join('\n');
    await a.update(100);
    await pair.caughtUp(a, b);
    const [first, second] = [await memberOf(a), await memberOf(b)];
    assert.deepEqual([first.role, second.role], ['primary', 'replica']);
    await b.stopReceiver();
    await a.update(30);
    assert.match(await saidBy(a), /^replication: instance A: primary$/m);
    assert.match(
      await saidBy(a),
      /^backlog: instance B had processed \d+ of 130 updates at its last heartbeat, \d+ are open$/m,
    );
    assert.match(await saidBy(b), /^replication: instance B: replica$/m);
    assert.match(await saidBy(b), /^replication: no receiver server runs/m);
    await b.startReceiver();
    await pair.caughtUp(a, b);
    assert.match(await saidBy(b), /^backlog: processed up to 130, 0 more received/m);
    await pair.switchover(a, b);
    const [third, fourth] = [await memberOf(a), await memberOf(b)];
    assert.deepEqual([third.role, fourth.role], ['replica', 'primary']);
    assert.notEqual(fourth.epoch, second.epoch);
    await b.update(10, 'b');
    await assertEqual(t, pair, b, a);
    assert.notEqual((await memberOf(a)).epoch, first.epoch);
    await pair.switchover(b, a);
    const fifth = await memberOf(a);
    assert.equal(fifth.role, 'primary');
    assert.notEqual(fifth.epoch, first.epoch);
    // A new start of the same instance is the same history.
    await a.stopSource();
    assert.equal((await memberOf(a)).role, 'standalone');
    await a.startSource();
    assert.deepEqual(await memberOf(a), fifth);
  });

  for (const freeze of ['plain', 'online'] as const) {
    it(`takes a snapshot of the replica under a ${freeze} freeze, while the primary writes on`, async (t) => {
      const pair = await connected(t, { globalBuffers: 4096 });
      const { a, b } = pair;
      const load = await a.load(1);
      await clock.sleep(500);
      const application = b.application({ freeze });
      const located = await application.locate(never);
      assert.equal(located.member.role, 'replica');
      const hold = await application.openHold(newToken(), 20_000);
      await hold.prepare();
      const before = await lastLive(b);
      const fromMs = clock.wallMs();
      assert.ok((await hold.freeze()).frozen);
      const at = await directory(t);
      await copyFiles(located, at);
      await clock.sleep(1_000);
      assert.deepEqual(await hold.observe(), located.member);
      const thawed = await hold.thaw();
      const toMs = clock.wallMs();
      await hold.close();
      assert.ok(thawed.heldThroughout, thawed.said);
      const processed = await b.processed();
      const posted = await a.posted();
      const gap = await largestGap(load, fromMs, toMs);
      t.diagnostic(`largest gap of the primary's writer in a hold of ${toMs - fromMs} ms: ${Math.round(gap)} ms`);
      t.diagnostic(`at the thaw the replica was ${posted - processed} updates behind`);
      assert.ok(gap < 400, `${gap}`);
      await load.stop();
      await assertEqual(t, pair);
      const copy: Copy = {
        at: (original) => join(at, original),
        required: located.paths,
        facts: located.facts,
        scratch: await directory(t),
      };
      const last = await lastRow(t, application, copy);
      assert.ok(before > 0 && last >= before, `${last} in the copy, ${before} before the freeze`);
      await application.adopt?.(copy);
      assert.equal(await lastRow(t, application, copy), last);
      await assertEqual(t, pair);
    });
  }

  it('backs both sides up by the engine itself, and rolls both forward through replicated journals to the last row', async (t) => {
    const pair = await connected(t);
    const load = await pair.a.load(1);
    await clock.sleep(200);
    const bases = [await takeFull(t, pair.a), await takeFull(t, pair.b)];
    for (let i = 0; i < 4; i += 1) {
      await clock.sleep(100);
      for (const base of bases) await journalsOf(base.db).switch(never);
    }
    await load.stop();
    await assertEqual(t, pair);
    const acknowledged = (await load.acknowledged()).at(-1)?.n ?? 0;
    for (const base of bases) {
      await journalsOf(base.db).switch(never);
      const files = await shippedSince(t, base.db, base.starts);
      const findings = await journalsOf(base.db).rollForward(base.copy, files, { kind: 'latest' }, never);
      assert.deepEqual(
        findings.filter((each) => each.severity !== 'info'),
        [],
      );
      const last = await lastRow(t, base.db.application(), base.copy);
      assert.ok(last > base.last, `${base.db.name} is at ${last}, its base at ${base.last}`);
      // Its last transaction may have been committed but not acknowledged when the load was ended.
      assert.ok([0, 1].includes(last - acknowledged), `${base.db.name} is at ${last}, acknowledged ${acknowledged}`);
    }
    // Neither the drills nor the recovery have touched the living pair.
    await pair.a.update(10);
    await assertEqual(t, pair);
  });

  it('shows a switchover that happens during a hold, and one and back between two looks', async (t) => {
    const pair = await connected(t, { freeze: 'online' });
    const { a, b } = pair;
    await a.update(100);
    await pair.caughtUp(a, b);
    const application = a.application();
    const { member: chosen } = await application.locate(never);
    const hold = await application.openHold(newToken(), 30_000);
    await hold.prepare();
    assert.ok((await hold.freeze()).frozen);
    assert.deepEqual(await hold.observe(), chosen);
    await b.stopReceiver();
    await b.startSource();
    await a.stopSource();
    assert.equal((await hold.observe()).role, 'standalone');
    await a.startReceiver();
    assert.equal((await hold.observe()).role, 'replica');
    assert.equal((await hold.ask()).frozen, true);
    assert.equal((await hold.thaw()).heldThroughout, true);
    await b.update(10);
    await pair.caughtUp(b, a);
    await pair.switchover(b, a);
    const now = await hold.observe();
    await hold.close();
    assert.equal(now.role, chosen.role);
    assert.notEqual(now.epoch, chosen.epoch);
    await a.update(10);
    await assertEqual(t, pair);
  });
});

describe('gtm: what has to be kept for other instances', () => {
  const file: ReplicationFile = { instance: 'A', rootPrimary: true, secondaries: ['B'], term: 'A.1' };
  const server: SourceServer = { secondary: 'B', pid: 1, passive: false, posted: 90n, acknowledged: 70n };
  const from = (about: ReplicationFile, ...running: readonly SourceServer[]): readonly bigint[] =>
    wantedByOthers(about, running).map((each) => each.from);

  it('begins after what a running source server knows to be processed', () => {
    assert.deepEqual(from(file, server), [71n]);
    assert.deepEqual(from({ ...file, secondaries: ['C', 'B'] }, server), [1n, 71n]);
  });

  it('is for a while what was processed, for that may not be on the disk of the other', () => {
    assert.match(wantedByOthers(file, [server])[0]?.young ?? '', /^instance B has processed it/);
    assert.equal(isYoung(0, 300, 599_999), true);
    assert.equal(isYoung(0, 300, 600_000), false);
    assert.equal(isYoung(5_000, 300, 0), true);
    assert.equal(isYoung(Number.NaN, 300, 600_000), true);
  });

  it('is everything where that is not known', () => {
    assert.deepEqual(from(file), [1n]);
    assert.deepEqual(from(file, { ...server, acknowledged: 0n }), [1n]);
    assert.deepEqual(from(file, { ...server, passive: true, acknowledged: 0n }), [1n]);
    assert.deepEqual(from({ ...file, secondaries: [] }), [1n]);
    assert.deepEqual(from({ ...file, rootPrimary: false }), [1n]);
  });

  it('is nothing for the instance that this one receives from', () => {
    assert.deepEqual(from({ ...file, rootPrimary: false }, { ...server, passive: true, acknowledged: 0n }), []);
  });
});
