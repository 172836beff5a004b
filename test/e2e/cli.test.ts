/** The command line as a user has it: real processes, a real SQLite file, a real PostgreSQL. */
import assert from 'node:assert/strict';
import { cp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { openCatalog } from '../../src/catalog/catalog.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Point } from '../../src/model/point.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec, type CommandResult } from '../../src/platform/exec.ts';
import { loopVolume } from '../doubles/loop-volume.ts';
import { damage, filesBelow, inside, openShop, type Shop } from './shop.ts';
import { eventually, longestGap, openStage, processState } from './stage.ts';

type Document = Record<string, unknown> & {
  readonly schema: string;
  readonly command: string;
  readonly outcome: string;
  readonly point: Point;
  readonly points: readonly Point[];
  readonly error: { readonly code: string; readonly message: string; readonly hint: string | null };
};

function documentOf(result: CommandResult): Document {
  const document = JSON.parse(result.stdout) as Document;
  assert.equal(document.schema, 'stillpoint/1');
  return document;
}

/** Standard error holds nothing but JSON lines when --json is given. */
function eventsOf(result: CommandResult): readonly Record<string, unknown>[] {
  return result.stderr
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function succeeded(result: CommandResult): CommandResult {
  assert.equal(result.exitCode, 0, `${result.argv.slice(2).join(' ')}: ${result.stderr}${result.stdout}`);
  return result;
}

/** The same failure as text and as JSON: code, exit code, one sentence, a hint. */
async function assertFails(
  shop: Pick<Shop, 'run'>,
  args: readonly string[],
  expected: { readonly code: string; readonly exit: number; readonly hint: RegExp },
  configFile?: string,
): Promise<Document['error']> {
  const asJson = await shop.run([...args, '--json'], configFile);
  const { error } = documentOf(asJson);
  assert.equal(error.code, expected.code, error.message);
  assert.equal(asJson.exitCode, expected.exit);
  assert.match(error.hint ?? '', expected.hint);
  assert.match(error.message, /[^.]$/, 'a message has no full stop');
  const asText = await shop.run(args, configFile);
  assert.equal(asText.exitCode, expected.exit);
  assert.match(asText.stderr, /^error: /m);
  assert.match(asText.stderr, /^HINT: /m);
  assert.doesNotMatch(asText.stderr, /^bug: /m);
  return error;
}

async function readyShop(): Promise<Shop> {
  const shop = await openShop();
  succeeded(await shop.run(['repo', 'init', '--generate-password']));
  return shop;
}

async function makePoint(shop: Shop): Promise<Point> {
  return documentOf(succeeded(await shop.run(['backup', 'shop', '--json']))).point;
}

async function assertNothingLeft(shop: Shop): Promise<void> {
  assert.deepEqual(await shop.leftovers(), []);
  const status = documentOf(await shop.run(['status', 'shop', '--json']))['status'];
  assert.deepEqual(status, { state: 'thawed', said: (status as { said: string }).said, holds: [], busy: false });
  // A writer is the judge.
  const before = shop.sold();
  shop.sell(1);
  assert.equal(shop.sold(), before + 1);
}

describe('the command line on SQLite', () => {
  it('goes from an empty folder to a restored database and back', async () => {
    await using shop = await openShop();
    const made = documentOf(succeeded(await shop.run(['repo', 'init', '--generate-password', '--json'])));
    assert.equal(made.command, 'repo init');
    assert.equal((await stat(join(shop.directory, 'key'))).mode & 0o777, 0o600);
    assert.equal((await stat(shop.stateDirectory)).mode & 0o777, 0o711);

    const checked = succeeded(await shop.run(['check']));
    assert.match(checked.stdout, /^shop: ready/m);
    const plan = documentOf(succeeded(await shop.run(['plan', 'shop', '--json'])))['plan'] as { level: string };
    assert.equal(plan.level, 'full');
    assert.deepEqual(await inside(join(shop.stateDirectory, 'runs')), [], 'check and plan begin no run');

    const full = succeeded(await shop.run(['backup', 'shop', '--json', '--drill']));
    const first = documentOf(full);
    assert.equal(first.outcome, 'complete');
    assert.equal(first.point.level, 'full');
    assert.equal(first.point.parent, null);
    assert.equal(first.point.verdict, 'application-consistent');
    assert.equal(first.point.drill.outcome, 'passed');
    assert.deepEqual(Object.keys(first.point.hold ?? {}).sort(), [
      'budgetMs',
      'cutAt',
      'frozenAt',
      'heldMs',
      'heldThroughout',
      'overheadMs',
      'thawedAt',
    ]);
    const steps = eventsOf(full).filter((event) => event['event'] === 'step' && event['phase'] === 'done');
    assert.deepEqual(
      steps.slice(0, 11).map((event) => event['name']),
      ['locate', 'choose', 'predict', 'prepare', 'freeze', 'cut', 'thaw', 'judge', 'copy', 'record', 'expire'],
    );

    shop.sell(5);
    const second = await shop.run(['backup', 'shop']);
    succeeded(second);
    assert.match(second.stdout, /^complete: an incremental point, application-consistent$/m);
    assert.match(second.stdout, /hold +[\d.]+ m?s of a budget of 5\.0 s, own overhead [\d.]+ ms, held throughout/);

    const listed = documentOf(succeeded(await shop.run(['--json', 'points', 'shop']))).points;
    assert.deepEqual(
      listed.map((point) => point.level),
      ['incremental', 'full'],
    );
    const [newest, oldest] = listed;
    assert.ok(newest !== undefined && oldest !== undefined);
    assert.equal(newest.parent, oldest.id);
    const table = succeeded(await shop.run(['points']));
    assert.equal(table.stdout.trim().split('\n').length, 3);

    const svg = join(shop.directory, 'flight.svg');
    const shown = succeeded(await shop.run(['show', newest.id, '--svg', svg]));
    assert.match(shown.stdout, /freeze called/);
    assert.match(await readFile(svg, 'utf8'), /^<svg[\s>]/);

    const drilled = documentOf(succeeded(await shop.run(['drill', 'shop', '--json'])));
    assert.equal(drilled.point.id, newest.id);
    assert.equal(drilled.point.drill.outcome, 'passed');

    const beside = join(shop.directory, 'beside');
    succeeded(await shop.run(['restore', newest.id.slice(0, -1), '--target', beside]));
    assert.equal(shop.sold(join(beside, shop.database)), 15);
    const again = await shop.run(['restore', 'shop', '--target', beside, '--json']);
    assert.equal(documentOf(again).error.code, 'target-not-empty');
    assert.equal(again.exitCode, 4);
    succeeded(await shop.run(['restore', oldest.id]));
    assert.equal(shop.sold(join(shop.directory, `shop-${oldest.id}`, shop.database)), 10);
    await assertNothingLeft(shop);
  });

  it('restores in place only after a yes, and says how to undo it', async () => {
    await using shop = await readyShop();
    const point = await makePoint(shop);
    shop.sell(7);
    await assertFails(shop, ['restore', point.id, '--target', 'in-place'], { code: 'usage', exit: 2, hint: /--yes/ });
    assert.equal(shop.sold(), 17);
    const restored = succeeded(await shop.run(['restore', point.id, '--target', 'in-place', '--yes']));
    assert.equal(shop.sold(), 10);
    const undo = restored.stdout.split('\n').filter((line) => line.startsWith('  mv '));
    assert.ok(undo.length >= 2, restored.stdout);
    // The copy was opened just now and may have companions of its own.
    for (const end of ['-wal', '-shm']) await rm(`${shop.database}${end}`, { force: true });
    for (const line of undo) await systemExec.check({ argv: ['sh', '-c', line], timeoutMs: 5_000 });
    assert.equal(shop.sold(), 17);
    await assertNothingLeft(shop);
  });

  it('chooses points by time, and names the neighbours of a time between', async () => {
    await using shop = await readyShop();
    const first = await makePoint(shop);
    const second = await makePoint(shop);
    const target = (name: string): readonly string[] => ['--target', join(shop.directory, name)];
    const exact = await shop.run(['restore', 'shop', '--to', first.cutAt, ...target('exact'), '--json']);
    assert.equal(documentOf(succeeded(exact)).point.id, first.id);
    const latest = await shop.run(['restore', 'shop', '--to', 'latest', ...target('latest'), '--json']);
    assert.equal(documentOf(succeeded(latest)).point.id, second.id);
    const between = new Date((Date.parse(first.cutAt) + Date.parse(second.cutAt)) / 2).toISOString();
    const refused = { code: 'no-point', exit: 4, hint: /stillpoint restore / };
    const error = await assertFails(shop, ['restore', 'shop', '--to', between], refused);
    assert.ok(error.message.includes(first.id) && error.message.includes(second.id), error.message);
    await assertFails(shop, ['restore', 'shop', '--to', '0/3004918'], { ...refused, hint: /stillpoint points shop/ });
    await assertFails(shop, ['restore', 'shop', '--to', 'noon'], { code: 'usage', exit: 2, hint: /18:30/ });
    await assertFails(shop, ['restore', 'shop', '--target', 'clone'], { code: 'usage', exit: 2, hint: /--target DIR/ });
  });

  it('freezes and thaws by hand, and does not claim a hold that the budget ended', async () => {
    await using shop = await readyShop();
    const withBudget = (budget: string): Promise<string> =>
      shop.variant(budget, (config) => {
        const workload = config.workloads['shop'];
        if (workload !== undefined) workload.hold.budget = budget;
      });
    // Long enough for every command below, however slow the machine is.
    const long = await withBudget('10m');
    const frozen = documentOf(succeeded(await shop.run(['freeze', 'shop', '--json'], long)));
    assert.equal((frozen['hold'] as { budgetMs: number }).budgetMs, 600_000);
    assert.throws(() => shop.sell(1), /locked/);
    const status = documentOf(succeeded(await shop.run(['status', 'shop', '--json'], long)))['status'];
    assert.equal((status as { state: string }).state, 'frozen');
    await assertFails(shop, ['backup', 'shop'], { code: 'workload-busy', exit: 4, hint: /thaw shop/ }, long);
    const thawed = documentOf(succeeded(await shop.run(['thaw', 'shop', '--json'], long)));
    assert.equal(thawed['heldThroughout'], true);
    await assertNothingLeft(shop);

    const short = await withBudget('700ms');
    succeeded(await shop.run(['freeze', 'shop'], short));
    const writesAgain = await eventually(() => {
      try {
        shop.sell(1);
        return true;
      } catch {
        return false;
      }
    }, 10_000);
    assert.ok(writesAgain, 'the guard thaws at the budget');
    const late = await shop.run(['thaw', 'shop', '--json'], short);
    assert.equal(late.exitCode, 3, late.stdout);
    assert.equal(documentOf(late)['heldThroughout'], false);
    assert.equal(documentOf(succeeded(await shop.run(['thaw', 'shop', '--json'])))['runId'], null);
    await assertNothingLeft(shop);
  });
});

describe('bad input', () => {
  it('refuses what it cannot understand, with the nearest right word', async () => {
    await using shop = await openShop();
    await assertFails(shop, ['bakcup'], { code: 'usage', exit: 2, hint: /backup/ });
    await assertFails(shop, ['backup', 'shop', '--levle', 'full'], { code: 'usage', exit: 2, hint: /--level/ });
    await assertFails(shop, ['backup', 'shop', '--level', 'differential'], { code: 'usage', exit: 2, hint: /--help/ });
    await assertFails(shop, ['backup', 'shop', '--method', 'magic'], { code: 'usage', exit: 2, hint: /--help/ });
    await assertFails(shop, ['backup', 'shpo'], { code: 'workload-unknown', exit: 2, hint: /did you mean shop/ });
    await assertFails(shop, ['backup', 'shop'], { code: 'secret-unreadable', exit: 2, hint: /umask 077/ });
    await assertFails(shop, ['repo', 'init'], { code: 'secret-unreadable', exit: 2, hint: /--generate-password/ });
    await writeFile(join(shop.directory, 'key'), 'a password\n', { mode: 0o600 });
    await assertFails(shop, ['points'], { code: 'repository-missing', exit: 5, hint: /repo init/ });
    succeeded(await shop.run(['repo', 'init']));
    await assertFails(shop, ['repo', 'init'], { code: 'repository-exists', exit: 5, hint: /repository\.store/ });
    await assertFails(shop, ['restore', 'shop'], { code: 'no-point', exit: 4, hint: /backup shop/ });
    await assertFails(shop, ['show', '20200101-000000-abcdef'], { code: 'point-unknown', exit: 2, hint: /points/ });
    const nowhere = join(shop.directory, 'nowhere.yaml');
    await assertFails(shop, ['points'], { code: 'config-missing', exit: 2, hint: /init/ }, nowhere);
    await assertNothingLeft(shop);
  });

  it('tells a wrong password, a lost database and a state directory that cannot be used apart', async () => {
    await using shop = await readyShop();
    await writeFile(join(shop.directory, 'wrong'), 'not the password\n', { mode: 0o600 });
    const wrong = await shop.variant('wrong-password', (config) => {
      config.repository.passwordFile = join(shop.directory, 'wrong');
    });
    await assertFails(shop, ['backup', 'shop'], { code: 'repository-password', exit: 5, hint: /./ }, wrong);
    const lost = await shop.variant('lost', (config) => {
      config.workloads['lost'] = {
        application: { postgresql: { host: shop.directory, port: 5999 } },
        storage: 'auto',
        hold: { budget: '5s' },
      };
    });
    await assertFails(shop, ['backup', 'lost'], { code: 'database-unreachable', exit: 5, hint: /./ }, lost);
    const check = await shop.run(['check', 'lost'], lost);
    assert.equal(check.exitCode, 5, 'an error among the findings fails the check');
    const file = join(shop.directory, 'a-file');
    await writeFile(file, '');
    const stateless = await shop.variant('stateless', (config) => {
      config.stateDirectory = join(file, 'state');
    });
    await assertFails(shop, ['points'], { code: 'io', exit: 5, hint: /stateDirectory/ }, stateless);
    await assertNothingLeft(shop);
  });

  it('refuses a clock that went back, and a second run at once', async () => {
    await using shop = await readyShop();
    const point = await makePoint(shop);
    const catalog = await openCatalog(shop.stateDirectory);
    const future = new Date(Date.parse(point.cutAt) + 3_600_000).toISOString();
    catalog.addPoint({ ...point, id: 'from-the-future', cutAt: future });
    catalog.close();
    await assertFails(shop, ['backup', 'shop'], { code: 'clock-jumped', exit: 5, hint: /clock/ });
    const mended = await openCatalog(shop.stateDirectory);
    mended.removePoint('from-the-future');
    mended.close();

    const first = shop.start(['backup', 'shop', '--json'], { STILLPOINT_FAULT: 'stop:after:locate' });
    assert.ok(await eventually(async () => (await processState(first.pid)) === 'T', 30_000));
    await assertFails(shop, ['backup', 'shop'], { code: 'workload-busy', exit: 4, hint: /status shop/ });
    first.kill('SIGCONT');
    assert.deepEqual(await first.exited, { exitCode: 0, killedBy: null });
    await assertNothingLeft(shop);
  });

  it('names the points that damage in the repository hits', async () => {
    await using shop = await readyShop();
    const point = await makePoint(shop);
    const whole = join(shop.directory, 'whole');
    await cp(shop.repository, whole, { recursive: true });
    const packs = await filesBelow(join(shop.repository, 'data'));
    for (const pack of packs) await damage(pack);
    const found = { code: 'repository-damaged', exit: 5, hint: new RegExp(point.id) };
    await assertFails(shop, ['repo', 'check', '--read-data'], found);
    assert.equal((await shop.run(['drill', 'shop'])).exitCode, 5);
    for (const pack of packs) await rm(pack);
    const lost = await shop.run(['restore', 'shop', '--json']);
    assert.ok([4, 5].includes(lost.exitCode ?? 0), lost.stdout);
    assert.ok(['point-incomplete', 'repository-damaged'].includes(documentOf(lost).error.code));
    await rm(shop.repository, { recursive: true });
    await cp(whole, shop.repository, { recursive: true });
    succeeded(await shop.run(['repo', 'check', '--read-data']));
    await truncate(join(shop.repository, 'config'), 10).catch(async () => {
      await rm(join(shop.repository, 'config'));
      await writeFile(join(shop.repository, 'config'), 'short');
    });
    await assertFails(shop, ['backup', 'shop'], { code: 'repository-damaged', exit: 5, hint: /config/ });
    await assertNothingLeft(shop);
  });

  it('leaves no half point on a repository disk that is full', async (t) => {
    const disk = await loopVolume('ext4');
    if ('skip' in disk) {
      t.skip(disk.skip);
      return;
    }
    await using _disk = disk;
    await using shop = await openShop();
    const db = new DatabaseSync(shop.database);
    db.exec(`CREATE TABLE ballast AS
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 96) SELECT randomblob(1048576) AS b FROM n`);
    db.close();
    const repository = join(disk.mountPoint, 'repository');
    const small = await shop.variant('small', (config) => {
      config.repository.store.local = repository;
    });
    succeeded(await shop.run(['repo', 'init', '--generate-password'], small));
    await assertFails(shop, ['backup', 'shop'], { code: 'repository-full', exit: 5, hint: /./ }, small);
    assert.deepEqual(await inside(join(repository, 'snapshots')), []);
    assert.deepEqual(await inside(join(repository, 'locks')), []);
    assert.deepEqual(documentOf(succeeded(await shop.run(['points', '--json'], small))).points, []);
    await assertNothingLeft(shop);
  });

  it('rebuilds a torn catalog from the repository', async () => {
    await using shop = await readyShop();
    const point = await makePoint(shop);
    const file = join(shop.stateDirectory, 'catalog.sqlite');
    for (const end of ['-wal', '-shm']) await rm(`${file}${end}`, { force: true });
    await writeFile(file, 'this is no database, and longer than its header would be '.repeat(40));
    await assertFails(shop, ['points'], { code: 'catalog-damaged', exit: 6, hint: /stillpoint recover/ });
    const recovered = documentOf(succeeded(await shop.run(['recover', '--json'])));
    assert.deepEqual(recovered['pointsFound'], [point.id]);
    assert.equal((await inside(shop.stateDirectory)).filter((name) => name.includes('.damaged-')).length, 1);
    const again = documentOf(succeeded(await shop.run(['recover', '--json'])));
    assert.deepEqual(again['pointsFound'], []);
    assert.deepEqual(again['runs'], []);
    // A catalog that is gone altogether fills itself.
    for (const end of ['', '-wal', '-shm']) await rm(`${file}${end}`, { force: true });
    const listed = documentOf(succeeded(await shop.run(['points', '--json']))).points;
    assert.deepEqual(listed, [{ ...point, drill: listed[0]?.drill }]);
    await assertNothingLeft(shop);
  });

  it('reads over a torn end of a journal, and refuses one that is damaged before', async () => {
    await using shop = await readyShop();
    const flow = shop.start(['backup', 'shop'], { STILLPOINT_FAULT: 'exit:after:choose' });
    assert.deepEqual(await flow.exited, { exitCode: null, killedBy: 'SIGKILL' });
    const [journal] = await inside(join(shop.stateDirectory, 'runs'));
    assert.ok(journal !== undefined);
    const text = await readFile(journal, 'utf8');
    await writeFile(journal, `${text}deadbeef {"type":"int`);
    succeeded(await shop.run(['backup', 'shop']));
    await writeFile(journal, text.replace('"type":"run"', '"type":"rum"'));
    const damaged = await assertFails(shop, ['backup', 'shop'], {
      code: 'journal-corrupt',
      exit: 6,
      hint: /--discard/,
    });
    assert.ok(damaged.hint?.includes(journal));
    assert.equal((await shop.run(['recover'])).exitCode, 6, 'a damaged journal needs a person');
    succeeded(await shop.run(['recover', '--discard', journal]));
    succeeded(await shop.run(['recover']));
    succeeded(await shop.run(['backup', 'shop']));
    await assertNothingLeft(shop);
  });
});

describe('the command line on PostgreSQL', () => {
  it('backs up, drills and restores under a write load, and leaves nothing frozen on Ctrl-C', async (t) => {
    const stage = await openStage('postgresql', 'copy', { budget: '20s', canary: true });
    if (typeof stage === 'string') {
      t.skip(stage);
      return;
    }
    await using _stage = stage;
    const found = join(stage.directory, 'found.yaml');
    succeeded(await stage.run(['init', '--output', found]));
    const data = [...(await loadConfig(found)).workloads.values()].map(
      ({ application }) => (application.config as { dataDirectory?: string }).dataDirectory,
    );
    assert.ok(data.includes(join(stage.directory, 'db', 'pg', 'data')), `init found ${data.join(', ')}`);
    const refused = await stage.run(['init', '--output', found, '--json']);
    assert.equal(refused.exitCode, 2);
    assert.match(documentOf(refused).error.hint ?? '', /--force/);

    succeeded(await stage.run(['check', 'orders']));
    const full = documentOf(succeeded(await stage.run(['backup', 'orders', '--json', '--drill'])));
    assert.equal(full.point.verdict, 'application-consistent');
    assert.equal(full.point.drill.outcome, 'passed');
    const next = documentOf(succeeded(await stage.run(['backup', 'orders', '--json'])));
    assert.equal(next.point.level, 'incremental');
    assert.equal(next.point.parent, full.point.id);
    assert.ok(next.point.bytes.read < full.point.bytes.read, 'files unchanged since the parent are not read');
    const target = join(stage.directory, 'beside');
    const restored = documentOf(succeeded(await stage.run(['restore', next.point.id, '--target', target, '--json'])));
    assert.ok((restored['restore'] as { files: number }).files > 100);
    assert.deepEqual(await stage.leftovers(), []);

    const before = systemClock.monoMs();
    const flow = stage.start(['backup', 'orders'], { STILLPOINT_FAULT: 'stop:before:cut' });
    assert.ok(await eventually(async () => (await processState(flow.pid)) === 'T', 60_000));
    flow.kill('SIGINT');
    flow.kill('SIGCONT');
    const ended = await flow.exited;
    assert.equal(ended.exitCode, 130, flow.stderrTail());
    assert.match(flow.stderrTail(), /^error: cancelled by SIGINT/m);
    assert.ok(
      await eventually(async () => (await stage.leftovers()).length === 0, 5_000),
      (await stage.leftovers()).join(),
    );
    const status = documentOf(succeeded(await stage.run(['status', 'orders', '--json'])))['status'] as {
      state: string;
    };
    assert.equal(status.state, 'thawed');
    assert.ok(longestGap(await stage.acknowledged(), before, systemClock.monoMs()) < 20_000);
    const listed = documentOf(succeeded(await stage.run(['points', '--json']))).points;
    assert.equal(listed.length, 2, 'a cancelled run makes no point');
  });

  it('refuses to replace files under a running engine', async (t) => {
    const stage = await openStage('postgresql', 'copy', { budget: '20s' });
    if (typeof stage === 'string') {
      t.skip(stage);
      return;
    }
    await using _stage = stage;
    succeeded(await stage.run(['backup', 'orders']));
    const refused = await stage.run(['restore', 'orders', '--target', 'in-place', '--yes', '--json']);
    assert.equal(refused.exitCode, 4);
    assert.equal(documentOf(refused).error.code, 'engine-running');
    assert.deepEqual(await stage.leftovers(), []);
  });
});
