/**
 * Holds of IRIS through the command line, against the stand-in: two instances in one hold, each under a writer of its own, whose real
 * database judges. What only a real instance can show is not shown here.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Evidence } from '../../src/model/evidence.ts';
import type { Point } from '../../src/model/point.ts';
import { compileCache } from '../doubles/compile-cache.ts';
import { systemExec, type CommandResult, type RunningProcess } from '../../src/platform/exec.ts';
import { Gtm } from '../doubles/iris/gtm.ts';
import { irisStandIn, whyNoIris, type IrisStandIn, type Writer } from '../doubles/iris/stand-in.ts';
import { endsWithin, eventually, marked, processState } from './stage.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const names = ['ONE', 'TWO'] as const;

interface Scene {
  readonly standIn: IrisStandIn;
  readonly writers: readonly Writer[];
  readonly home: string;
  readonly mark: string;
  readonly run: (...args: readonly string[]) => Promise<CommandResult>;
  readonly start: (fault: string, ...args: readonly string[]) => RunningProcess;
}

async function scene(t: TestContext): Promise<Scene | undefined> {
  const why = whyNoIris();
  if (why !== undefined) {
    t.skip(why);
    return undefined;
  }
  const standIn = await irisStandIn({
    instances: [...names.map((name) => ({ name })), { name: 'VERIFY', databases: [{ name: 'IRISSYS' }] }],
  });
  t.after(async () => standIn[Symbol.asyncDispose]());
  const home = await mkdtemp(join(tmpdir(), 'sp-iris-'));
  t.after(async () => rm(home, { recursive: true, force: true }));
  await mkdir(join(home, 'state'));
  await writeFile(join(home, 'password'), 'a password for tests\n', { mode: 0o600 });
  const config = join(home, 'stillpoint.yaml');
  await writeFile(
    config,
    JSON.stringify({
      repository: { store: { local: join(home, 'repository') }, passwordFile: join(home, 'password') },
      stateDirectory: join(home, 'state'),
      workloads: {
        his: {
          application: { iris: { instances: names, verify: { instance: 'VERIFY' } } },
          storage: [{ copy: {} }],
          hold: { budget: '30s' },
        },
      },
    }),
  );
  const mark = `iris-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const env = { ...compileCache(), STILLPOINT_STAGE: mark, PATH: `${standIn.bin}:${process.env['PATH'] ?? ''}` };
  const argv = (args: readonly string[]): [string, ...string[]] => [
    process.execPath,
    main,
    ...args,
    '--config',
    config,
  ];
  const run: Scene['run'] = (...args) => systemExec.run({ argv: argv(args), env, timeoutMs: 120_000 });
  const made = await run('repo', 'init');
  assert.equal(made.exitCode, 0, made.stderr);
  const writers = await Promise.all(names.map((name) => standIn.startWriter(name)));
  return {
    standIn,
    writers,
    home,
    mark,
    run,
    start: (fault, ...args) => systemExec.start({ argv: argv(args), env: { ...env, STILLPOINT_FAULT: fault } }),
  };
}

function frozen(standIn: IrisStandIn): readonly string[] {
  return names.filter((name) => standIn.instance(name).freeze !== undefined);
}

async function allWrite(writers: readonly Writer[]): Promise<boolean> {
  const seen = writers.map((writer) => writer.acknowledged());
  return await eventually(() => writers.every((writer, index) => writer.acknowledged() > (seen[index] ?? 0)), 10_000);
}

describe('IRIS holds through the command line, against the stand-in', () => {
  it('holds two instances at once, tells what the engine logged, and its history only after a passed drill', async (t) => {
    const stage = await scene(t);
    if (stage === undefined) return;
    const { standIn, writers, home } = stage;
    const before = writers.map((writer) => writer.acknowledged());
    const made = await stage.run('backup', 'his', '--json');
    assert.equal(made.exitCode, 0, made.stderr + made.stdout);
    const { point } = JSON.parse(made.stdout) as { point: Point };
    assert.equal(point.verdict, 'application-consistent');
    assert.deepEqual(new Set(point.starts.map((start) => start.part)), new Set(names));
    assert.deepEqual(frozen(standIn), []);
    assert.ok(await allWrite(writers));
    const shown = await stage.run('show', point.id, '--json');
    const { evidence } = JSON.parse(shown.stdout) as { evidence: Evidence };
    const logged = evidence.events.filter((event) => event.by === 'engine').map((event) => event.what);
    for (const text of ['System suspended', 'System resumed'])
      assert.ok(
        logged.some((each) => each.includes(text)),
        logged.join('\n'),
      );
    const history = (): readonly number[] => names.map((name) => standIn.instance(name).history.length);
    assert.deepEqual(history(), [0, 0], 'a mere backup tells nothing');
    const drilled = await stage.run('drill', point.id, '--json');
    assert.equal(drilled.exitCode, 0, drilled.stderr + drilled.stdout);
    assert.deepEqual(history(), [1, 1], 'a passed drill does');
    const target = join(home, 'restored');
    const restored = await stage.run('restore', point.id, '--target', target, '--json');
    assert.equal(restored.exitCode, 0, restored.stderr + restored.stdout);
    const gtm = new Gtm(standIn.root);
    for (const [index, name] of names.entries()) {
      const directory = join(target, standIn.database(name, 'USER').directory);
      assert.equal(gtm.adopt(directory).code, 0);
      const rows = standIn.rows(directory);
      assert.ok(
        rows.gapless && rows.last >= (before[index] ?? 0),
        `${name}: ${JSON.stringify(rows)}, acknowledged ${before[index]}`,
      );
    }
  });

  it('leaves neither frozen when the second does not freeze', async (t) => {
    const stage = await scene(t);
    if (stage === undefined) return;
    const { standIn, writers } = stage;
    standIn.faults('TWO', { freezeFails: true });
    const made = await stage.run('backup', 'his', '--json');
    assert.equal(made.exitCode, 5, made.stdout);
    assert.deepEqual(frozen(standIn), []);
    assert.ok(await allWrite(writers));
    const listed = JSON.parse((await stage.run('points', 'his', '--json')).stdout) as { points: readonly Point[] };
    assert.deepEqual(listed.points, []);
  });

  for (const victim of ['flow', 'both'] as const) {
    it(`leaves neither frozen when ${victim === 'both' ? 'flow and guard are' : 'the flow is'} killed in the hold`, async (t) => {
      const stage = await scene(t);
      if (stage === undefined) return;
      const { standIn, writers } = stage;
      const flow = stage.start('stop:after:freeze', 'backup', 'his', '--json');
      assert.ok(await eventually(async () => (await processState(flow.pid)) === 'T', 60_000), flow.stderrTail());
      assert.deepEqual(frozen(standIn), [...names]);
      const status = JSON.parse((await stage.run('status', 'his', '--json')).stdout) as { status: { state: string } };
      assert.equal(status.status.state, 'frozen');
      if (victim === 'both') {
        const guards = (await marked(stage.mark)).filter((each) => /guard\/main\.ts guard/.test(each.command));
        assert.equal(guards.length, 1, JSON.stringify(guards));
        for (const { pid } of guards) process.kill(pid, 'SIGKILL');
      }
      flow.kill('SIGKILL');
      assert.ok(await endsWithin(flow, 10_000));
      assert.ok(await eventually(() => frozen(standIn).length === 0, 20_000), 'both thaw by themselves');
      assert.equal((await stage.run('recover', '--json')).exitCode, 0);
      assert.ok(await allWrite(writers));
    });
  }
});
