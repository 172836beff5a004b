import assert from 'node:assert/strict';
import { chmod, copyFile, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { copyFiles } from '../../../../test/contract/application.ts';
import { startPostgres, whyNoPostgres } from '../../../../test/doubles/embedded-postgres.ts';
import type { EmbeddedOptions, EmbeddedPostgres } from '../../../../test/doubles/embedded-postgres.ts';
import { applicationFor, configFor, testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { ErrorCode } from '../../../model/errors.ts';
import type { HoldToken } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import type { Copy, Located } from '../../../ports/application.ts';
import { postgresql } from './application.ts';
import { grantsFor } from './connection.ts';

const never = new AbortController().signal;
const missing = await whyNoPostgres('npm');

function tokenFor(name: string): HoldToken {
  return { runId: name, workload: 'test', engine: 'postgresql', identity: `stillpoint:${name}` };
}

function fails(code: ErrorCode, hint: RegExp): (thrown: unknown) => true {
  return (thrown) => {
    assert.ok(thrown instanceof StillpointError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.match(thrown.hint ?? '', hint);
    return true;
  };
}

async function sql(server: EmbeddedPostgres, ...statements: readonly string[]): Promise<void> {
  const client = await server.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

async function findingsOf(found: AsyncIterable<Finding>): Promise<readonly Finding[]> {
  const all: Finding[] = [];
  for await (const finding of found) all.push(finding);
  return all;
}

async function temporary(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sp-test-'));
  t.after(async () => rm(path, { recursive: true, force: true }));
  return path;
}

/** A place as a drill makes it: closed to everybody else. */
async function copyTo(t: TestContext, located: Located): Promise<Copy> {
  const base = await temporary(t);
  const root = join(base, 'files');
  const scratch = join(base, 's');
  await mkdir(root, { mode: 0o700 });
  await mkdir(scratch, { mode: 0o700 });
  await copyFiles(located, root);
  return { at: (original) => join(root, original), required: located.paths, facts: located.facts, scratch };
}

/** Every server of this file is of the one that comes with npm; the contract suite runs on both. */
async function ownServer(t: TestContext, options: EmbeddedOptions = {}): Promise<EmbeddedPostgres> {
  const started = await startPostgres({ fsync: false, ...options });
  t.after(async () => started.stop());
  return started;
}

describe('PostgreSQL, one server', { skip: missing ?? false }, () => {
  let live: EmbeddedPostgres;
  before(async () => {
    live = await startPostgres({ fsync: false });
    await sql(live, 'CREATE TABLE t (n int PRIMARY KEY)', 'INSERT INTO t SELECT generate_series(1, 1000)');
  });
  after(async () => live.stop());

  it('ends the hold by itself, inside the engine, a little after the budget', async () => {
    const token = tokenFor('own-limit');
    const application = applicationFor(live);
    const session = await application.openHold(token, 100);
    await session.prepare();
    assert.equal((await session.freeze()).frozen, true);
    const deadline = testPlatform.clock.monoMs() + 30_000;
    while ((await application.status(token)).state === 'frozen') {
      assert.ok(testPlatform.clock.monoMs() < deadline, 'PostgreSQL did not end the hold');
      await testPlatform.clock.sleep(100);
    }
    const asked = await session.ask();
    assert.equal(asked.frozen, false);
    assert.match(asked.said, /idle-session timeout/);
    const thawed = await session.thaw();
    assert.equal(thawed.thawed, true);
    assert.equal(thawed.heldThroughout, false);
    assert.match(thawed.said, /idle-session timeout/);
    await session.close();
  });

  it('hands out label and journal, and keeps role and epoch', async () => {
    const application = applicationFor(live);
    const located = await application.locate(never);
    const session = await application.openHold(tokenFor('label'), 30_000);
    await session.prepare();
    await session.freeze();
    assert.deepEqual(await session.observe(), located.member);
    const thawed = await session.thaw();
    const label = thawed.artifacts.find((artifact) => artifact.path === join(live.dataDirectory, 'backup_label'));
    assert.match(
      Buffer.from(label?.base64 ?? '', 'base64').toString(),
      /^START WAL LOCATION: [\s\S]*LABEL: stillpoint:label$/m,
    );
    assert.equal(thawed.artifacts.length, 1, 'there is no tablespace, so no map');
    assert.equal(thawed.journal?.directory, live.walDirectory);
    const slots = await (async () => {
      const client = await live.connect();
      const { rows } = await client.query<{ n: number }>('SELECT count(*)::int AS n FROM pg_replication_slots');
      await client.end();
      return rows[0]?.n;
    })();
    assert.equal(slots, 1, 'the slot keeps the WAL until the session is closed');
    assert.equal((await application.status(tokenFor('label'))).state, 'thawed', 'the open session is no hold any more');
    await session.close();
  });

  it('says unreachable, wrong login and missing database, each with what to set', async () => {
    const elsewhere = applicationFor(live, { port: 5999 });
    await assert.rejects(elsewhere.locate(never), fails('database-unreachable', /port \(5999\)/));
    await assert.rejects(
      applicationFor(live, { user: 'nobody_here' }).locate(never),
      fails('database-login', /pg_hba/),
    );
    await assert.rejects(applicationFor(live, { database: 'none' }).locate(never), fails('database-login', /database/));
    assert.equal(
      (await applicationFor(live, { port: 5999, dataDirectory: undefined }).status(tokenFor('x'))).state,
      'unknown',
    );
    assert.equal(
      (await elsewhere.status(tokenFor('x'))).state,
      'unknown',
      'the server runs, so silence proves nothing',
    );
  });

  it('stops at once when it is cancelled', async () => {
    const controller = new AbortController();
    controller.abort(new Error('cancelled by the test'));
    await assert.rejects(applicationFor(live).locate(controller.signal), /cancelled by the test/);
  });

  it('names the grants to a role that lacks them, and works with exactly these', async () => {
    await sql(live, 'CREATE ROLE backup LOGIN');
    const application = applicationFor(live, { user: 'backup' });
    await assert.rejects(application.locate(never), fails('database-privilege', /GRANT pg_monitor TO "backup"/));
    const earlier = await findingsOf(application.check?.(never) ?? emptyFindings());
    assert.match(
      earlier.find((each) => each.severity === 'error')?.said ?? '',
      /EXECUTE on pg_backup_start.*GRANT EXECUTE/,
    );
    const session = await applicationFor(live, { user: 'backup', dataDirectory: live.dataDirectory }).openHold(
      tokenFor('no'),
      9000,
    );
    await assert.rejects(session.prepare(), fails('database-privilege', /GRANT EXECUTE ON FUNCTION pg_backup_start/));
    await session.close();

    await sql(live, ...grantsFor('backup'));
    const findings = await findingsOf(application.check?.(never) ?? emptyFindings());
    assert.deepEqual(
      findings.filter((each) => each.check === 'privileges').map((each) => [each.severity, each.said]),
      [['info', 'all that are needed']],
    );
    assert.deepEqual((await application.locate(never)).paths, (await applicationFor(live).locate(never)).paths);
    const held = await application.openHold(tokenFor('granted'), 30_000);
    await held.prepare();
    assert.equal((await held.freeze()).frozen, true);
    const other = await applicationFor(live, { user: 'backup' }).thaw(tokenFor('granted'));
    assert.equal(other.thawed, true, other.said);
    assert.equal((await held.ask()).frozen, false);
    await held.close();
  });

  it('refuses a data directory with a backup_label', async () => {
    const label = join(live.dataDirectory, 'backup_label');
    await writeFile(label, 'left behind');
    try {
      await assert.rejects(applicationFor(live).locate(never), fails('stray-backup-label', /rm .*backup_label/));
    } finally {
      await rm(label);
    }
  });

  it('names configuration that lies outside the data directory', async (t) => {
    const outside = await temporary(t);
    await chmod(outside, 0o755);
    await writeFile(join(outside, 'more.conf'), "application_name = 'from outside'\n", { mode: 0o644 });
    const file = join(live.dataDirectory, 'postgresql.conf');
    const earlier = await readFile(file, 'utf8');
    await writeFile(file, `${earlier}include '${join(outside, 'more.conf')}'\n`);
    try {
      const { paths } = await applicationFor(live).locate(never);
      assert.deepEqual(paths.at(-1), {
        path: join(outside, 'more.conf'),
        role: 'configuration',
        name: 'configuration-more.conf',
        kind: 'file',
        companions: [],
        leftOut: [],
      });
    } finally {
      await writeFile(file, earlier);
    }
  });

  it('finds a segment that is gone, and one that was recycled', async (t) => {
    const application = applicationFor(live);
    const collect = async (directory: string, file: string): Promise<unknown> => {
      const into = await temporary(t);
      const log = file.slice(8, 16);
      const span = {
        from: { file, position: `${log}/1000028` },
        to: { file, position: `${log}/1000100` },
        files: [file],
        directory,
      };
      return application.collectJournal?.(span, into, never);
    };
    const gone = '0000000100000FFF00000001';
    await assert.rejects(collect(live.walDirectory, gone), fails('journal-missing', /wal_keep_size/));
    const directory = await temporary(t);
    const [first = ''] = (await readdir(live.walDirectory)).filter((name) => /^[0-9A-F]{24}$/.test(name)).sort();
    await copyFile(join(live.walDirectory, first), join(directory, gone));
    await assert.rejects(collect(directory, gone), /belongs to position/);
    await writeFile(join(directory, gone), (await readFile(join(live.walDirectory, first))).subarray(0, 1024 * 1024));
    await assert.rejects(collect(directory, first), /it is gone/);
    await copyFile(join(directory, gone), join(directory, first));
    await assert.rejects(collect(directory, first), /has 1048576 of 16777216 bytes/);
  });

  it('finds itself among the running servers', async () => {
    const found = await postgresql.discover?.(testPlatform, never);
    const mine = found?.find((each) => each.config['dataDirectory'] === live.dataDirectory);
    assert.deepEqual(mine?.config, {
      dataDirectory: live.dataDirectory,
      host: live.socketDirectory,
      port: live.port,
      user: 'postgres',
    });
    assert.equal(postgresql.config.safeParse(mine?.config).success, true);
  });

  it('changes nothing when a copy is adopted in place', async () => {
    const application = applicationFor(live);
    const { paths, facts } = await application.locate(never);
    const earlier = await lstat(live.dataDirectory);
    await application.adopt?.({ at: (original) => original, required: paths, facts, scratch: '/nonexistent' });
    assert.equal((await lstat(live.dataDirectory)).mtimeMs, earlier.mtimeMs);
  });
});

async function stamps(directory: string): Promise<readonly string[]> {
  const names = ['.', ...(await readdir(directory, { recursive: true })).sort()];
  return Promise.all(names.map(async (name) => `${name} ${(await lstat(join(directory, name))).ctimeMs}`));
}

async function* emptyFindings(): AsyncGenerator<Finding> {
  // The adapter has no check: the assertions that follow say so.
}

describe('PostgreSQL, servers of their own', { skip: missing ?? false }, () => {
  it('keeps the WAL of the hold by its slot; without one, recycled WAL is an error and not a hole', async (t) => {
    for (const slots of ['5', '0']) {
      const live = await ownServer(t, {
        settings: { max_replication_slots: slots, max_wal_size: '32MB', min_wal_size: '32MB', wal_keep_size: '0' },
      });
      const application = applicationFor(live);
      const session = await application.openHold(tokenFor(`slots-${slots}`), 30_000);
      await session.prepare();
      await session.freeze();
      for (let i = 0; i < 6; i += 1) await sql(live, `CREATE TABLE t${i} (n int)`, 'SELECT pg_switch_wal()');
      await sql(live, 'CHECKPOINT', 'SELECT pg_switch_wal()', 'CHECKPOINT');
      const { journal } = await session.thaw();
      assert.ok(journal !== undefined && journal.files.length >= 7, JSON.stringify(journal));
      const collecting = application.collectJournal?.(journal, await temporary(t), never);
      if (slots === '0') await assert.rejects(async () => collecting, fails('journal-missing', /slot/));
      else assert.equal((await collecting)?.length, journal.files.length);
      await session.close();
    }
  });

  it('restores elsewhere with WAL and tablespaces bent to the copy, and drills it in a closed directory', async (t) => {
    const live = await ownServer(t, { separateWal: true });
    const space = await live.makeDirectory('space');
    await sql(
      live,
      `CREATE TABLESPACE apart LOCATION '${space}'`,
      'CREATE TABLE t TABLESPACE apart AS SELECT 1 AS n',
      'CHECKPOINT',
    );
    const application = applicationFor(live, { hold: 'atomic-cut' });
    const located = await application.locate(never);
    assert.equal(located.holdKind, 'none');
    assert.deepEqual(
      located.paths.map((each) => [each.role, each.name.replace(/\d+/, 'N'), each.path]),
      [
        ['data', 'data', live.dataDirectory],
        ['journal', 'wal', live.walDirectory],
        ['tablespace', 'tablespace-N', space],
      ],
    );
    assert.equal(await application.running?.(never), true);
    await live.kill();
    assert.equal(await application.running?.(never), false);
    assert.equal((await application.status(tokenFor('dead'))).state, 'thawed', 'a dead server holds nothing');
    assert.equal((await application.thaw(tokenFor('dead'))).thawed, true);

    const copy = await copyTo(t, located);
    await writeFile(join(copy.at(live.dataDirectory), 'standby.signal'), '');
    const way = join(copy.at('/'), '..');
    const mode = (await lstat(way)).mode;
    const findings = await findingsOf(application.verify(copy, never));
    assert.deepEqual(
      findings.filter((each) => each.severity === 'error'),
      [],
    );
    assert.ok(findings.some((each) => each.said.includes('standby.signal was removed')));
    assert.ok(
      findings.some((each) => /public\.t has 1 rows/.test(each.said)),
      JSON.stringify(findings),
    );
    assert.equal((await lstat(way)).mode, mode, 'the way to the copy is closed again');
    const data = copy.at(live.dataDirectory);
    assert.equal(await readlink(join(data, 'pg_wal')), copy.at(live.walDirectory));
    const [oid = ''] = await readdir(join(data, 'pg_tblspc'));
    assert.equal(await readlink(join(data, 'pg_tblspc', oid)), copy.at(space));
  });

  it('never touches the live tablespace that the WAL of a copy creates again', async (t) => {
    const live = await ownServer(t);
    const space = await live.makeDirectory('space');
    const application = applicationFor(live, { hold: 'atomic-cut' });
    await sql(
      live,
      'CHECKPOINT',
      `CREATE TABLESPACE apart LOCATION '${space}'`,
      'CREATE TABLE t (n int) TABLESPACE apart',
    );
    const located = await application.locate(never);
    await live.kill();
    const copy = await copyTo(t, located);
    const earlier = await stamps(space);
    await assert.rejects(
      async () => {
        const findings = await findingsOf(application.verify(copy, never));
        assert.fail(JSON.stringify(findings));
      },
      fails('target-not-empty', /CHECKPOINT/),
    );
    assert.deepEqual(await stamps(space), earlier);
  });

  it('leaves no server behind when a drill is cancelled or no longer listened to', async (t) => {
    const live = await ownServer(t);
    const application = applicationFor(live);
    const located = await application.locate(never);
    await live.halt();
    const copy = await copyTo(t, { ...located, paths: located.paths.map((each) => ({ ...each, leftOut: [] })) });
    const pidFile = join(copy.at(live.dataDirectory), 'postmaster.pid');
    for await (const finding of application.verify(copy, never)) {
      assert.notEqual(finding.severity, 'error', finding.said);
      break;
    }
    await assert.rejects(lstat(pidFile), /ENOENT/);
    const controller = new AbortController();
    await assert.rejects(async () => {
      for await (const finding of application.verify(copy, controller.signal)) {
        assert.notEqual(finding.severity, 'error', finding.said);
        controller.abort(new Error('cancelled by the test'));
      }
    }, /cancelled by the test/);
    await assert.rejects(lstat(pidFile), /ENOENT/);
  });

  it('says why a copy does not start, and refuses to drill without the right programs', async (t) => {
    const live = await ownServer(t);
    const application = applicationFor(live);
    const located = await application.locate(never);
    // Copied while it runs and without its WAL: exactly what backup mode is there to prevent.
    const copy = await copyTo(t, located);
    const findings = await findingsOf(application.verify(copy, never));
    assert.match(findings.find((each) => each.severity === 'error')?.said ?? '', /did not start: (PANIC|FATAL)/);
    await writeFile(join(copy.at(live.dataDirectory), 'PG_VERSION'), '14\n');
    await assert.rejects(findingsOf(application.verify(copy, never)), fails('drill-failed', /postgresql-14/));
  });

  it('refuses a replica', async (t) => {
    const live = await ownServer(t);
    await live.halt();
    await writeFile(join(live.dataDirectory, 'standby.signal'), '');
    await live.start();
    await assert.rejects(applicationFor(live).locate(never), fails('role-unsuitable', /primary/));
  });

  it('logs in by password, and says when it is wrong or not configured', async (t) => {
    const live = await ownServer(t);
    await sql(live, `CREATE ROLE secretive LOGIN SUPERUSER PASSWORD 'right'`);
    const hba = join(live.dataDirectory, 'pg_hba.conf');
    await writeFile(hba, 'local all secretive scram-sha-256\nlocal all all trust\n');
    await sql(live, 'SELECT pg_reload_conf()');
    const withPassword = (password: string): ReturnType<typeof postgresql.create> => {
      const config = postgresql.config.parse({ ...configFor(live), user: 'secretive', password: { env: 'UNUSED' } });
      return postgresql.create(config, 'test', testPlatform, async () => password);
    };
    await assert.rejects(withPassword('wrong').locate(never), (thrown) => {
      assert.ok(thrown instanceof StillpointError);
      assert.doesNotMatch(JSON.stringify([thrown.message, thrown.hint, thrown.details]), /wrong/);
      return fails('database-login', /password/)(thrown);
    });
    assert.equal((await withPassword('right').locate(never)).member.role, 'primary');
    await assert.rejects(
      applicationFor(live, { user: 'secretive' }).locate(never),
      fails('database-login', /password/),
    );
  });
});
