import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, readFileSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { describe, it, type TestContext } from 'node:test';
import { type GtmDatabase, type GtmOptions, openGtm, whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { Marks } from '../../../model/journal.ts';
import type { Level } from '../../../model/point.ts';
import { processesIn } from '../../../platform/process.ts';
import type { Copy } from '../../../ports/application.ts';
import type { AppliedLevel, OnlineAnswer, OnlineBackup, OnlineRun } from '../../../ports/online.ts';
import { wentWell } from './engine.ts';

const limits = { limitMs: 60_000 };
const never = new AbortController().signal;
const { clock } = testPlatform;
const nobody = { uid: 65_534, gid: 65_534 };

async function directory(t: TestContext, mode = 0o755): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'sp-gtm-online-'));
  await chmod(made, mode);
  t.after(() => rm(made, { recursive: true, force: true }));
  return made;
}

async function database(t: TestContext, options: GtmOptions): Promise<GtmDatabase> {
  const opened = await openGtm(options);
  t.after(() => opened[Symbol.asyncDispose]());
  return opened;
}

function abilityOf(db: GtmDatabase): OnlineBackup {
  const { online } = db.application();
  assert.ok(online !== undefined);
  return online;
}

interface Taken extends AppliedLevel {
  readonly answer: OnlineAnswer;
}

async function take(t: TestContext, db: GtmDatabase, level: Level, since?: Marks): Promise<Taken> {
  const scratch = await directory(t, 0o700);
  const into = await directory(t);
  await using run = await abilityOf(db).start({ level, since, scratch, signal: never });
  const streams = new Map<string, string>();
  for (const stream of run.streams) {
    assert.match(stream.name, /^[A-Za-z0-9._-]+$/);
    const at = join(into, stream.name);
    await pipeline(stream.open(), createWriteStream(at));
    streams.set(stream.name, at);
  }
  return { level, streams, answer: await run.finish() };
}

async function newCopy(t: TestContext, db: GtmDatabase): Promise<Copy> {
  const at = await directory(t);
  const { paths, facts } = await db.application().locate(never);
  for (const { path } of paths) await mkdir(dirname(join(at, path)), { recursive: true });
  return { at: (original) => join(at, original), required: paths, facts, scratch: await directory(t) };
}

/** Puts levels together elsewhere and has the adapter's own drill look at the result. */
async function restored(t: TestContext, db: GtmDatabase, levels: readonly AppliedLevel[]): Promise<string> {
  const copy = await newCopy(t, db);
  for (const level of levels) await abilityOf(db).apply(level, copy, never);
  return drill(t, db, copy);
}

async function drill(t: TestContext, db: GtmDatabase, copy: Copy): Promise<string> {
  const said: string[] = [];
  for await (const finding of db.application().verify({ ...copy, scratch: await directory(t) }, never)) {
    assert.notEqual(finding.severity, 'error', finding.said);
    if (finding.check === 'invariant') said.push(finding.said);
  }
  assert.equal(said.length, 1);
  return said[0] ?? '';
}

function lastIn(said: string): number {
  return Number(/la\(1\)=(\d+)/.exec(said)?.[1] ?? Number.NaN);
}

async function refused(action: Promise<unknown>, code: string, said: RegExp): Promise<void> {
  await assert.rejects(action, (error) => {
    assert.ok(error instanceof StillpointError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, said);
    return true;
  });
}

/** Another backup, of somebody who knows nothing of ours: it moves the engine's marks. */
async function foreignBackup(db: GtmDatabase): Promise<void> {
  const args = ['backup', '-bytestream', '-online', '-record', '-since=bytestream', 'DEFAULT,SECOND'];
  const answer = await db.gtm.mupip([...args, '"| cat > /dev/null","| cat > /dev/null"'], limits);
  assert.ok(wentWell(answer), answer.text);
}

