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
import { systemClock } from '../../src/platform/clock.ts';
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

async function pointsOf(at: Pair): Promise<readonly { readonly id: string; readonly verdict: string }[]> {
  const { points } = await at.json('points', 'orders');
  return points ?? [];
}

/** As the servers themselves say it. */
async function roles({ cluster }: Pair): Promise<readonly string[]> {
  const asked = [cluster.primary, ...cluster.standbys].map(async (member) => {
    const [row] = await member.ask('SELECT pg_is_in_recovery() AS standby');
    return `${member.name} ${row?.['standby'] === true ? 'replica' : 'primary'}`;
  });
  return (await Promise.allSettled(asked)).flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
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

  it('changes no role and makes no wrong point while members and the tool are killed at random', async (t) => {
    if (missing !== undefined) return t.skip(missing);
    await using at = await pair();
    const rounds = full ? 200 : 4;
    const seen = { points: 0, failed: 0 };
    for (let round = 0; round < rounds; round += 1) {
      const before = await rowsOf(at.standby);
      const known = new Set((await pointsOf(at)).map(({ id }) => id));
      const victim = (['flow', 'standby', 'receiver', 'nobody'] as const)[round % 4] ?? 'nobody';
      const flow = at.start(['backup', 'orders', '--json'], {});
      const ended = flow.exited.then(() => true);
      await Promise.race([ended, systemClock.sleep(Math.random() * 6_000)]);
      if (victim === 'flow') flow.kill('SIGKILL');
      if (victim === 'receiver') await at.standby.ask(`SELECT pg_terminate_backend(pid) FROM pg_stat_wal_receiver`);
      if (victim === 'standby') await at.standby.kill();
      await flow.exited;
      if (victim === 'standby') await at.standby.start();
      const recovered = await at.run('recover', '--json');
      assert.equal(recovered.exitCode, 0, `${victim}: ${recovered.stdout}`);
      await until('both answer', async () => (await roles(at)).length === 2);
      assert.deepEqual(await roles(at), ['db1 primary', 'db2 replica'], `after the death of ${victim}`);
      const made = (await pointsOf(at)).filter(({ id }) => !known.has(id));
      seen[made.length === 0 ? 'failed' : 'points'] += 1;
      for (const { id, verdict } of made) {
        assert.equal(verdict, 'application-consistent');
        const target = join(at.directory, `k-${String(round).padStart(3, '0')}`);
        const found = await judge(at, target, id);
        assert.equal(found.count, found.last, `${victim}: a row is missing in the middle`);
        // A primary is taken when the standby is not there, and has more.
        assert.ok(found.last >= before, `${victim}: ${found.last} rows, and the standby had ${before} before`);
        await rm(target, { recursive: true });
      }
    }
    assert.ok(seen.points > 0, JSON.stringify(seen));
    t.diagnostic(`${rounds} rounds: ${JSON.stringify(seen)}`);
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
