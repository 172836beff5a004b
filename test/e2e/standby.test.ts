/**
 * A real pair of PostgreSQL servers under load, backed up at the standby through the command line: what the standby had is in the copy,
 * the copy stands alone, and a failover in the middle leaves no point.
 */
import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { whyNoPostgres } from '../doubles/embedded-postgres.ts';
import { compileCache } from '../doubles/compile-cache.ts';
import { startStreaming, until, type StreamingCluster, type StreamingMember } from '../doubles/streaming-cluster.ts';
import { systemExec, type CommandResult } from '../../src/platform/exec.ts';
import { processState } from './stage.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const writer = fileURLToPath(new URL('writer.ts', import.meta.url));
const full = process.env['STILLPOINT_TEST_FULL'] === '1';
const commandMs = 180_000;

interface Pair extends AsyncDisposable {
  readonly cluster: StreamingCluster;
  readonly standby: StreamingMember;
  readonly directory: string;
  run(...args: readonly string[]): Promise<CommandResult>;
  json(...args: readonly string[]): Promise<Answer>;
  start(args: readonly string[], env: Readonly<Record<string, string>>): ReturnType<typeof systemExec.start>;
}

interface Answer {
  readonly point?: { readonly id: string; readonly verdict: string; readonly role: string; readonly member: string };
  readonly points?: readonly { readonly id: string; readonly verdict: string }[];
  readonly evidence?: { readonly cluster?: { readonly chosen: { readonly member: string; readonly role: string } } };
  readonly view?: { readonly members: readonly { readonly name: string; readonly role: string }[] };
  readonly restore?: { readonly paths: readonly { readonly name: string; readonly at: string }[] };
  readonly findings?: readonly { readonly check: string; readonly said: string }[];
}

async function pair(): Promise<Pair> {
  await using undo = new AsyncDisposableStack();
  const cluster = undo.use(await startStreaming({ standbys: 1, settings: { checkpoint_timeout: '30s' } }));
  const [standby] = cluster.standbys;
  assert.ok(standby !== undefined);
  const directory = await mkdtemp(join(tmpdir(), 'sp-standby-'));
  // The server's own user goes through it.
  await chmod(directory, 0o711);
  undo.defer(async () => await rm(directory, { recursive: true, force: true }));
  const { primary } = cluster;
  const at = ({ socketDirectory, port, dataDirectory }: StreamingMember) => ({
    ...{ host: socketDirectory, port, user: 'postgres', dataDirectory },
  });
  const connection = ({ socketDirectory, port }: StreamingMember) => ({
    host: socketDirectory,
    port,
    user: 'postgres',
  });
  const config = {
    stateDirectory: join(directory, 'state'),
    repository: { store: { local: join(directory, 'repository') }, passwordFile: join(directory, 'password') },
    workloads: {
      orders: {
        application: { postgresql: { ...at(primary), canary: true } },
        topology: { streaming: { members: { db1: connection(primary), db2: connection(standby) } } },
        members: { db1: {}, db2: { application: at(standby) } },
        storage: [{ copy: {} }],
        hold: { budget: '10m' },
      },
    },
  };
  const file = join(directory, 'stillpoint.yaml');
  await writeFile(file, JSON.stringify(config));
  const argv = (args: readonly string[]): [string, ...string[]] => [process.execPath, main, ...args, '--config', file];
  const run: Pair['run'] = (...args) =>
    systemExec.run({ argv: argv(args), env: compileCache(), timeoutMs: commandMs, maxOutputBytes: 64_000_000 });
  const made = await run('repo', 'init', '--generate-password');
  assert.equal(made.exitCode, 0, made.stderr);
  const load = systemExec.start({
    argv: [
      process.execPath,
      writer,
      JSON.stringify({
        ...{ engine: 'postgresql', at: primary.socketDirectory, port: primary.port },
        ...{ log: join(directory, 'acknowledged'), pauseMs: 1, payloadBytes: 2_000 },
      }),
    ],
  });
  undo.defer(async () => {
    load.closeInput();
    await load.exited;
  });
  await load.firstLine((line) => line === 'ready', 60_000);
  await until('the standby has rows', async () => (await rowsOf(standby)) > 50);
  const all = undo.move();
  return {
    ...{ cluster, standby, directory, run },
    json: async (...args) => {
      const done = await run(...args, '--json');
      assert.equal(done.exitCode, 0, `${args.join(' ')}: ${done.stderr.slice(-2000)}${done.stdout.slice(-2000)}`);
      return JSON.parse(done.stdout) as Answer;
    },
    start: (args, env) => systemExec.start({ argv: argv(args), env: { ...compileCache(), ...env } }),
    [Symbol.asyncDispose]: () => all[Symbol.asyncDispose](),
  };
}

async function rowsOf(member: StreamingMember): Promise<number> {
  const [there] = await member.ask(`SELECT to_regclass('written') IS NOT NULL AS there`);
  if (there?.['there'] !== true) return 0;
  return Number((await member.ask('SELECT coalesce(max(n), 0) AS n FROM written'))[0]?.['n']);
}

