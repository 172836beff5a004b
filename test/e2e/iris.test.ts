/**
 * The engine's own backup of IRIS from the command line, on a stand-in whose databases are real ones of GT.M: what a writer had acknowledged
 * is held against what a restore gives back. No real IRIS is met here.
 */
import assert from 'node:assert/strict';
import { compileCache } from '../doubles/compile-cache.ts';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Evidence } from '../../src/model/evidence.ts';
import type { Point } from '../../src/model/point.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { type RunningProcess, systemExec } from '../../src/platform/exec.ts';
import { Gtm } from '../doubles/iris/gtm.ts';
import { irisStandIn, type IrisStandIn, whyNoIris } from '../doubles/iris/stand-in.ts';
import { eventually } from './stage.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

interface Scene {
  readonly standIn: IrisStandIn;
  readonly directory: string;
  /** Where the engine writes. */
  readonly place: string;
  readonly run: <T>(args: readonly string[], exitCode?: number) => Promise<T>;
  start(args: readonly string[]): RunningProcess;
  write(ms?: number): Promise<number>;
}

async function scene(t: TestContext): Promise<Scene> {
  const standIn = await irisStandIn({
    instances: [{ name: 'HIS' }, { name: 'VERIFY', databases: [{ name: 'IRISSYS' }] }],
  });
  t.after(() => standIn[Symbol.asyncDispose]());
  const directory = await mkdtemp(join(tmpdir(), 'sp-iris-cli-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await chmod(directory, 0o755);
  const place = join(directory, 'engine');
  await mkdir(place);
  const config = {
    repository: { store: { local: join(directory, 'repository') }, passwordFile: join(directory, 'key') },
    stateDirectory: join(directory, 'state'),
    workloads: {
      his: {
        application: {
          iris: {
            instances: ['HIS'],
            verify: { instance: 'VERIFY' },
            backupDirectory: place,
            maySpoilHistory: true,
          },
        },
      },
    },
  };
  const configFile = join(directory, 'stillpoint.yaml');
  await writeFile(configFile, JSON.stringify(config));
  const argv = (args: readonly string[]): [string, ...string[]] => [
    process.execPath,
    main,
    ...args,
    '--json',
    '--config',
    configFile,
  ];
  const env = {
    ...compileCache(),
    PATH: `${standIn.bin}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin`,
  };
  const run = async <T>(args: readonly string[], exitCode = 0): Promise<T> => {
    const done = await systemExec.run({ argv: argv(args), env, timeoutMs: 120_000 });
    assert.equal(done.exitCode, exitCode, `${args.join(' ')}: ${done.stderr.slice(-3000)}${done.stdout}`);
    return JSON.parse(done.stdout) as T;
  };
  await run(['repo', 'init', '--generate-password']);
  return {
    standIn,
    directory,
    place,
    run,
    start: (args) => systemExec.start({ argv: argv(args), env }),
    async write(ms = 150) {
      const writer = await standIn.startWriter('HIS');
      await systemClock.sleep(ms);
      return await writer.stop();
    },
  };
}

async function make({ run, place }: Scene, exitCode: number, ...args: readonly string[]): Promise<Point> {
  const { point } = await run<{ point: Point }>(['backup', 'his', ...args], exitCode);
  assert.equal(point.verdict, 'application-consistent');
  assert.deepEqual(await readdir(place), []);
  return point;
}

/** Rows of a restored point, whose file is opened beside the original. */
async function restored({ run, directory, standIn }: Scene, point: Point, ...to: readonly string[]): Promise<number> {
  const target = await mkdtemp(join(directory, 'restored-'));
  await run(['restore', point.id, '--target', target, ...to]);
  const at = target + standIn.database('HIS', 'USER').directory;
  const gtm = new Gtm(standIn.root);
  assert.equal(gtm.adopt(at).code, 0);
  const { last, gapless } = standIn.rows(at);
  assert.ok(gapless, 'a row is missing');
  gtm.rundown(at);
  return last;
}

describe("IRIS, stand-in: the engine's own backup by the command line", { skip: whyNoIris() ?? false }, () => {
  it('makes a chain, restores each of its points, and holds drills', async (t) => {
    const s = await scene(t);
    const ends = [await s.write()];
    const full = await make(s, 0, '--method', 'online');
    ends.push(await s.write());
    const first = await make(s, 0, '--method', 'online');
    ends.push(await s.write());
    const cumulative = await make(s, 0, '--method', 'online', '--level', 'cumulative');
    ends.push(await s.write());
    const second = await make(s, 0, '--method', 'online', '--level', 'incremental');
    const points = [full, first, cumulative, second];
    assert.deepEqual(
      points.map(({ level, parent }) => [level, parent]),
      [
        ['full', null],
        ['incremental', full.id],
        ['cumulative', full.id],
        ['incremental', cumulative.id],
      ],
    );
    for (const [i, point] of points.entries()) assert.equal(await restored(s, point), ends[i]);
    const { drill } = await s.run<{ drill: { outcome: string } }>(['drill', second.id]);
    assert.equal(drill.outcome, 'passed');
    ends.push(await s.write());
    // The drill told the history nothing, so the chain goes on.
    const third = await make(s, 0, '--method', 'online');
    assert.deepEqual([third.level, third.parent], ['incremental', second.id]);
    assert.equal(await restored(s, third), ends[4]);
    const beyond = await s.write();
    await s.run(['journal', 'ship', 'his']);
    assert.equal(await restored(s, third, '--to', 'latest'), beyond, 'and its journals go on from there');
  });

  it('reports the larger level after a foreign backup, refuses after a foreign full, and goes on after a kill', async (t) => {
    const s = await scene(t);
    await s.write();
    const full = await make(s, 0, '--method', 'online');
    const foreign = async (type: string): Promise<void> => {
      const line = `set x=$$BACKUP^DBACK("","${type}","nightly","${s.directory}/foreign","Y","","QUIET","N","Y") write "SP:x=",x,!`;
      const done = await s.standIn.run('iris', ['session', 'HIS', '-U%SYS'], { stdin: `${line}\nhalt\n` });
      assert.match(done.stdout, /SP:x=1/);
    };
    await foreign('I');
    const end = await s.write();
    const larger = await make(s, 3, '--method', 'online');
    assert.deepEqual([larger.level, larger.parent], ['cumulative', full.id]);
    const { evidence } = await s.run<{ evidence: Evidence }>(['show', larger.id]);
    assert.match(evidence.online?.why ?? '', /nightly/);
    assert.equal(await restored(s, larger), end);
    await foreign('F');
    const { error } = await s.run<{ error: { code: string } }>(['backup', 'his', '--method', 'online'], 5);
    assert.equal(error.code, 'level-misfit');
    assert.deepEqual(await readdir(s.place), []);

    s.standIn.faults('HIS', { backupHangs: true });
    const flow = s.start(['backup', 'his', '--method', 'online', '--level', 'full']);
    assert.ok(await eventually(async () => s.standIn.instance('HIS').backup.running, 30_000));
    flow.kill('SIGTERM');
    await flow.exited;
    assert.deepEqual(await readdir(s.place), [], 'a cancelled run leaves nothing');
    const { running, aborting } = s.standIn.instance('HIS').backup;
    assert.deepEqual([running, aborting], [false, false]);
    s.standIn.faults('HIS', {});
    const last = await s.write();
    assert.equal(await restored(s, await make(s, 0, '--method', 'online', '--level', 'full')), last);
  });

  it('leaves nothing that the next run does not take away when it is killed', async (t) => {
    const s = await scene(t);
    await s.write();
    const full = await make(s, 0, '--method', 'online');
    s.standIn.faults('HIS', { backupHangs: true });
    const flow = s.start(['backup', 'his', '--method', 'online']);
    assert.ok(await eventually(async () => s.standIn.instance('HIS').backup.running, 30_000));
    flow.kill('SIGKILL');
    await flow.exited;
    assert.equal((await readdir(s.place)).length, 1, 'the engine goes on with it');
    const busy = await s.run<{ error: { code: string } }>(
      ['backup', 'his', '--method', 'online', '--level', 'full'],
      5,
    );
    assert.equal(busy.error.code, 'command-failed');
    s.standIn.faults('HIS', {});
    s.standIn.change('HIS', ({ backup }) => {
      backup.aborting = true;
    });
    assert.ok(await eventually(async () => !s.standIn.instance('HIS').backup.running, 10_000));
    s.standIn.change('HIS', ({ backup }) => {
      backup.aborting = false;
    });
    const end = await s.write();
    const next = await make(s, 0, '--method', 'online');
    assert.deepEqual([next.level, next.parent], ['incremental', full.id]);
    assert.equal(await restored(s, next), end);
  });

  it('closes a live copy', async (t) => {
    const s = await scene(t);
    const before = await s.write();
    const writer = await s.standIn.startWriter('HIS');
    const point = await make(s, 0, '--method', 'concurrent');
    const acknowledged = writer.acknowledged();
    await writer.stop();
    assert.deepEqual([point.level, point.parent], ['full', null]);
    const last = await restored(s, point);
    assert.ok(last > before && last <= acknowledged + 1, `${before} ${last} ${acknowledged}`);
  });
});
