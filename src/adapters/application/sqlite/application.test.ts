import assert from 'node:assert/strict';
import { chmod, copyFile, link, mkdir, mkdtemp, open, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, type TestContext } from 'node:test';
import { applicationContract, type ContractSubject } from '../../../../test/contract/application.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { HoldToken } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import { systemClock } from '../../../platform/clock.ts';
import { systemExec } from '../../../platform/exec.ts';
import { silent } from '../../../platform/logger.ts';
import type { Application, Copy } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import { sqlite } from './application.ts';

const never = new AbortController().signal;

const platform: Platform = {
  exec: systemExec,
  clock: systemClock,
  log: silent,
  host: {
    name: 'here',
    stackOf: () => Promise.reject(new Error('not needed')),
    freeBytes: () => Promise.reject(new Error('not needed')),
    exec: systemExec,
    pathHere: (path) => Promise.resolve(path),
  },
  stateDirectory: '/nonexistent',
};

const noSecrets = (): Promise<string> => Promise.reject(new Error('SQLite has no password'));

function applicationFor(config: unknown): Application {
  return sqlite.create(sqlite.config.parse(config), 'test', platform, noSecrets);
}

let tokens = 0;
function newToken(): HoldToken {
  tokens += 1;
  return { runId: `sqlite-test-${process.pid}-${tokens}`, workload: 'test', engine: 'sqlite', identity: 'sqlite' };
}

async function newDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-sqlite-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

function makeDatabase(file: string, mode: string, rows = 0): void {
  using database = new DatabaseSync(file);
  database.exec(`PRAGMA journal_mode=${mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, filler TEXT)`);
  const insert = database.prepare('INSERT INTO t VALUES (?, ?)');
  for (let n = 1; n <= rows; n += 1) insert.run(n, 'x'.repeat(200));
}

async function findingsOf(found: AsyncIterable<Finding> | undefined): Promise<readonly Finding[]> {
  const all: Finding[] = [];
  for await (const finding of found ?? []) all.push(finding);
  return all;
}

/** A process that shares no code with the adapter: runs each line of its input as one statement without waiting for locks. */
const client = `
  const { DatabaseSync } = require('node:sqlite');
  const database = new DatabaseSync(process.argv[1], { timeout: 0 });
  let count = 0;
  console.log('0 ready');
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    count += 1;
    try {
      console.log(count + ' ok ' + JSON.stringify(database.prepare(line).all()));
    } catch (error) {
      console.log(count + ' ' + (error.errcode === 5 ? 'busy' : 'failed ' + error.message));
    }
  });`;

interface Client extends AsyncDisposable {
  readonly pid: number;
  run(statement: string): Promise<string>;
}

async function startClient(file: string): Promise<Client> {
  const child = systemExec.start({ argv: [process.execPath, '-e', client, file] });
  let count = 0;
  const answer = async (): Promise<string> => {
    const mark = `${count} `;
    return (await child.firstLine((line) => line.startsWith(mark), 30_000)).slice(mark.length);
  };
  assert.equal(await answer(), 'ready', child.stderrTail());
  return {
    pid: child.pid,
    async run(statement) {
      count += 1;
      child.write(`${statement}\n`);
      return answer();
    },
    async [Symbol.asyncDispose]() {
      child.closeInput();
      await child.exited;
    },
  };
}

