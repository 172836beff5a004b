import assert from 'node:assert/strict';
import { createWriteStream, existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { describe, it, type TestContext } from 'node:test';
import { type GtmDatabase, type GtmOptions, type Load, openGtm, whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { JournalFile, JournalStart, RecoveryTarget } from '../../../model/journal.ts';
import type { Finding } from '../../../model/point.ts';
import type { Application, Copy } from '../../../ports/application.ts';
import type { Journals, PlacedJournal } from '../../../ports/journals.ts';
import { wentWell } from './engine.ts';

const limits = { limitMs: 60_000 };
const never = new AbortController().signal;
const { clock } = testPlatform;

async function directory(t: TestContext): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'sp-gtm-journals-'));
  await chmod(made, 0o755);
  t.after(() => rm(made, { recursive: true, force: true }));
  return made;
}

async function database(t: TestContext, options: GtmOptions): Promise<GtmDatabase> {
  const opened = await openGtm(options);
  t.after(() => opened[Symbol.asyncDispose]());
  return opened;
}

function abilityOf(db: GtmDatabase): Journals {
  const { journals } = db.application();
  assert.ok(journals !== undefined);
  return journals;
}

async function newCopy(t: TestContext, application: Application): Promise<Copy> {
  const at = await directory(t);
  const { paths, facts } = await application.locate(never);
  for (const { path } of paths) await mkdir(dirname(join(at, path)), { recursive: true });
  return { at: (original) => join(at, original), required: paths, facts, scratch: await directory(t) };
}

interface Base {
  readonly starts: readonly JournalStart[];
  /** A copy of its own for each recovery. */
  copy(): Promise<Copy>;
}

async function onlineBase(t: TestContext, db: GtmDatabase): Promise<Base> {
  const application = db.application();
  const { online } = application;
  assert.ok(online !== undefined);
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
  return {
    starts,
    async copy() {
      const copy = await newCopy(t, application);
      await online.apply({ level: 'full', streams }, copy, never);
      return copy;
    },
  };
}

/** Files copied while an online freeze holds. */
async function frozenBase(t: TestContext, db: GtmDatabase): Promise<Base> {
  const application = db.application();
  const runId = `gtm-journals-${process.pid}`;
  const hold = await application.openHold({ runId, workload: 'test', engine: 'gtm', identity: runId }, 5_000);
  await hold.prepare();
  const { frozen, said } = await hold.freeze();
  assert.ok(frozen, said);
  const kept = await newCopy(t, application);
  for (const { path } of kept.required) await copyFile(path, kept.at(path));
  const { starts, heldThroughout } = await hold.thaw();
  await hold.close();
  assert.ok(heldThroughout);
  assert.ok(starts !== undefined);
  return {
    starts,
    async copy() {
      const copy = await newCopy(t, application);
      for (const { path } of copy.required) await copyFile(kept.at(path), copy.at(path));
      return copy;
    },
  };
}

/** Copies of the chain of each region from where a base begins, elsewhere and under other names. */
async function placed(
  t: TestContext,
  files: readonly JournalFile[],
  starts: readonly JournalStart[],
): Promise<readonly PlacedJournal[]> {
  const into = await directory(t);
  const chain: PlacedJournal[] = [];
  for (const { part, position, file: name } of starts) {
    const closed = files.filter((each) => each.part === part && each.end !== undefined);
    let next: string | undefined = closed.find((each) => each.name === name)?.begin ?? position;
    for (const file of closed) {
      if (file.begin !== next) continue;
      const at = join(into, `${chain.length}-${file.name}`);
      await copyFile(file.path, at);
      chain.push({ file, at });
      next = file.end;
    }
  }
  return chain;
}

async function forward(
  t: TestContext,
  db: GtmDatabase,
  copy: Copy,
  files: readonly PlacedJournal[],
  target: RecoveryTarget,
): Promise<{ readonly last: number; readonly findings: readonly Finding[] }> {
  const findings = await abilityOf(db).rollForward(copy, files, target, never);
  let last = Number.NaN;
  for await (const finding of db.application().verify({ ...copy, scratch: await directory(t) }, never)) {
    assert.notEqual(finding.severity, 'error', finding.said);
    const found = /la\(1\)=(\d+)/.exec(finding.said)?.[1];
    if (finding.check === 'invariant') last = Number(found);
  }
  return { last, findings };
}

async function refused(action: Promise<unknown>, said: RegExp): Promise<void> {
  await assert.rejects(action, (error) => {
    assert.ok(error instanceof StillpointError, String(error));
    assert.equal(error.code, 'journal-misfit');
    assert.match(error.message, said);
    return true;
  });
}

