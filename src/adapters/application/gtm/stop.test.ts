import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { type GtmDatabase, openGtm, whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { HoldToken } from '../../../model/hold.ts';
import type { Argv } from './commands.ts';
import { environmentOf } from './commands.ts';
import { wentWell } from './engine.ts';
import { regionsOf } from './locate.ts';
import { GtmStop, markFileOf, startAgain, stopStatus } from './stop.ts';

const limits = { limitMs: 60_000 };
const never = new AbortController().signal;

let tokens = 0;
function newToken(): HoldToken {
  tokens += 1;
  const runId = `gtm-stop-${process.pid}-${tokens}`;
  return { runId, workload: 'test', engine: 'gtm', identity: runId, way: 'stop' };
}

interface Stage {
  readonly db: GtmDatabase;
  readonly stop: Argv;
  readonly start: Argv;
  readonly markFile: string;
  /** Lines of the log that the commands write. */
  readonly told: () => Promise<readonly string[]>;
  readonly session: (more?: {
    readonly stop?: Argv;
    readonly start?: Argv;
    readonly budgetMs?: number;
  }) => Promise<GtmStop>;
}

/** A database with one user process, which the commands end and start again. */
async function stage(t: TestContext): Promise<Stage> {
  const db = await openGtm({ regions: 2 });
  const home = await mkdtemp(join(tmpdir(), 'sp-gtm-stop-'));
  const [pid, log] = [join(home, 'pid'), join(home, 'log')];
  const mumps = join(db.gtm.place.distribution, 'mumps');
  const variables = Object.entries(environmentOf(db.gtm.place)).map(([name, value]) => `export ${name}='${value}'`);
  const script = async (name: string, ...lines: readonly string[]): Promise<Argv> => {
    const at = join(home, name);
    await writeFile(at, ['#!/bin/sh', `echo ${name} >>${log}`, ...lines, ''].join('\n'), { mode: 0o755 });
    return [at];
  };
  const start = await script(
    'start',
    ...variables.map((each) => each.replaceAll("export gtm_etrap='write $zstatus,! zhalt 1'", '')),
    `if [ -s ${pid} ] && kill -0 $(cat ${pid}) 2>/dev/null; then exit 0; fi`,
    `setsid ${mumps} -run ^%XCMD 'set ^a=1,^b=1 for  hang 1' </dev/null >/dev/null 2>&1 &`,
    `echo $! >${pid}`,
    'sleep 0.5',
  );
  const stop = await script('stop', `kill $(cat ${pid})`);
  const started = await testPlatform.exec.run({ argv: start, timeoutMs: 10_000 });
  assert.equal(started.exitCode, 0, started.stderr);
  t.after(async () => {
    await testPlatform.exec.run({ argv: stop, timeoutMs: 10_000 });
    await testPlatform.clock.sleep(200);
    await db[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });
  const markFile = markFileOf(join(home, 'state'), newToken());
  return {
    db,
    stop,
    start,
    markFile,
    told: async () => (await readFile(log, 'utf8')).trim().split('\n').slice(1),
    session: async (more = {}) => {
      const regions = await regionsOf(db.gtm);
      const commands = { stop: more.stop ?? stop, start: more.start ?? start, markFile };
      return new GtmStop(db.gtm, testPlatform, regions, commands, more.budgetMs ?? 10_000);
    },
  };
}

describe('gtm: the cold hold', { skip: whyNoGtm() ?? false }, () => {
  it('stops the users, proves that nobody has the files open, and starts them again, once', async (t) => {
    const { db, session, told, markFile } = await stage(t);
    const hold = await session();
    await hold.prepare();
    const before = await hold.observe();
    const frozen = await hold.freeze();
    assert.ok(frozen.frozen, frozen.said);
    assert.deepEqual(
      frozen.starts?.map((each) => [each.part, each.file]),
      [
        ['SECOND', 'b.mjl'],
        ['DEFAULT', 'a.mjl'],
      ].toSorted(
        (a, b) =>
          (frozen.starts?.findIndex((f) => f.part === a[0]) ?? 0) -
          (frozen.starts?.findIndex((f) => f.part === b[0]) ?? 0),
      ),
    );
    for (const file of db.files) {
      const header = await db.gtm.mupip(['dumpfhead', '-file', file], limits);
      assert.match(header.text, /sgmnt_data\.shmid"\)=-1/);
    }
    assert.ok((await hold.ask()).frozen);
    assert.deepEqual(await hold.observe(), before);
    assert.equal(stopStatus(await regionsOf(db.gtm), markFile).state, 'frozen');
    const thawed = await hold.thaw();
    assert.ok(thawed.thawed && thawed.heldThroughout, thawed.said);
    assert.match(thawed.said, /has opened the database/);
    assert.ok((await hold.thaw()).thawed);
    await hold.close();
    assert.deepEqual(await told(), ['stop', 'start']);
    assert.equal(existsSync(markFile), false);
    assert.equal(stopStatus(await regionsOf(db.gtm), markFile).state, 'thawed');
    // The journal begins where the copy ends.
    const { journals } = db.application();
    const files = await journals?.list(never);
    for (const start of frozen.starts ?? [])
      assert.ok(files?.some((file) => file.part === start.part && file.begin === start.position));
  });

  it('notices that somebody opened the database meanwhile', async (t) => {
    const { db, session } = await stage(t);
    const hold = await session();
    await hold.prepare();
    assert.ok((await hold.freeze()).frozen);
    assert.ok(wentWell(await db.gtm.xecute('write $get(^b),!', limits)));
    const asked = await hold.ask();
    assert.equal(asked.frozen, false);
    assert.match(asked.said, /was opened since the stop/);
    const thawed = await hold.thaw();
    assert.ok(thawed.thawed && !thawed.heldThroughout);
  });

  it('starts again what was not stopped in time, or only in part', async (t) => {
    const { db, session, told } = await stage(t);
    const straggler = spawn(join(db.gtm.place.distribution, 'mumps'), ['-run', '^%XCMD', 'set ^a=2 hang 60'], {
      env: { ...process.env, ...environmentOf(db.gtm.place) },
      stdio: 'ignore',
    });
    t.after(() => straggler.kill('SIGTERM'));
    await testPlatform.clock.sleep(500);
    const hold = await session({ budgetMs: 2_000 });
    await hold.prepare();
    const frozen = await hold.freeze();
    assert.equal(frozen.frozen, false);
    assert.match(frozen.said, new RegExp(`still in use: process .*${straggler.pid}`));
    assert.equal((await hold.ask()).frozen, false);
    const thawed = await hold.thaw();
    assert.ok(thawed.thawed && !thawed.heldThroughout);
    assert.deepEqual(await told(), ['stop', 'start']);
    const closed = new Promise((resolve) => straggler.once('exit', resolve));
    straggler.kill('SIGTERM');
    await closed;
  });

  it('starts again when the stop command fails or hangs, and says so when the start fails', async (t) => {
    const { session, told, markFile, db } = await stage(t);
    const failing = await session({ stop: ['/bin/false'] });
    await failing.prepare();
    assert.match((await failing.freeze()).said, /ended with 1/);
    assert.ok((await failing.thaw()).thawed);
    const hanging = await session({ stop: ['/bin/sleep', '60'], start: ['/bin/false'], budgetMs: 1_500 });
    await hanging.prepare();
    assert.equal((await hanging.freeze()).frozen, false);
    const thawed = await hanging.thaw();
    assert.equal(thawed.thawed, false);
    assert.match(thawed.said, /\/bin\/false ended with 1/);
    assert.ok(existsSync(markFile));
    assert.equal(stopStatus(await regionsOf(db.gtm), markFile).state, 'frozen');
    assert.deepEqual(await told(), ['start']);
  });

  it('is ended from another process by the mark that it left, and never without one', async (t) => {
    const { db, session, told, markFile, start } = await stage(t);
    const regions = await regionsOf(db.gtm);
    assert.ok((await startAgain(testPlatform, regions, { start, markFile })).thawed);
    assert.deepEqual(await told(), []);
    const hold = await session();
    await hold.prepare();
    assert.ok((await hold.freeze()).frozen);
    const thawed = await startAgain(testPlatform, regions, { start: undefined, markFile });
    assert.ok(thawed.thawed, thawed.said);
    assert.ok((await startAgain(testPlatform, regions, { start, markFile })).thawed);
    assert.deepEqual(await told(), ['stop', 'start']);
  });

  it('refuses commands that cannot be executed before anything is stopped', async (t) => {
    const { session, told, markFile } = await stage(t);
    const hold = await session({ start: ['/nonexistent/start'] });
    await assert.rejects(
      hold.prepare(),
      (error) => error instanceof StillpointError && error.code === 'config-invalid',
    );
    assert.ok((await hold.thaw()).thawed);
    await hold.close();
    assert.equal(existsSync(markFile), false);
    assert.deepEqual(await told(), []);
  });

  it('belongs to an application that was told how to stop and to start, and to no other', async (t) => {
    const { db, stop, start, told } = await stage(t);
    assert.equal(db.application().openStop === undefined, true);
    assert.equal(db.application({ stop }).openStop === undefined, true);
    const application = db.application({ stop, start });
    const token = newToken();
    const hold = await application.openStop?.(token, 10_000);
    await hold?.prepare();
    assert.ok((await hold?.freeze())?.frozen);
    assert.equal((await application.status(token)).state, 'frozen');
    const thawed = await application.thaw(token);
    assert.ok(thawed.thawed, thawed.said);
    assert.equal((await application.status(token)).state, 'thawed');
    assert.deepEqual(await told(), ['stop', 'start']);
  });
});