async function openSubject(mode: string): Promise<ContractSubject> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-sqlite-'));
  const file = join(directory, 'app.db');
  makeDatabase(file, mode, 2_000);
  const writer = await startClient(file);
  // The application keeps its -wal from being reset, so that copies without it would lack rows.
  await writer.run('PRAGMA wal_autocheckpoint=0');
  const config = { file, canary: true };
  let next = 10_000;
  return {
    application: () => applicationFor(config),
    elsewhere: { module: import.meta.resolve('./application.ts'), exportName: 'sqlite', config },
    async write(row) {
      next = Math.max(next, row);
      const said = await writer.run(`INSERT INTO t VALUES (${1_000_000 + row}, 'row')`);
      assert.match(said, /^ok|^busy$/);
      return said !== 'busy';
    },
    async read(copy) {
      await using reader = await startClient(copy.at(file));
      const said = await reader.run('SELECT n - 1000000 AS n FROM t WHERE n > 1000000');
      const rows: readonly { readonly n: number }[] = JSON.parse(said.replace(/^ok /, ''));
      return rows.map(({ n }) => n);
    },
    async damage(copy) {
      const target = await open(copy.at(file), 'r+');
      const pages = Buffer.alloc(8 * 4096, 0xa5);
      await target.write(pages, 0, pages.length, 20 * 4096);
      await target.close();
    },
    async [Symbol.asyncDispose]() {
      await writer[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

for (const mode of ['wal', 'delete', 'persist']) {
  applicationContract(`sqlite, journal mode ${mode}`, () => openSubject(mode));
}

describe('sqlite: locate', () => {
  it('names the real file, its companions and its place, through a link', async (t) => {
    const directory = await newDirectory(t);
    const file = join(directory, 'app.db');
    makeDatabase(file, 'wal', 10);
    await symlink(file, join(directory, 'link.db'));
    const located = await applicationFor({ file: join(directory, 'link.db') }).locate(never);
    assert.deepEqual(located.paths, [
      {
        path: file,
        role: 'data',
        name: 'app.db',
        kind: 'file',
        companions: [`${file}-wal`, `${file}-journal`],
        leftOut: [],
      },
    ]);
    assert.equal(located.identity, file);
    assert.equal(located.holdKind, 'writes-stopped');
    assert.equal(located.facts['journalMode'], 'wal');
    assert.match(located.version, /^3\./);
    assert.match(located.member.epoch, /^\d+:\d+$/);
  });

  it('gives files of one name different names, and refuses one file twice', async (t) => {
    const directory = await newDirectory(t);
    await mkdir(join(directory, 'a'));
    await mkdir(join(directory, 'b'));
    const files = [join(directory, 'b/app.db'), join(directory, 'a/app.db')];
    for (const file of files) makeDatabase(file, 'delete', 1);
    const located = await applicationFor({ files }).locate(never);
    assert.deepEqual(
      located.paths.map((path) => path.name),
      files.toSorted(),
    );
    await link(join(directory, 'a/app.db'), join(directory, 'hard.db'));
    await symlink(join(directory, 'a/app.db'), join(directory, 'soft.db'));
    await assert.rejects(
      applicationFor({ files: [join(directory, 'a/app.db'), join(directory, 'soft.db')] }).locate(never),
      (error) => error instanceof StillpointError && error.code === 'database-file' && /twice/.test(error.message),
    );
  });

  it('tells a missing file, a directory and another format apart, and creates nothing', async (t) => {
    const directory = await newDirectory(t);
    await writeFile(join(directory, 'text.db'), 'this is no database, however long it may be. '.repeat(50));
    const cases: readonly [string, RegExp][] = [
      ['missing.db', /cannot be found: ENOENT/],
      ['.', /is not a file/],
      ['text.db', /file is not a database/],
    ];
    for (const [name, message] of cases) {
      await assert.rejects(applicationFor({ file: join(directory, name) }).locate(never), (error) => {
        assert.ok(error instanceof StillpointError);
        assert.equal(error.code, 'database-file');
        assert.match(error.message, message);
        assert.notEqual(error.hint, undefined);
        return true;
      });
    }
    assert.deepEqual(await readdir(directory), ['text.db']);
  });
});

describe('sqlite: the hold', () => {
  for (const mode of ['wal', 'delete']) {
    it(`stops writers of other processes but not readers, and names nobody else's process (${mode})`, async (t) => {
      const file = join(await newDirectory(t), 'app.db');
      makeDatabase(file, mode, 10);
      await using other = await startClient(file);
      const session = await applicationFor({ file }).openHold(newToken(), 5_000);
      t.after(() => session.close());
      await session.prepare();
      assert.match(await other.run("INSERT INTO t VALUES (100, 'before')"), /^ok/);
      const frozen = await session.freeze();
      assert.equal(frozen.frozen, true, frozen.said);
      assert.equal(await other.run("INSERT INTO t VALUES (101, 'during')"), 'busy');
      assert.equal(await other.run('SELECT count(*) AS n FROM t'), 'ok [{"n":11}]');
      const asked = await session.ask();
      assert.equal(asked.frozen, true, asked.said);
      assert.match(asked.said, /the kernel lists our write lock/);
      assert.deepEqual(await session.observe(), (await applicationFor({ file }).locate(never)).member);
      assert.equal((await session.thaw()).heldThroughout, true);
      assert.match(await other.run("INSERT INTO t VALUES (102, 'after')"), /^ok/);
    });

    it(`gives up when a writer does not end, and says which process it is (${mode})`, async (t) => {
      const file = join(await newDirectory(t), 'app.db');
      makeDatabase(file, mode, 10);
      await using other = await startClient(file);
      const token = newToken();
      const application = applicationFor({ file });
      const session = await application.openHold(token, 200);
      t.after(() => session.close());
      assert.match(await other.run('BEGIN IMMEDIATE'), /^ok/);
      await session.prepare();
      const frozen = await session.freeze();
      assert.equal(frozen.frozen, false);
      assert.match(frozen.said, new RegExp(`process ${other.pid} \\(\\S+\\) kept the write lock for \\d+ ms`));
      assert.equal((await session.ask()).frozen, false);
      const thawed = await session.thaw();
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false]);
      // The lock is busy all the time, but it is not ours.
      const status = await application.status(token);
      assert.equal(status.state, 'thawed', status.said);
      assert.match(status.said, /is not this hold/);
      assert.equal((await application.thaw(token)).thawed, true);
    });

    it(`notices that the kernel dropped its lock below SQLite (${mode})`, async (t) => {
      const file = join(await newDirectory(t), 'app.db');
      makeDatabase(file, mode, 10);
      const session = await applicationFor({ file }).openHold(newToken(), 5_000);
      t.after(() => session.close());
      await session.prepare();
      assert.equal((await session.freeze()).frozen, true);
      // Closing any descriptor of the file drops all POSIX locks that the process holds on it.
      await (await open(mode === 'wal' ? `${file}-shm` : file, 'r')).close();
      const asked = await session.ask();
      assert.equal(asked.frozen, false, asked.said);
      assert.match(asked.said, /kernel does not list our write lock/);
      assert.equal((await session.thaw()).heldThroughout, false);
    });
  }

  it('waits for a writer that ends in time', async (t) => {
    const file = join(await newDirectory(t), 'app.db');
    makeDatabase(file, 'wal', 10);
    await using other = await startClient(file);
    const session = await applicationFor({ file }).openHold(newToken(), 60_000);
    t.after(() => session.close());
    await session.prepare();
    await other.run('BEGIN IMMEDIATE');
    const freezing = session.freeze();
    await other.run("INSERT INTO t VALUES (200, 'slow')");
    assert.match(await other.run('COMMIT'), /^ok/);
    const frozen = await freezing;
    assert.equal(frozen.frozen, true, frozen.said);
    assert.equal((await session.thaw()).heldThroughout, true);
  });

  it('does not freeze any more once it was thawed, even while it waits for the lock', async (t) => {
    const file = join(await newDirectory(t), 'app.db');
    makeDatabase(file, 'delete', 10);
    await using other = await startClient(file);
    const session = await applicationFor({ file }).openHold(newToken(), 60_000);
    t.after(() => session.close());
    await session.prepare();
    await other.run('BEGIN IMMEDIATE');
    const freezing = session.freeze();
    assert.equal((await session.thaw()).thawed, true);
    assert.equal((await freezing).frozen, false);
    assert.equal((await session.freeze()).frozen, false);
    await other.run('ROLLBACK');
    assert.match(await other.run("INSERT INTO t VALUES (300, 'free')"), /^ok/);
  });

  it('denies the hold when the file was replaced', async (t) => {
    const directory = await newDirectory(t);
    const file = join(directory, 'app.db');
    makeDatabase(file, 'delete', 10);
    makeDatabase(join(directory, 'new.db'), 'delete', 10);
    const session = await applicationFor({ file }).openHold(newToken(), 5_000);
    t.after(() => session.close());
    await session.prepare();
    const before = await session.observe();
    assert.equal((await session.freeze()).frozen, true);
    await rename(join(directory, 'new.db'), file);
    assert.match((await session.ask()).said, /replaced/);
    assert.notEqual((await session.observe()).epoch, before.epoch);
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false]);
  });

  it('holds several files or none', async (t) => {
    const directory = await newDirectory(t);
    const [one, two] = [join(directory, 'one.db'), join(directory, 'two.db')];
    makeDatabase(one, 'wal', 1);
    makeDatabase(two, 'delete', 1);
    await using first = await startClient(one);
    await using second = await startClient(two);
    const application = applicationFor({ files: [two, one] });
    const session = await application.openHold(newToken(), 5_000);
    t.after(() => session.close());
    await session.prepare();
    assert.equal((await session.freeze()).frozen, true);
    assert.equal(await first.run("INSERT INTO t VALUES (9, '')"), 'busy');
    assert.equal(await second.run("INSERT INTO t VALUES (9, '')"), 'busy');
    assert.equal((await session.thaw()).heldThroughout, true);

    await second.run('BEGIN IMMEDIATE');
    const again = await application.openHold(newToken(), 100);
    t.after(() => again.close());
    await again.prepare();
    assert.equal((await again.freeze()).frozen, false);
    assert.match(await first.run("INSERT INTO t VALUES (10, '')"), /^ok/, 'the other file was let go of');
  });

  it('a checkpoint of another process during the cut does not harm a copy of database, then WAL', async (t) => {
    const directory = await newDirectory(t);
    const file = join(directory, 'app.db');
    makeDatabase(file, 'wal', 500);
    await using other = await startClient(file);
    await other.run('PRAGMA wal_autocheckpoint=0');
    // A reader pins the WAL, so that the checkpoint before the freeze cannot empty it.
    await using reader = await startClient(file);
    await reader.run('BEGIN');
    await reader.run('SELECT count(*) AS n FROM t');
    await other.run("UPDATE t SET filler = 'changed'");
    await using holder = await startClient(file);
    await reader.run('COMMIT');
    assert.match(await holder.run('BEGIN IMMEDIATE'), /^ok/);
    const copied = join(directory, 'copy.db');
    await copyFile(file, copied);
    const checkpoint = await other.run('PRAGMA wal_checkpoint(TRUNCATE)');
    assert.match(checkpoint, /"busy":1/, 'it wrote pages, and could not reset the WAL');
    assert.doesNotMatch(checkpoint, /"checkpointed":0/);
    await copyFile(`${file}-wal`, `${copied}-wal`);
    const copy: Copy = {
      at: (original) => original.replace(file, copied),
      required: (await applicationFor({ file }).locate(never)).paths,
      facts: {},
      scratch: directory,
    };
    const findings = await findingsOf(applicationFor({ file }).verify(copy, never));
    assert.deepEqual(
      findings.filter((finding) => finding.severity === 'error'),
      [],
    );
    using database = new DatabaseSync(copied);
    assert.equal(database.prepare("SELECT count(*) AS n FROM t WHERE filler = 'changed'").get()?.['n'], 500);
  });

  it('fails before the freeze when it may not write', async (t) => {
    if (process.getuid?.() === 0) return t.skip('needs a user other than root: root may write everything');
    const file = join(await newDirectory(t), 'app.db');
    makeDatabase(file, 'delete', 1);
    await chmod(file, 0o444);
    using readOnly = new DatabaseSync(file);
    readOnly.exec('BEGIN IMMEDIATE');
    assert.equal(readOnly.isTransaction, true, 'SQLite itself grants it, without a lock');
    await assert.rejects(applicationFor({ file }).openHold(newToken(), 1_000), { code: 'database-file' });
    return undefined;
  });

  it('a hold on a database that went away counts as thawed once its process is gone', async (t) => {
    const directory = await newDirectory(t);
    const file = join(directory, 'app.db');
    makeDatabase(file, 'delete', 1);
    const application = applicationFor({ file });
    const token = newToken();
    const session = await application.openHold(token, 1_000);
    t.after(() => session.close());
    await session.prepare();
    assert.equal((await session.freeze()).frozen, true);
    await rm(file);
    assert.equal((await application.status(token)).state, 'unknown');
    await session.close();
    const status = await application.status(token);
    assert.equal(status.state, 'thawed', status.said);
  });
});