describe('gtm: the own backup', { skip: whyNoGtm() ?? false }, () => {
  it('makes levels that go on top of each other, whatever other backups did to the marks of the engine', async (t) => {
    const db = await database(t, { regions: 2 });
    const load = await db.load(1);
    const full = await take(t, db, 'full');
    const acknowledged = (await load.acknowledged()).at(-1)?.n ?? 0;
    await clock.sleep(300);
    const first = await take(t, db, 'incremental', full.answer.to);
    await foreignBackup(db);
    await clock.sleep(200);
    const second = await take(t, db, 'incremental', first.answer.to);
    const third = await take(t, db, 'incremental', second.answer.to);
    const cumulative = await take(t, db, 'cumulative', full.answer.to);
    await load.stop();
    for (const level of [full, first, second, third, cumulative]) {
      const { finished, said, starts, to, began, ended } = level.answer;
      assert.ok(finished, said);
      assert.equal(level.answer.made, level.level);
      assert.ok(began.monoMs <= ended.monoMs);
      const seen = Object.fromEntries(starts.map((start) => [start.part, [start.file, start.position]]));
      assert.deepEqual(seen, { DEFAULT: ['a.mjl', to['DEFAULT']], SECOND: ['b.mjl', to['SECOND']] });
    }
    assert.deepEqual(first.answer.from, full.answer.to);
    assert.deepEqual(second.answer.from, first.answer.to);
    assert.deepEqual(third.answer.from, second.answer.to);
    assert.deepEqual(cumulative.answer.from, full.answer.to);
    const chain = lastIn(await restored(t, db, [full, first, second, third]));
    const short = lastIn(await restored(t, db, [full, cumulative]));
    assert.ok(lastIn(await restored(t, db, [full])) <= acknowledged + 1);
    assert.ok(short >= chain && chain > acknowledged, `${short} ${chain} ${acknowledged}`);
    assert.equal(lastIn(await restored(t, db, [full, first, cumulative])), short);
    await refused(restored(t, db, [full, third]), 'level-misfit', /a level between is missing/);
    await refused(restored(t, db, [full, first, second, first]), 'level-misfit', /the copy is newer/);
    await refused(restored(t, db, [first]), 'level-misfit', /./);
  });

  it('keeps a region that has not changed, and one that was never written to', async (t) => {
    const db = await database(t, { regions: 2 });
    assert.ok(wentWell(await db.gtm.xecute('set ^a=1', limits)));
    const full = await take(t, db, 'full');
    assert.ok(wentWell(await db.gtm.xecute('set ^a=2', limits)));
    const half = await take(t, db, 'incremental', full.answer.to);
    const none = await take(t, db, 'incremental', half.answer.to);
    assert.ok(half.answer.finished && none.answer.finished);
    assert.equal(half.answer.to['SECOND'], full.answer.to['SECOND']);
    assert.deepEqual(none.answer.from, none.answer.to);
    const copy = await newCopy(t, db);
    for (const level of [full, half, none]) await abilityOf(db).apply(level, copy, never);
    // `b` and `lb` are in the second region; the invariant of the writers does not hold here.
    const seen: string[] = [];
    for await (const finding of db.application().verify({ ...copy, scratch: await directory(t) }, never)) {
      seen.push(`${finding.severity} ${finding.said}`);
    }
    assert.equal(
      seen.filter((each) => /^info .*no errors detected by full integ/.test(each)).length,
      2,
      seen.join('\n'),
    );
    assert.ok(seen.some((each) => each.includes('a=2 b=')));
    assert.ok(wentWell(await db.gtm.xecute('set ^a=3,^b=1', limits)));
    const changed = await take(t, db, 'incremental', none.answer.to);
    await refused(
      (async () => {
        await abilityOf(db).apply(changed, copy, never);
        await abilityOf(db).apply(none, copy, never);
      })(),
      'level-misfit',
      /the level was made at/,
    );
  });

  it('closes a copy of live files by the level since its mark', async (t) => {
    const db = await database(t, { regions: 2, globalBuffers: 4096 });
    // Nothing but a backup or a switch would write the buffers out within the test.
    const set = ['set', '-region', '*', '-flush_time=01:00:00:00'];
    assert.ok(wentWell(await db.gtm.mupip(set, limits)));
    const load = await db.load(1);
    await clock.sleep(500);
    const before = (await load.acknowledged()).at(-1)?.n ?? 0;
    const marks = await abilityOf(db).mark?.(never);
    assert.ok(marks !== undefined);
    const copy = await newCopy(t, db);
    for (const { path } of copy.required) {
      await copyFile(path, copy.at(path));
      await clock.sleep(300);
    }
    const closing = await take(t, db, 'incremental', marks);
    assert.deepEqual(closing.answer.from, marks);
    await load.stop();
    await abilityOf(db).apply({ ...closing, dirtySince: marks }, copy, never);
    assert.ok(lastIn(await drill(t, db, copy)) > before);
    const gap = { ...closing, dirtySince: { ...marks, SECOND: '0x0000000000000001' } };
    await refused(abilityOf(db).apply(gap, copy, never), 'level-misfit', /a level between is missing/);
  });

  it('refuses what it can foresee before the engine is asked', async (t) => {
    const db = await database(t, { regions: 1 });
    const start = (level: Level, since: Marks | undefined): Promise<OnlineRun> =>
      abilityOf(db).start({ level, since, scratch: '/nonexistent', signal: never });
    await refused(start('incremental', undefined), 'level-misfit', /nothing that a incremental/);
    await refused(start('incremental', { OTHER: '0x0000000000000001' }), 'level-misfit', /OTHER, DEFAULT/);
    await refused(start('cumulative', { DEFAULT: '0x00000000FFFFFFFF' }), 'level-misfit', /older than the level below/);
  });

  it('works for a database of another user, from a directory that this user cannot reach', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('needs root');
    const db = await database(t, { regions: 2, owner: nobody });
    const load = await db.load(1);
    const closed = await directory(t, 0o700);
    const scratch = join(closed, 'engine');
    await mkdir(scratch, { mode: 0o700 });
    const before = await temporaries();
    const run = await abilityOf(db).start({ level: 'full', since: undefined, scratch, signal: never });
    const streams = new Map<string, string>();
    const into = await directory(t);
    for (const stream of run.streams) {
      streams.set(stream.name, join(into, stream.name));
      await pipeline(stream.open(), createWriteStream(join(into, stream.name)));
    }
    const answer = await run.finish();
    await run[Symbol.asyncDispose]();
    await load.stop();
    assert.ok(answer.finished, answer.said);
    assert.deepEqual(await temporaries(), before);
    assert.ok(lastIn(await restored(t, db, [{ level: 'full', streams }])) > 0);
  });
});

