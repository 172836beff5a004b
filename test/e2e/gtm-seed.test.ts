/**
 * A third instance of a real GT.M pair, made of a point by the command line while the primary is written to: it catches up with every
 * acknowledged row. A run that dies leaves nothing that could be taken for a member.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { compileCache } from '../doubles/compile-cache.ts';
import { freePort } from '../doubles/free-ports.ts';
import { openGtmPair, type GtmInstance, type GtmPair } from '../doubles/gtm-pair.ts';
import { whyNoGtm } from '../doubles/gtm.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec, type CommandResult } from '../../src/platform/exec.ts';
import { processesMarked } from '../../src/platform/process.ts';
import { endsWithin, eventually, processState } from './stage.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const limits = { limitMs: 60_000 };
const commandMs = 180_000;

interface Answer {
  readonly point?: { readonly id: string; readonly verdict: string };
  readonly seeded?: { readonly said: readonly string[]; readonly next: string };
  readonly view?: {
    readonly members: readonly {
      readonly name: string;
      readonly role: string;
      readonly health: string;
      readonly reported: string;
      readonly apply?: { readonly caughtUp?: boolean };
    }[];
  };
}

interface At extends AsyncDisposable {
  readonly pair: GtmPair;
  readonly target: string;
  readonly c: GtmInstance['gtm'];
  run(...args: readonly string[]): Promise<CommandResult>;
  json(...args: readonly string[]): Promise<Answer>;
  start(args: readonly string[], env: Readonly<Record<string, string>>): ReturnType<typeof systemExec.start>;
}

async function scene(): Promise<At> {
  await using undo = new AsyncDisposableStack();
  const pair = undo.use(await openGtmPair({ regions: 2 }));
  await pair.a.startSource();
  await pair.b.startReceiver();
  await pair.a.update(20);
  await pair.a.update(5, 'b');
  const directory = await mkdtemp(join(tmpdir(), 'sp-gtm-new-'));
  undo.defer(async () => await rm(directory, { recursive: true, force: true }));
  await chmod(directory, 0o755);
  const target = join(directory, 'c');
  const { place } = pair.a.gtm;
  const replicationInstance = join(target, 'C.repl');
  const c = pair.a.gtm.at({
    globalDirectory: target + place.globalDirectory,
    replicationInstance,
    // By its own directory, its servers are told from those of the pair.
    variables: { SPDB: target },
  });
  undo.defer(async () => {
    if (!existsSync(replicationInstance)) return;
    for (const server of ['-receiver', '-source'])
      await c.mupip(['replicate', server, '-shutdown', '-timeout=0'], limits);
    await c.mupip(['rundown', '-region', '*'], limits);
  });
  const member = ({ gtm }: GtmInstance) => ({
    distribution: gtm.place.distribution,
    globalDirectory: gtm.place.globalDirectory,
    replicationInstance: gtm.place.replicationInstance,
    environment: gtm.place.variables,
  });
  const receiver = { host: '127.0.0.1', port: await freePort() };
  const config = {
    stateDirectory: join(directory, 'state'),
    repository: { store: { local: join(directory, 'repository') }, passwordFile: join(directory, 'password') },
    workloads: {
      orders: {
        application: { gtm: member(pair.a) },
        topology: {
          gtm: {
            members: {
              A: member(pair.a),
              B: member(pair.b),
              C: {
                ...{ ...member(pair.a), globalDirectory: c.place.globalDirectory, replicationInstance, receiver },
                environment: { SPDB: target },
              },
            },
          },
        },
        members: { A: {} },
        member: { from: 'primary' },
        storage: [{ copy: {} }],
        hold: { budget: '10m' },
      },
    },
  };
  const file = join(directory, 'stillpoint.yaml');
  await writeFile(file, JSON.stringify(config));
  const argv = (args: readonly string[]): [string, ...string[]] => [process.execPath, main, ...args, '--config', file];
  const run: At['run'] = (...args) =>
    systemExec.run({ argv: argv(args), env: compileCache(), timeoutMs: commandMs, maxOutputBytes: 64_000_000 });
  const made = await run('repo', 'init', '--generate-password');
  assert.equal(made.exitCode, 0, made.stderr);
  const all = undo.move();
  return {
    ...{ pair, target, c, run },
    json: async (...args) => {
      const done = await run(...args, '--json');
      assert.ok([0, 3].includes(done.exitCode ?? 1), `${args.join(' ')}: ${done.stderr}${done.stdout}`);
      return JSON.parse(done.stdout) as Answer;
    },
    start: (args, env) => systemExec.start({ argv: argv(args), env: { ...compileCache(), ...env } }),
    [Symbol.asyncDispose]: () => all[Symbol.asyncDispose](),
  };
}

async function contentOf(gtm: GtmInstance['gtm'], file: string): Promise<string> {
  const answer = await gtm.mupip(['extract', '-format=zwr', '-nolog', file], limits);
  assert.ok(answer.exitedWell, answer.text);
  const text = await readFile(file, 'latin1');
  // The first two lines are a title and the time.
  return text.slice(text.indexOf('\n', text.indexOf('\n') + 1));
}

const seed = (target: string) => ['mirror', 'seed', 'orders', '--member', 'C', '--target', target] as const;

async function noneLeft(at: At): Promise<void> {
  const { target, c } = at;
  assert.equal(existsSync(target), false);
  assert.deepEqual(processesMarked('gtm_repl_instance', c.place.replicationInstance ?? ''), []);
  const { view } = await at.json('mirror', 'status', 'orders');
  const seen = view?.members.find(({ name }) => name === 'C');
  assert.equal(seen?.role, 'unknown');
  assert.equal(view?.members.find(({ name }) => name === 'A')?.role, 'primary');
}

describe('figures of a GT.M cluster', { skip: whyNoGtm() ?? false, timeout: 300_000 }, () => {
  it('stand in the answer and, whole at every moment, in a file whose time tells its age', async () => {
    await using at = await scene();
    const status = await at.run('mirror', 'status', 'orders', '--json');
    const { metrics } = JSON.parse(status.stdout) as { metrics: readonly { name: string; unit: string }[] };
    for (const [name, unit] of [
      ['member_health', 'state'],
      ['journal_disk_free_bytes', 'bytes'],
      ['view_timestamp_seconds', 'time'],
    ]) {
      assert.ok(
        metrics.some((each) => each.name === `stillpoint_cluster_${name}` && each.unit === unit),
        name,
      );
    }
    const folder = join(at.target, '..', 'textfiles');
    const file = join(folder, 'orders.prom');
    const none = await at.run('mirror', 'watch', 'orders', '--metrics', file);
    assert.equal(none.exitCode, 5, none.stderr);
    assert.match(none.stderr, /metrics cannot be written/);
    await mkdir(folder);
    const watch = at.start(['mirror', 'watch', 'orders', '--every', '300ms', '--metrics', file], {});
    const seen: string[] = [];
    const value = (text: string, name: string, labels = ''): number =>
      Number(
        new RegExp(`^stillpoint_cluster_${name}\\{[^}]*${labels}[^}]*\\} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN,
      );
    const look = async (): Promise<string> => {
      const text = await readFile(file, 'utf8').catch(() => '');
      if (text !== '' && text !== seen.at(-1)) seen.push(text);
      return text;
    };
    const is = (test: (text: string) => boolean): Promise<boolean> =>
      eventually(async () => test(await look()), 60_000);
    assert.ok(await is((text) => value(text, 'member_health', 'member="B"') === 3), watch.stderrTail());
    const before = value(await look(), 'view_timestamp_seconds');
    await at.pair.b.crash();
    assert.ok(await is((text) => value(text, 'member_health', 'member="B"') === 0), await look());
    assert.ok(value(await look(), 'view_timestamp_seconds') > before);
    assert.equal(value(await look(), 'member_role', 'role="primary"'), 1);
    watch.kill('SIGINT');
    assert.ok(await endsWithin(watch, 30_000));
    for (const text of seen) assert.match(text, /^# HELP [^]*\} \S+\n$/);
    assert.deepEqual(await readdir(folder), ['orders.prom'], 'nothing else is left');
  });
});

describe('a member of a GT.M cluster from a point', { skip: whyNoGtm() ?? false, timeout: 600_000 }, () => {
  it('catches up with a primary that is written to, and has every row', async () => {
    await using at = await scene();
    const { pair, c } = at;
    const load = await pair.a.load(1, 10);
    const { point } = await at.json('backup', 'orders');
    assert.equal(point?.verdict, 'application-consistent');
    const { seeded } = await at.json(...seed(at.target));
    assert.ok(seeded);
    // As a person would: the text is the command.
    await systemExec.check({ argv: ['sh', '-c', seeded.next], timeoutMs: 60_000 });
    const send = seeded.said.map((each) => /let A send: (.*)$/.exec(each)?.[1]).find((each) => each !== undefined);
    assert.ok(send);
    await systemExec.check({ argv: ['sh', '-c', send], timeoutMs: 60_000 });
    await systemClock.sleep(500);
    await load.stop();
    const posted = await pair.a.posted();
    let seen: Answer['view'];
    const isWhole = await eventually(async () => {
      seen = (await at.json('mirror', 'status', 'orders')).view;
      const found = seen?.members.find(({ name }) => name === 'C');
      return found?.health === 'healthy' && found.reported.includes(`processed ${posted}`);
    }, 90_000);
    assert.ok(isWhole, JSON.stringify(seen));
    const mine = await contentOf(c, join(at.target, 'mine'));
    assert.ok(mine === (await contentOf(pair.a.gtm, join(at.target, 'theirs'))), 'both ends are equal');
    assert.ok(mine.length > 1000);
    const again = await at.run(...seed(at.target));
    assert.equal(again.exitCode, 4, again.stderr);
    assert.match(again.stderr, /C lives/);
  });

  it('is refused where journals are gone, or the settings name another place; nothing is left', async () => {
    await using at = await scene();
    const { pair } = at;
    await at.json('backup', 'orders');
    await pair.a.update(5);
    const { text } = await pair.a.gtm.mupip(['set', '-region', 'DEFAULT', '-journal=on,before'], limits);
    const file = /renamed to (\S+)/.exec(text)?.[1] ?? '';
    await rename(file, `${file}.away`);
    const refused = await at.run(...seed(at.target));
    assert.equal(refused.exitCode, 4, refused.stderr);
    assert.match(refused.stderr, /A lacks journals from update 26 on/);
    await noneLeft(at);
    await rename(`${file}.away`, file);
    const elsewhere = await at.run(...seed(`${at.target}-2`));
    assert.equal(elsewhere.exitCode, 2, elsewhere.stderr);
    assert.match(elsewhere.stderr, /its global directory is .*topology\.gtm\.members\.C: globalDirectory: \S+-2/s);
    assert.equal(existsSync(`${at.target}-2`), false);
  });

  it('is none when the run is killed before it is whole, and recover takes the copy away', async () => {
    await using at = await scene();
    await at.json('backup', 'orders');
    for (const transition of ['before:adopt', 'after:adopt']) {
      const flow = at.start(seed(at.target), { STILLPOINT_FAULT: `stop:${transition}` });
      assert.ok(await eventually(async () => (await processState(flow.pid)) === 'T', 60_000), flow.stderrTail());
      flow.kill('SIGKILL');
      flow.kill('SIGCONT');
      assert.ok(await endsWithin(flow, 60_000));
      assert.deepEqual(processesMarked('gtm_repl_instance', at.c.place.replicationInstance ?? ''), []);
      const recovered = await at.run('recover');
      assert.equal(recovered.exitCode, 0, recovered.stderr + recovered.stdout);
      if (transition === 'before:adopt') await noneLeft(at);
      // What was done when the run died is kept.
      else assert.ok(existsSync(join(at.target, 'replica-C', 'start.sh')));
    }
  });

  it('is none at whatever moment the run is killed', async () => {
    await using at = await scene();
    await at.json('backup', 'orders');
    for (let round = 0; round < 6; round += 1) {
      const flow = at.start(seed(at.target), {});
      // Somewhere after the copy has begun to be written.
      await eventually(() => Promise.resolve(existsSync(at.target)), 60_000);
      await systemClock.sleep(Math.random() * 4000);
      flow.kill('SIGKILL');
      await flow.exited;
      const isWhole = existsSync(join(at.target, 'replica-C', 'start.sh'));
      await at.run('recover');
      if (!existsSync(at.target)) await noneLeft(at);
      else {
        // The run had come to its end before.
        assert.ok(isWhole);
        await rm(at.target, { recursive: true });
      }
    }
    await at.json(...seed(at.target));
  });
});