/** Switches every half second while a load runs. */
async function history(db: GtmDatabase, load: Load, ms: number): Promise<void> {
  for (const untilMs = clock.monoMs() + ms; clock.monoMs() < untilMs;) {
    await clock.sleep(500);
    await abilityOf(db).switch(never);
  }
  await load.stop();
  await abilityOf(db).switch(never);
}

describe('gtm: journals', { skip: whyNoGtm() ?? false }, () => {
  it('lists every file of each region as a chain, with the open one last and final names for the others', async (t) => {
    const db = await database(t, { regions: 2 });
    const application = db.application({ environment: { SPDB: db.directory, TZ: 'America/New_York' } });
    const load = await db.load(1);
    const beganMs = clock.wallMs();
    await history(db, load, 1_600);
    const { journals } = application;
    assert.ok(journals !== undefined);
    const files = await journals.list(never);
    const open = files.filter((file) => file.end === undefined);
    assert.deepEqual(
      open.map((file) => [file.part, file.name]),
      [
        ['SECOND', 'b.mjl'],
        ['DEFAULT', 'a.mjl'],
      ].toSorted((x, y) => files.findIndex((f) => f.part === x[0]) - files.findIndex((f) => f.part === y[0])),
    );
    for (const part of ['DEFAULT', 'SECOND']) {
      const mine = files.filter((file) => file.part === part);
      assert.ok(mine.length > 3);
      assert.equal(new Set(mine.map((file) => file.name)).size, mine.length);
      for (const [index, file] of mine.entries()) {
        assert.ok(existsSync(file.path) && file.bytes > 0);
        assert.ok(Math.abs(Date.parse(file.beganAt) - beganMs) < 60_000, `${file.beganAt} is not UTC`);
        const next = mine[index + 1];
        if (next !== undefined) assert.equal(next.begin, file.end);
        if (file.end !== undefined) assert.match(file.name, /^[ab]\.mjl_\d+/);
      }
    }
    const before = files
      .filter((file) => file.end !== undefined)
      .map((file) => `${file.part} ${file.name} ${file.begin}`);
    await journals.switch(never);
    const after = (await journals.list(never)).map((file) => `${file.part} ${file.name} ${file.begin}`);
    assert.deepEqual(
      before.filter((each) => !after.includes(each)),
      [],
    );
  });

  it('removes closed files that nobody needs, and no other', async (t) => {
    const db = await database(t, { regions: 2 });
    const journals = abilityOf(db);
    for (const value of [1, 2, 3]) {
      assert.ok(wentWell(await db.gtm.xecute(`set ^a=${value},^b=${value}`, limits)));
      // The journal's times are whole seconds: recovery goes back over all files of the last ones.
      if (value === 3) await clock.sleep(12_000);
      await journals.switch(never);
    }
    const files = (await journals.list(never)).filter((file) => file.part === 'DEFAULT');
    const [oldest, middle, newest, open] = files;
    assert.ok(oldest !== undefined && middle !== undefined && newest !== undefined && open !== undefined);
    const needs = (await journals.needed(never)).filter((need) => need.part === 'DEFAULT').map((need) => need.name);
    assert.deepEqual(needs.toSorted(), [open.name, newest.name].toSorted());
    await journals.remove(oldest);
    assert.equal(existsSync(oldest.path), false);
    await journals.remove(oldest);
    await assert.rejects(journals.remove(open), /is not the closed file/);
    await assert.rejects(journals.remove({ ...middle, begin: '0x00000000000000FF' }), /is not the closed file/);
    assert.ok(existsSync(middle.path) && existsSync(open.path));
    // A gap and a stranger in the directory keep nobody from reading the others.
    await journals.remove(middle);
    await copyFile(db.files[0] ?? '', join(db.directory, 'a.mjl_stranger'));
    const left = (await journals.list(never)).filter((file) => file.part === 'DEFAULT');
    assert.deepEqual(
      left.map((file) => file.name),
      [newest.name, open.name],
    );
    // What crash recovery needs is there.
    const load = await db.load(1);
    await clock.sleep(300);
    process.kill(load.pid, 'SIGKILL');
    await load.stop();
    const recovered = await db.gtm.mupip(['journal', '-recover', '-backward', '*'], limits);
    assert.ok(wentWell(recovered), recovered.text);
  });

  it('keeps all that recovery after a crash goes back over, however often and however unevenly was switched', async (t) => {
    const db = await database(t, { regions: 2 });
    const journals = abilityOf(db);
    for (const how of ['together', 'one alone'] as const) {
      const load = await db.load(1);
      await clock.sleep(200);
      for (let n = 0; n < 4; n += 1) {
        if (how === 'together') await journals.switch(never);
        else {
          assert.ok(wentWell(await db.gtm.mupip(['set', '-region', 'DEFAULT', '-journal=on,before'], limits)));
          await clock.sleep(1_500);
        }
      }
      const needed = new Set((await journals.needed(never)).map((need) => `${need.part} ${need.name}`));
      for (const file of await journals.list(never)) {
        if (file.end !== undefined && !needed.has(`${file.part} ${file.name}`)) await journals.remove(file);
      }
      process.kill(load.pid, 'SIGKILL');
      await load.stop();
      const recovered = await db.gtm.mupip(['journal', '-recover', '-backward', '*'], limits);
      assert.ok(wentWell(recovered), `${how}: ${recovered.text}`);
    }
  });

  for (const kind of ['online backup', 'frozen copy'] as const) {
    it(`rolls a copy (${kind}) forward to random seconds: all that was acknowledged, and nothing later`, async (t) => {
      const db = await database(t, {
        regions: 2,
        globalBuffers: 4096,
        ...(kind === 'online backup' ? {} : { freeze: 'online' }),
      });
      const load = await db.load(1);
      await clock.sleep(300);
      const base = await (kind === 'online backup' ? onlineBase : frozenBase)(t, db);
      const fromMs = clock.wallMs() + 1_000;
      await history(db, load, 6_000);
      const toMs = clock.wallMs();
      const acknowledged = await load.acknowledged();
      const files = await placed(t, await abilityOf(db).list(never), base.starts);
      assert.ok(files.length > 10);
      const targets = Array.from({ length: 5 }, () => fromMs + Math.random() * (toMs - fromMs));
      for (const ms of targets) {
        const at = new Date(ms).toISOString();
        const { last, findings } = await forward(t, db, await base.copy(), files, { kind: 'time', at });
        const endMs = (Math.floor(ms / 1000) + 1) * 1000;
        const within = acknowledged.filter((each) => each.ms < endMs).length;
        // The engine takes its seconds from the kernel's coarse clock, which is up to a tick behind that of the acknowledgement.
        const tick = acknowledged.filter((each) => each.ms < endMs + 20).length;
        assert.ok(last >= within && last <= tick + 1, `${at}: ${last}, acknowledged ${within}, then ${tick}`);
        assert.deepEqual(
          findings.filter((each) => each.severity !== 'info'),
          [],
        );
      }
      const all = await forward(t, db, await base.copy(), files, { kind: 'latest' });
      // Its last transaction may have been committed but not acknowledged when the load was ended.
      assert.ok([0, 1].includes(all.last - (acknowledged.at(-1)?.n ?? 0)), `${all.last}`);
      const limit = files.filter((each) => each.file.part === 'DEFAULT')[3]?.file;
      assert.ok(limit !== undefined);
      const until = files.filter((each) => (each.file.endedAt ?? '') <= (limit.endedAt ?? ''));
      const some = await forward(t, db, await base.copy(), until, { kind: 'file', name: limit.name });
      assert.ok(some.last > 0 && some.last < all.last);
    });
  }

  it('refuses files that do not fit, and tells of transactions of which one region lacks its half', async (t) => {
    const db = await database(t, { regions: 2 });
    const load = await db.load(1);
    const base = await onlineBase(t, db);
    await history(db, load, 2_000);
    const files = await placed(t, await abilityOf(db).list(never), base.starts);
    const roll = async (some: readonly PlacedJournal[]): Promise<number> =>
      (await forward(t, db, await base.copy(), some, { kind: 'latest' })).last;
    const first = files.filter((each) => each.file.part === 'DEFAULT');
    const second = files.filter((each) => each.file.part === 'SECOND');
    await refused(roll([...first.toSpliced(1, 1), ...second]), /JNLTNOUTOFSEQ/);
    await refused(roll([...first.slice(1), ...second]), /JNLDBTNNOMATCH/);
    await refused(roll(first), /no journal file was given for region SECOND/);
    await refused(roll([]), /no journal file was given/);
    const lame = await forward(t, db, await base.copy(), [...first, ...second.slice(0, 2)], { kind: 'latest' });
    assert.ok(lame.findings.some((each) => each.check === 'broken-transactions' && (each.value ?? 0) > 0));
    assert.ok(lame.last < (await roll(files)));
  });
});