async function temporaries(): Promise<readonly string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith('stillpoint-gtm-'));
}

/** Processes of a running backup by program: all of them have scratch as their directory. */
function working(scratch: string): ReadonlyMap<string, readonly number[]> {
  const found = processesIn(scratch).map(({ pid }) => {
    try {
      return { pid, name: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() };
    } catch {
      return { pid, name: 'gone' };
    }
  });
  return new Map(
    [...Map.groupBy(found, (each) => each.name)].map(([name, all]) => [name, all.map((each) => each.pid)]),
  );
}

async function gone(scratch: string, withinMs: number): Promise<boolean> {
  const untilMs = clock.monoMs() + withinMs;
  while (processesIn(scratch).length > 0) {
    if (clock.monoMs() > untilMs) return false;
    await clock.sleep(50);
  }
  return true;
}

/** A backup of which the first region's first bytes were read; there is more than the pipes hold. */
async function stalled(
  t: TestContext,
  db: GtmDatabase,
  signal = never,
): Promise<{ readonly run: OnlineRun; readonly scratch: string; readonly rest: () => Promise<number> }> {
  const scratch = await directory(t);
  const run = await abilityOf(db).start({ level: 'full', since: undefined, scratch, signal });
  const [stream] = run.streams.filter((each) => each.name.endsWith('.bytestream'));
  assert.ok(stream !== undefined);
  const reading = stream.open()[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const first = await reading.next();
  assert.ok(first.done !== true && first.value.length > 0);
  const rest = async (): Promise<number> => {
    let bytes = 0;
    for (let next = await reading.next(); next.done !== true; next = await reading.next()) bytes += next.value.length;
    return bytes;
  };
  return { run, scratch, rest };
}

async function unharmed(t: TestContext, db: GtmDatabase, scratch: string): Promise<void> {
  assert.deepEqual(
    (await readdir(scratch)).filter((name) => name !== 'global-directory'),
    [],
  );
  const integ = await db.gtm.mupip(['integ', '-online', '-region', '*'], limits);
  assert.match(integ.text, /No errors detected by integ/);
  assert.ok(wentWell(integ), integ.text);
  const next = await take(t, db, 'full');
  assert.ok(next.answer.finished, next.answer.said);
  await restored(t, db, [next]);
}

describe('gtm: a backup that is cut off', { skip: whyNoGtm() ?? false }, () => {
  for (const victim of ['mupip', 'cat', 'reader', 'stopped', 'signal'] as const) {
    it(`(${victim}) never looks whole, leaves nothing behind and harms nobody`, async (t) => {
      const db = await database(t, { regions: 2 });
      await db.fill(20_000_000);
      const load = await db.load(1);
      const cancel = new AbortController();
      const { run, scratch, rest } = await stalled(t, db, cancel.signal);
      const already = (await load.acknowledged()).length;
      await clock.sleep(500);
      assert.ok((await load.acknowledged()).length > already, 'a writer waits for the reader of the backup');
      const pid = (name: string): number => {
        const found = working(scratch).get(name)?.[0];
        assert.ok(found !== undefined, `no ${name}`);
        return found;
      };
      if (victim === 'mupip' || victim === 'cat') {
        process.kill(pid(victim), 'SIGKILL');
        await assert.rejects(rest(), /is not whole/);
        const end = await run.finish();
        assert.equal(end.finished, false);
      }
      if (victim === 'signal') {
        cancel.abort();
        await assert.rejects(rest(), /is not whole.*it was cancelled/);
      }
      if (victim === 'stopped') process.kill(pid('mupip'), 'SIGSTOP');
      const beganMs = clock.monoMs();
      await run[Symbol.asyncDispose]();
      assert.ok(clock.monoMs() - beganMs < 10_000, 'it took long to dispose of');
      assert.ok(await gone(scratch, 10_000), `left: ${[...working(scratch).keys()].join()}`);
      if (victim === 'reader' || victim === 'stopped') await assert.rejects(rest(), /is not whole/);
      const seen = (await load.acknowledged()).length;
      await clock.sleep(300);
      assert.ok((await load.acknowledged()).length > seen, 'the writer stands still');
      await unharmed(t, db, scratch);
      await load.stop();
    });
  }

  it('ends with the process that reads it, even if that was killed', async (t) => {
    const db = await database(t, { regions: 2 });
    await db.fill(20_000_000);
    const scratch = await directory(t);
    const script = join(await directory(t), 'reader.mts');
    const module = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
    await writeFile(
      script,
      `import { gtm } from ${module('./application.ts')};
import { gtmConfig } from ${module('./config.ts')};
import { testPlatform } from ${module('../../../../test/doubles/postgres-subject.ts')};
const config = gtmConfig.parse(${JSON.stringify(db.config)});
const { online } = gtm.create(config, 'test', testPlatform, () => Promise.reject(new Error()));
const signal = new AbortController().signal;
const run = await online.start({ level: 'full', since: undefined, scratch: ${JSON.stringify(scratch)}, signal });
const stream = run.streams.find((each) => each.name.endsWith('.bytestream')).open();
await stream[Symbol.asyncIterator]().next();
console.log('reading');
setInterval(() => undefined, 1000);
`,
    );
    const reader = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => reader.stdout.once('data', resolve));
    assert.ok(working(scratch).has('mupip'));
    reader.kill('SIGKILL');
    assert.ok(await gone(scratch, 15_000), `left: ${[...working(scratch).keys()].join()}`);
    assert.equal(existsSync(join(scratch, 'tmp')), false);
    for (const name of await readdir(scratch)) await rm(join(scratch, name));
    await unharmed(t, db, scratch);
  });
});