describe('sqlite: verify', () => {
  async function verifyDatabase(
    t: TestContext,
    fill: (database: DatabaseSync) => void,
    options: { readonly integrity?: 'quick'; readonly twice?: boolean } = {},
  ): Promise<readonly Finding[]> {
    const directory = await newDirectory(t);
    const files = options.twice === true ? ['one.db', 'two.db'] : ['one.db'];
    for (const name of files) {
      using database = new DatabaseSync(join(directory, name), { enableForeignKeyConstraints: false });
      database.exec('CREATE TABLE stillpoint_canary(n INTEGER PRIMARY KEY, run TEXT, at TEXT)');
      fill(database);
    }
    const config = { files: files.map((name) => join(directory, name)), verify: { integrity: options.integrity } };
    const application = applicationFor(config);
    const { paths } = await application.locate(never);
    const copy: Copy = { at: (original) => original, required: paths, facts: {}, scratch: directory };
    return findingsOf(application.verify(copy, never));
  }

  const saidBy = (findings: readonly Finding[], check: string): readonly string[] =>
    findings.filter((finding) => finding.check === check).map((finding) => `${finding.severity}: ${finding.said}`);

  it('says what it looked at', async (t) => {
    const findings = await verifyDatabase(
      t,
      (database) => database.exec(`CREATE TABLE "odd ""name"(a); INSERT INTO "odd ""name" VALUES (1), (2)`),
      { integrity: 'quick' },
    );
    assert.deepEqual(
      findings.map((finding) => `${finding.severity} ${finding.check} ${finding.said}`),
      [
        'info start one.db: opened, and its journal replayed',
        'info quick_check one.db: ok',
        'info foreign_key_check one.db: ok',
        'info rows one.db: odd "name 2, stillpoint_canary 0',
        'info canary empty',
      ],
    );
  });

  it('finds broken references', async (t) => {
    const findings = await verifyDatabase(t, (database) =>
      database.exec('CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p); INSERT INTO c VALUES (7)'),
    );
    assert.deepEqual(saidBy(findings, 'foreign_key_check'), [
      'error: one.db: row 1 of table c refers to a missing row of p',
    ]);
  });

  it('a gap in the canary, two runs, and files that differ are errors', async (t) => {
    const gap = await verifyDatabase(t, (database) =>
      database.exec("INSERT INTO stillpoint_canary VALUES (1, 'r', ''), (3, 'r', '')"),
    );
    assert.deepEqual(saidBy(gap, 'canary'), [
      'error: the numbers are no prefix: one.db has 2 records from 1 to 3 of 1 runs',
    ]);
    const runs = await verifyDatabase(t, (database) =>
      database.exec("INSERT INTO stillpoint_canary VALUES (1, 'r', ''), (2, 's', '')"),
    );
    assert.deepEqual(saidBy(runs, 'canary'), [
      'error: the numbers are no prefix: one.db has 2 records from 1 to 2 of 2 runs',
    ]);
    let n = 0;
    const differ = await verifyDatabase(
      t,
      (database) => {
        n += 2;
        for (let i = 1; i <= n; i += 1) database.prepare("INSERT INTO stillpoint_canary VALUES (?, 'r', '')").run(i);
      },
      { twice: true },
    );
    assert.deepEqual(saidBy(differ, 'canary'), [
      'error: the numbers are no prefix: the files differ: one.db ends at 2 of run r, two.db ends at 4 of run r',
    ]);
    let m = 2;
    const oneShort = await verifyDatabase(
      t,
      (database) => {
        m += 1;
        for (let i = 1; i <= m; i += 1) database.prepare("INSERT INTO stillpoint_canary VALUES (?, 'r', '')").run(i);
      },
      { twice: true },
    );
    assert.deepEqual(saidBy(oneShort, 'canary'), ['info: prefix 1..3 of run r']);
  });

  it('a copy without the file, and one whose -wal lies elsewhere, are errors', async (t) => {
    const directory = await newDirectory(t);
    const file = join(directory, 'app.db');
    makeDatabase(file, 'wal', 3);
    await mkdir(join(directory, 'elsewhere'));
    await writeFile(join(directory, 'elsewhere/app.db-wal'), '');
    const application = applicationFor({ file });
    const required = (await application.locate(never)).paths;
    const lost: Copy = { at: () => join(directory, 'lost.db'), required, facts: {}, scratch: directory };
    const findings = await findingsOf(application.verify(lost, never));
    assert.deepEqual(
      findings.map((finding) => [finding.severity, finding.check]),
      [['error', 'file']],
    );
    assert.equal(existsSync(join(directory, 'lost.db')), false);
    const at = (original: string): string =>
      original.endsWith('-wal') ? join(directory, 'elsewhere/app.db-wal') : original;
    const apart = await findingsOf(application.verify({ at, required, facts: {}, scratch: directory }, never));
    assert.match(apart.find((finding) => finding.severity === 'error')?.said ?? '', /does not lie beside/);
  });
});

