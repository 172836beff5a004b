import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  access,
  chmod,
  chown,
  constants,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { LocalStore } from '../../src/adapters/store/local/store.ts';
import { codeOf } from '../../src/model/errors.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec, type CommandResult, type RunningProcess } from '../../src/platform/exec.ts';
import type { Repository } from '../../src/repository/api.ts';
import { openRepository } from '../../src/repository/repository.ts';
import {
  deps,
  longAfter,
  makeRepository,
  never,
  password,
  saveDirectory,
  temporaryDirectory,
} from '../doubles/repository-fixture.ts';

/** The unmodified restic judges what we write, and writes what we must read. */
class Restic {
  readonly #repository: string;
  readonly #environment: Readonly<Record<string, string>>;

  constructor(work: string, repository: string) {
    this.#repository = repository;
    this.#environment = { RESTIC_PASSWORD: password, RESTIC_CACHE_DIR: join(work, 'cache'), HOME: work };
  }

  #argv(args: readonly string[]): [string, ...string[]] {
    return ['restic', '--repo', this.#repository, ...args];
  }

  async run(...args: readonly string[]): Promise<CommandResult> {
    return await systemExec.run({ argv: this.#argv(args), env: this.#environment, timeoutMs: 120_000 });
  }

  async ok(...args: readonly string[]): Promise<string> {
    const result = await this.run(...args);
    assert.equal(result.exitCode, 0, `restic ${args.join(' ')}: ${result.stderr}${result.stdout}`);
    return result.stdout;
  }

  start(...args: readonly string[]): RunningProcess {
    return systemExec.start({ argv: this.#argv(args), env: this.#environment });
  }
}

async function resticOrSkip(t: TestContext): Promise<boolean> {
  if ((await systemExec.which('restic')) !== undefined) return true;
  t.skip('needs restic: the program is not installed');
  return false;
}

interface Scene {
  readonly work: string;
  readonly source: string;
  readonly directory: string;
  readonly repository: Repository;
  readonly restic: Restic;
}

async function makeSource(source: string): Promise<void> {
  await mkdir(join(source, 'dir/empty'), { recursive: true });
  await writeFile(join(source, 'dir/big'), randomBytes(20_000_000));
  await writeFile(join(source, 'dir/text'), 'a line of text\n'.repeat(100_000));
  await writeFile(join(source, 'small'), 'hello');
  await writeFile(join(source, 'none'), '');
  await writeFile(join(source, 'sparse'), '');
  await truncate(join(source, 'sparse'), 10_000_000);
  await writeFile(join(source, '日本 "q" <&>\n\u0001\u200b'), 'odd name');
  await writeFile(Buffer.concat([Buffer.from(`${source}/`), Buffer.from('bad\xff\xfe', 'latin1')]), 'no UTF-8');
  await symlink('../not/<there>', join(source, 'link'));
  await chmod(join(source, 'small'), 0o4751);
  await chmod(join(source, 'dir'), 0o1711);
  if (process.getuid?.() === 0) await chown(join(source, 'dir/text'), 1234, 2345);
}

async function withScene(t: TestContext, run: (scene: Scene) => Promise<void>): Promise<void> {
  if (!(await resticOrSkip(t))) return;
  await using temporary = await temporaryDirectory();
  const work = temporary.path;
  const source = join(work, 'source');
  await makeSource(source);
  const directory = join(work, 'repo');
  const repository = await makeRepository(new LocalStore(directory), { version: '0.0.0' });
  await run({ work, source, directory, repository, restic: new Restic(work, directory) });
}

/** Everything below a directory, relative, as bytes: Node's own recursive listing does not take names that are no UTF-8. */
async function namesBelow(root: string, below: Buffer = Buffer.alloc(0)): Promise<Buffer[]> {
  const found: Buffer[] = [];
  const path = Buffer.concat([Buffer.from(`${root}/`), below]);
  for (const entry of await readdir(path, { encoding: 'buffer', withFileTypes: true })) {
    const name = below.length === 0 ? entry.name : Buffer.concat([below, Buffer.from('/'), entry.name]);
    found.push(name);
    if (entry.isDirectory()) found.push(...(await namesBelow(root, name)));
  }
  return found.toSorted((left, right) => Buffer.compare(left, right));
}

/** `timeToleranceNs`: how exactly the tool that made the copy can set times; `modeMask`: the mode bits that it shows. */
async function assertSame(
  original: string,
  copy: string,
  timeToleranceNs: bigint,
  modeMask = 0o177777n,
): Promise<void> {
  const here = await namesBelow(original);
  assert.deepEqual(await namesBelow(copy), here);
  assert.ok(here.length >= 9);
  for (const name of here) {
    const [from, to] = [original, copy].map((root) => Buffer.concat([Buffer.from(`${root}/`), name]));
    assert.ok(from !== undefined && to !== undefined);
    const [a, b] = [await lstat(from, { bigint: true }), await lstat(to, { bigint: true })];
    const label = name.toString('latin1');
    assert.deepEqual(
      [b.mode & modeMask, b.uid, b.gid, a.isFile() ? b.size : 0n],
      [a.mode & modeMask, a.uid, a.gid, a.isFile() ? a.size : 0n],
      label,
    );
    const off = a.mtimeNs > b.mtimeNs ? a.mtimeNs - b.mtimeNs : b.mtimeNs - a.mtimeNs;
    assert.ok(off <= timeToleranceNs, `${label}: mtime is off by ${off} ns`);
    if (a.isFile()) assert.ok((await readFile(from)).equals(await readFile(to)), label);
    if (a.isSymbolicLink()) assert.equal(await readlink(from), await readlink(to));
  }
}

describe('restic reads what we write', () => {
  it('check --read-data, snapshots, ls, stats and restore with metadata', async (t) => {
    await withScene(t, async ({ work, source, repository, restic }) => {
      const saved = await saveDirectory(repository, source, { tags: ['stillpoint', 'full'] });
      await writeFile(join(source, 'later'), 'later');
      const parent = { snapshot: saved.snapshot, cutAt: longAfter };
      const next = await saveDirectory(repository, source, { parent });
      assert.match(await restic.ok('check', '--read-data'), /no errors were found/);
      const listed = JSON.parse(await restic.ok('snapshots', '--json')) as Record<string, unknown>[];
      assert.deepEqual(
        listed.map((snapshot) => snapshot['id']),
        [saved.snapshot, next.snapshot],
      );
      assert.deepEqual(listed[0]?.['paths'], [source]);
      assert.deepEqual(listed[0]?.['tags'], ['stillpoint', 'full']);
      assert.equal(listed[0]?.['hostname'], 'testhost');
      assert.equal(listed[1]?.['parent'], saved.snapshot);
      const names = await restic.ok('ls', next.snapshot);
      for (const name of ['small', 'dir/big', 'later', 'link']) assert.ok(names.includes(`${source}/${name}\n`), name);
      await restic.ok('stats', next.snapshot);
      await restic.ok('restore', next.snapshot, '--target', join(work, 'out'), '--verify');
      await assertSame(source, join(work, 'out', source), 0n);
    });
  });

  it('mount shows the same bytes', async (t) => {
    if ((await systemExec.which('fusermount3')) === undefined && (await systemExec.which('fusermount')) === undefined) {
      t.skip('needs fuse3: fusermount3 is not installed');
      return;
    }
    const mayMount = await access('/dev/fuse', constants.R_OK | constants.W_OK).then(
      () => true,
      () => false,
    );
    if (!mayMount) {
      t.skip('needs /dev/fuse: it is not there or this user may not open it');
      return;
    }
    await withScene(t, async ({ work, source, repository, restic }) => {
      const { snapshot } = await saveDirectory(repository, source);
      const mountPoint = join(work, 'mnt');
      await mkdir(mountPoint);
      const mount = restic.start('mount', mountPoint);
      try {
        const serving = await mount
          .firstLine((line) => line.includes('serving'), 60_000)
          .then(
            () => true,
            () => false,
          );
        if (!serving) {
          t.skip(`needs a working FUSE: ${mount.stderrTail()}`);
          return;
        }
        const inside = join(mountPoint, 'ids', snapshot.slice(0, 8), source);
        for (let turn = 0; turn < 200 && (await stat(inside).catch(() => undefined)) === undefined; turn++) {
          await systemClock.sleep(50);
        }
        // restic's file system does not show the sticky bit.
        await assertSame(source, inside, 0n, ~0o1000n);
      } finally {
        mount.kill('SIGINT');
        await mount.exited;
      }
    });
  });

  it('backup of the same path with our snapshot as parent stores no data again', async (t) => {
    await withScene(t, async ({ source, repository, restic }) => {
      const { snapshot } = await saveDirectory(repository, source);
      const lines = (await restic.ok('backup', source, '--parent', snapshot, '--json')).trim().split('\n');
      const summary = JSON.parse(lines.at(-1) ?? '') as Record<string, unknown>;
      assert.equal(summary['data_blobs'], 0);
      assert.equal(summary['files_new'], 0);
      assert.equal(summary['files_changed'], 0);
      assert.match(await restic.ok('check', '--read-data'), /no errors were found/);
    });
  });

  it('forget and prune of an older snapshot leave a newer one of ours whole, for both', async (t) => {
    await withScene(t, async ({ source, repository, restic }) => {
      const first = await saveDirectory(repository, source);
      const file = await open(join(source, 'dir/big'), 'r+');
      await file.write(randomBytes(1000), 0, 1000, 5_000_000);
      await file.close();
      const second = await saveDirectory(repository, source, {
        parent: { snapshot: first.snapshot, cutAt: longAfter },
      });
      assert.equal(second.bytes.changed, 128 * 1024);
      await restic.ok('forget', '--prune', first.snapshot);
      assert.match(await restic.ok('check', '--read-data'), /no errors were found/);
      assert.deepEqual((await repository.check({ read: 'all', signal: never })).findings, []);
      const third = await saveDirectory(repository, source, {
        parent: { snapshot: second.snapshot, cutAt: longAfter },
      });
      assert.equal(third.bytes.read, 0);
      assert.match(await restic.ok('check', '--read-data'), /no errors were found/);
    });
  });

  it('finds the same damage as we do', async (t) => {
    await withScene(t, async ({ source, directory, repository, restic }) => {
      const { snapshot } = await saveDirectory(repository, source);
      const packs = (await readdir(join(directory, 'data'), { recursive: true })).filter((name) => name.length > 64);
      const pack = packs[0] ?? assert.fail('no pack');
      const path = join(directory, 'data', pack);
      const bytes = await readFile(path);
      bytes[100] = (bytes[100] ?? 0) ^ 1;
      await chmod(path, 0o600);
      await writeFile(path, bytes);
      assert.notEqual((await restic.run('check', '--read-data')).exitCode, 0);
      const report = await repository.check({ read: 'all', signal: never });
      assert.deepEqual(report.damagedSnapshots, [snapshot]);
      assert.ok(report.findings.some((finding) => finding.severity === 'error' && finding.said.includes(pack)));
    });
  });
});

describe('we read what restic writes', () => {
  it('init, backup and backup again by restic; list, check, plan, restore and save by us', async (t) => {
    if (!(await resticOrSkip(t))) return;
    await using temporary = await temporaryDirectory();
    const work = temporary.path;
    const source = join(work, 'source');
    await makeSource(source);
    const directory = join(work, 'repo');
    const restic = new Restic(work, directory);
    await restic.ok('init', '--repository-version', '2');
    await restic.ok('backup', source, '--tag', 'theirs', '--host', 'other');
    const repository = await openRepository(new LocalStore(directory), password, deps);
    const [info] = await repository.snapshots();
    assert.ok(info !== undefined);
    assert.deepEqual([info.tags, info.hostname, info.paths, info.bytes], [['theirs'], 'other', [source], null]);
    assert.deepEqual((await repository.check({ read: 'all', signal: never })).findings, []);
    assert.deepEqual((await repository.plan(info.id, (path) => path)).missing, []);
    const place = (path: string): string | undefined => (path.startsWith(source) ? join(work, 'out', path) : undefined);
    await repository.restore({ snapshot: info.id, place, signal: never });
    await assertSame(source, join(work, 'out', source), 1000n);

    const onTop = await saveDirectory(repository, source, { parent: { snapshot: info.id, cutAt: longAfter } });
    assert.deepEqual([onTop.bytes.read, onTop.bytes.changed], [0, 0]);
    assert.match(await restic.ok('check', '--read-data'), /no errors were found/);
  });
});

describe('locks between restic and us', () => {
  it('restic sees ours: an exclusive command is refused while a save runs', async (t) => {
    await withScene(t, async ({ source, directory, restic }) => {
      let refused: CommandResult | undefined;
      class Slow extends LocalStore {
        override async put(name: string, data: Uint8Array): Promise<void> {
          if (name.startsWith('data/')) refused ??= await restic.run('prune');
          await super.put(name, data);
        }
      }
      const repository = await openRepository(new Slow(directory), password, deps);
      await saveDirectory(repository, source);
      assert.notEqual(refused?.exitCode, 0);
      assert.match(refused?.stderr ?? '', /repository is already locked by PID \d+ on testhost/);
      await restic.ok('prune');
      assert.equal(await restic.ok('list', 'locks', '--no-lock'), '');
    });
  });

  it('we obey an exclusive lock of a living restic, ignore and remove that of a dead one', async (t) => {
    await withScene(t, async ({ source, repository, directory, restic }) => {
      await saveDirectory(repository, source);
      const check = restic.start('check', '--read-data');
      await check.firstLine((line) => line.includes('load indexes'), 60_000);
      check.kill('SIGSTOP');
      const opened = async (alive: boolean): Promise<Repository> =>
        await openRepository(new LocalStore(directory), password, {
          ...deps,
          hostname: hostname(),
          isProcessAlive: (pid) => alive && pid === check.pid,
        });
      const refused = saveDirectory(await opened(true), source);
      await assert.rejects(refused, (error) => codeOf(error) === 'repository-locked');
      check.kill('SIGKILL');
      await check.exited;
      assert.equal((await readdir(join(directory, 'locks'))).length, 1, 'the killed restic left its lock');
      const dead = await opened(false);
      await saveDirectory(dead, source);
      assert.equal(await dead.removeStaleLocks(), 1);
      assert.deepEqual(await readdir(join(directory, 'locks')), []);
    });
  });
});