/** Starts the restored copy as a server of its own and looks at its rows. */
async function judge(
  at: Pair,
  target: string,
  point: string,
): Promise<{ count: number; last: number; standby: unknown }> {
  const { restore } = await at.json('restore', point, '--target', target);
  const data = restore?.paths.find(({ name }) => name === 'data')?.at;
  assert.ok(data !== undefined);
  const sockets = join(at.directory, `s-${basename(target)}`);
  await mkdir(sockets, { mode: 0o777 });
  await systemExec.check({ argv: ['chmod', '0777', sockets], timeoutMs: 10_000 });
  const copy = await at.cluster.serveCopy(data, sockets);
  const client = await copy.connect();
  try {
    const { rows } = await client.query<{ count: string; last: string; standby: boolean }>(
      'SELECT count(*) AS count, max(n) AS last, pg_is_in_recovery() AS standby FROM written',
    );
    const [row] = rows;
    return { count: Number(row?.count), last: Number(row?.last), standby: row?.standby };
  } finally {
    await client.end();
    await copy.halt();
  }
}

describe('a backup of a standby of PostgreSQL', async () => {
  const missing = await whyNoPostgres();

  it('holds what the standby had replayed, starts alone, and passes its drill', async (t) => {
    if (missing !== undefined) return t.skip(missing);
    await using at = await pair();
    const status = await at.json('mirror', 'status', 'orders');
    assert.deepEqual(
      status.view?.members.map(({ name, role }) => [name, role]),
      [
        ['db1', 'primary'],
        ['db2', 'replica'],
      ],
    );
    for (let round = 0; round < (full ? 40 : 2); round += 1) {
      const before = await rowsOf(at.standby);
      const { point } = await at.json('backup', 'orders');
      assert.deepEqual([point?.verdict, point?.role, point?.member], ['application-consistent', 'replica', 'db2']);
      const target = join(at.directory, `r-${String(round).padStart(2, '0')}`);
      const found = await judge(at, target, point?.id ?? '');
      assert.equal(found.standby, false);
      assert.equal(found.count, found.last, 'a row is missing in the middle');
      assert.ok(found.last >= before, `${found.last} rows, and the standby had ${before} before the freeze`);
      await rm(target, { recursive: true });
    }
    const drilled = await at.run('drill', 'orders', '--json');
    assert.equal(drilled.exitCode, 0, drilled.stdout + drilled.stderr);
    const written = (await readFile(join(at.directory, 'acknowledged'), 'utf8')).split('\n').length;
    assert.ok(written > 100);
  });

  it('makes a rebuilt standby of a point, which catches up with the primary; never of a member that lives', async (t) => {
    if (missing !== undefined) return t.skip(missing);
    await using at = await pair();
    await at.json('backup', 'orders');
    const target = join(at.directory, 'db2-new');
    const seed = ['mirror', 'seed', 'orders', '--member', 'db2', '--target', target];
    const living = await at.run(...seed);
    assert.equal(living.exitCode, 4, living.stderr);
    assert.match(living.stderr, /db2 lives/);
    await at.standby.halt();
    await at.json(...seed);
    const sockets = join(at.directory, 's-new');
    await mkdir(sockets);
    await chmod(sockets, 0o777);
    const copy = await at.cluster.serveCopy(target + at.standby.dataDirectory, sockets);
    const client = await copy.connect();
    try {
      const wanted = await rowsOf(at.cluster.primary);
      await until('it has what the primary had', async () => {
        const { rows } = await client.query<{ n: string; standby: boolean }>(
          'SELECT max(n) AS n, pg_is_in_recovery() AS standby FROM written',
        );
        assert.equal(rows[0]?.standby, true);
        return Number(rows[0]?.n) >= wanted;
      });
      const { rows } = await client.query<{ count: string; last: string }>(
        'SELECT count(*) AS count, max(n) AS last FROM written',
      );
      assert.equal(rows[0]?.count, rows[0]?.last);
    } finally {
      await client.end();
      await copy.halt();
    }
  });

  for (const when of ['after:predict', 'after:freeze', 'after:cut', 'after:judge']) {
    it(`makes no point when the standby is promoted ${when}`, async (t) => {
      if (missing !== undefined) return t.skip(missing);
      if (!full && when !== 'after:cut') return t.skip('runs in full only: npm run test:full');
      await using at = await pair();
      const flow = at.start(['backup', 'orders', '--json'], { STILLPOINT_FAULT: `stop:${when}` });
      await until('the flow stands', async () => (await processState(flow.pid)) === 'T', commandMs);
      await at.standby.ask('SELECT pg_promote(true, 60)');
      flow.kill('SIGCONT');
      const { exitCode } = await flow.exited;
      assert.ok(exitCode === 4 || exitCode === 5, `exit code ${exitCode}: ${flow.stderrTail()}`);
      const said = await at.run('points', 'orders', '--json');
      assert.deepEqual((JSON.parse(said.stdout) as Answer).points, []);
      assert.equal((await at.run('recover', '--json')).exitCode, 0);
    });
  }
});