describe('sqlite: the rest', () => {
  it('a canary number counts once all files have it', async (t) => {
    const directory = await newDirectory(t);
    const files = [join(directory, 'one.db'), join(directory, 'two.db')];
    for (const file of files) makeDatabase(file, 'wal', 1);
    await using other = await startClient(join(directory, 'two.db'));
    const application = applicationFor({ files, canary: true });
    const canary = await application.openCanary?.('run-1');
    assert.ok(canary !== undefined);
    assert.equal(await canary.write(), true);
    await other.run('BEGIN IMMEDIATE');
    assert.equal(await canary.write(), false);
    assert.equal(canary.acknowledged, 1);
    await other.run('ROLLBACK');
    assert.equal(await canary.write(), true);
    assert.equal(canary.acknowledged, 2);
    await canary.close();
    assert.equal(await applicationFor({ files }).openCanary?.('run-1'), undefined);
  });

  it('check tells the mode, a held lock and hard links', async (t) => {
    const directory = await newDirectory(t);
    const file = join(directory, 'app.db');
    makeDatabase(file, 'wal', 1);
    await link(file, join(directory, 'again.db'));
    await using other = await startClient(file);
    await other.run('BEGIN IMMEDIATE');
    const findings = await findingsOf(applicationFor({ file }).check?.(never));
    assert.deepEqual(
      findings.map((finding) => [finding.severity, finding.check]),
      [
        ['info', 'file'],
        ['warning', 'write-lock'],
        ['warning', 'links'],
      ],
    );
    assert.match(findings[1]?.said ?? '', new RegExp(`process ${other.pid} `));
  });

  it('finds a database in WAL mode that a process has open, and sees that it runs', async (t) => {
    const file = join(await newDirectory(t), 'orders.db');
    makeDatabase(file, 'wal', 1);
    const application = applicationFor({ file });
    assert.equal(await application.running?.(never), false);
    await using other = await startClient(file);
    await other.run('SELECT count(*) FROM t');
    assert.equal(await application.running?.(never), true);
    const found = await sqlite.discover?.(platform, never);
    const ours = found?.find((each) => each.config['file'] === file);
    if (found?.length === 20 && ours === undefined) return t.skip('needs fewer than 20 open databases on this machine');
    assert.equal(ours?.name, 'orders');
    assert.match(ours?.said ?? '', new RegExp(`process ${other.pid}$`));
    return undefined;
  });

  it('the configuration wants exactly one of file and files, both absolute', () => {
    const bad = [{}, { file: '/a', files: ['/b'] }, { file: 'a.db' }, { files: [] }, { file: '/a', fil: 1 }];
    for (const config of bad) assert.equal(sqlite.config.safeParse(config).success, false, JSON.stringify(config));
    assert.deepEqual(sqlite.config.parse({ file: '/a' }), {
      file: '/a',
      verify: { integrity: 'full' },
      canary: false,
    });
  });
});
