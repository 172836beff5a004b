import assert from 'node:assert/strict';
import { chmod, chown, copyFile, lchown, lstat, mkdir, mkdtemp, readdir, readlink, realpath } from 'node:fs/promises';
import { rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { codeOf } from '../../src/model/errors.ts';
import type { FreezeAnswer, HoldToken, ThawAnswer } from '../../src/model/hold.ts';
import type { Finding } from '../../src/model/point.ts';
import type { LeftOut } from '../../src/model/storage.ts';
import { systemExec } from '../../src/platform/exec.ts';
import type { RunningProcess } from '../../src/platform/exec.ts';
import type { Application, CollectedFile, Copy, Located } from '../../src/ports/application.ts';

/** One live database with one table of numbers, and how the suite gets at it. */
export interface ContractSubject extends AsyncDisposable {
  /** A new instance of the adapter, as another process would make it. */
  application(): Application;
  /** The same for a child process: an ApplicationModule's file (absolute URL), its export, and its configuration before parsing. */
  readonly elsewhere: {
    readonly module: string;
    readonly exportName: string;
    readonly config: unknown;
    /** For adapters that keep something of a hold below it; the same as that of `application()`. */
    readonly stateDirectory?: string;
  };
  /** Inserts one row through an independent client. True once it is durable, false if the engine would make the writer wait. */
  write(row: number): Promise<boolean>;
  /** All rows of a copy, through an independent client. The copy may be changed. */
  read(copy: Copy): Promise<readonly number[]>;
  /** Copies what `locate` named below `root` as it is at one instant, for a hold that needs that. Absent: file by file. */
  readonly cut?: (located: Located, root: string) => Promise<void>;
  /** Overwrites some pages that hold rows in a copy that no engine has open. */
  damage(copy: Copy): Promise<void>;
}

const guardAgainstHang = 60_000;
const never = new AbortController().signal;

let tokens = 0;
function newToken(engine: string): HoldToken {
  tokens += 1;
  const runId = `contract-${process.pid}-${tokens}`;
  return { runId, workload: 'contract', engine, identity: `stillpoint:${runId}` };
}

/** A hold in a child process, as the guard has it: SQLite's locks would not survive that this process copies the files itself. */
export interface Holder {
  readonly pid: number;
  freeze(): Promise<FreezeAnswer>;
  ask(): Promise<FreezeAnswer>;
  thaw(): Promise<ThawAnswer>;
  collect(into: string): Promise<readonly CollectedFile[]>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

export async function startHolder(
  subject: Pick<ContractSubject, 'elsewhere'>,
  token: HoldToken,
  budgetMs = 30_000,
): Promise<Holder> {
  const program = fileURLToPath(new URL('application-holder.ts', import.meta.url));
  const spec = JSON.stringify({ ...subject.elsewhere, token, budgetMs });
  const child: RunningProcess = systemExec.start({ argv: [process.execPath, program, spec] });
  let calls = 0;
  // The holder is this suite's own code and answers with the port's types as JSON.
  const call = async <T>(verb: string, argument = ''): Promise<T> => {
    calls += 1;
    const mark = `${calls} `;
    const answer = child.firstLine((line) => line.startsWith(mark), guardAgainstHang);
    child.write(`${mark}${verb} ${argument}\n`);
    const reply: { ok: T; error?: string } = JSON.parse((await answer).slice(mark.length));
    if (reply.error !== undefined) throw new Error(`${verb} in the holder: ${reply.error}\n${child.stderrTail()}`);
    return reply.ok;
  };
  await call<null>('prepare');
  return {
    pid: child.pid,
    freeze: async () => call<FreezeAnswer>('freeze'),
    ask: async () => call<FreezeAnswer>('ask'),
    thaw: async () => call<ThawAnswer>('thaw'),
    collect: async (into) => call<readonly CollectedFile[]>('collect', into),
    async kill() {
      child.kill('SIGKILL');
      await child.exited;
    },
    async close() {
      await call<null>('close');
      child.closeInput();
      await child.exited;
    },
  };
}

/** Copies what `locate` named, file by file, as the weakest provider would, below `root`. Files that vanish meanwhile are left out. */
export async function copyFiles(located: Located, root: string): Promise<void> {
  for (const required of located.paths) {
    await makeParents(required.path, root);
    await copyTree(required.path, join(root, required.path), '', required.leftOut);
    for (const companion of required.companions) await copyTree(companion, join(root, companion), '', []);
  }
}

/** Directories above a copied path get their original's owner and mode: an engine that runs as another user must reach its files. */
async function makeParents(original: string, root: string): Promise<void> {
  const parent = dirname(original);
  if (parent === original) return;
  await makeParents(parent, root);
  const target = join(root, parent);
  await mkdir(target, { recursive: true });
  await chmod(target, 0o755);
}

async function copyTree(from: string, to: string, relative: string, leftOut: readonly LeftOut[]): Promise<void> {
  const rule = leftOut.find((each) => each.relative === (relative === '' ? '.' : relative));
  if (rule?.match === 'entry') return;
  try {
    const seen = await lstat(from);
    if (seen.isSymbolicLink()) {
      await symlink(await readlink(from), to);
      await lchown(to, seen.uid, seen.gid);
    } else if (seen.isDirectory()) {
      await mkdir(to, { recursive: true });
      await chown(to, seen.uid, seen.gid);
      await chmod(to, seen.mode & 0o7777);
      if (rule?.match === 'contents') return;
      for (const name of await readdir(from)) {
        await copyTree(join(from, name), join(to, name), relative === '' ? name : `${relative}/${name}`, leftOut);
      }
    } else if (seen.isFile()) {
      await copyFile(from, to);
      await chown(to, seen.uid, seen.gid);
      await chmod(to, seen.mode & 0o7777);
    }
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw cause;
  }
}

async function addToCopy(root: string, thawed: ThawAnswer, collected: readonly CollectedFile[]): Promise<void> {
  for (const artifact of thawed.artifacts) {
    await mkdir(dirname(join(root, artifact.path)), { recursive: true });
    await writeFile(join(root, artifact.path), Buffer.from(artifact.base64, 'base64'), { mode: artifact.mode });
  }
  for (const file of collected) {
    await mkdir(dirname(join(root, file.path)), { recursive: true });
    await copyFile(file.from, join(root, file.path));
  }
}

async function namesBelow(path: string): Promise<readonly string[]> {
  if ((await lstat(path)).isFile()) return [path];
  return (await readdir(path, { recursive: true })).sort();
}

async function findingsOf(found: AsyncIterable<Finding>): Promise<readonly Finding[]> {
  const all: Finding[] = [];
  for await (const finding of found) all.push(finding);
  return all;
}

function errorsIn(findings: readonly Finding[]): readonly Finding[] {
  return findings.filter((finding) => finding.severity === 'error');
}

/**
 * What every application adapter must keep, shown on a real engine. `open` starts the engine; a string instead is the reason why
 * this machine cannot, and every test of the suite is skipped with it.
 */
export function applicationContract(name: string, open: () => Promise<ContractSubject | string>): void {
  describe(`application contract: ${name}`, () => {
    let opened: ContractSubject | string = 'the engine was not started';
    let next = 1;
    before(async () => {
      opened = await open();
    });
    after(async () => {
      if (typeof opened !== 'string') await opened[Symbol.asyncDispose]();
    });

    const test = (title: string, run: (subject: ContractSubject, t: TestContext) => Promise<void>): void => {
      it(title, async (t) => {
        if (typeof opened === 'string') return t.skip(opened);
        await run(opened, t);
        return undefined;
      });
    };

    async function writeRows(subject: ContractSubject, count: number): Promise<readonly number[]> {
      const rows: number[] = [];
      for (let i = 0; i < count; i += 1) {
        const row = next;
        next += 1;
        assert.equal(await subject.write(row), true, `row ${row} is acknowledged while nothing is frozen`);
        rows.push(row);
      }
      return rows;
    }

    async function newCopy(t: TestContext, located: Located): Promise<{ readonly root: string; readonly copy: Copy }> {
      const base = await mkdtemp(join(tmpdir(), 'sp-copy-'));
      t.after(async () => rm(base, { recursive: true, force: true }));
      await chmod(base, 0o755);
      const root = join(base, 'files');
      const scratch = join(base, 's');
      await mkdir(root);
      await mkdir(scratch);
      const at = (original: string): string => join(root, original);
      return { root, copy: { at, required: located.paths, facts: located.facts, scratch } };
    }

    /** Freeze, copy file by file while the writer goes on, thaw, add what the engine hands out. */
    async function copyUnderHold(subject: ContractSubject, t: TestContext): Promise<Copy> {
      const application = subject.application();
      const located = await application.locate(never);
      const { root, copy } = await newCopy(t, located);
      const holder = await startHolder(subject, newToken(application.engine));
      try {
        assert.equal((await holder.freeze()).frozen, true);
        await (subject.cut ?? copyFiles)(located, root);
        for (let i = 0; i < 5; i += 1) {
          // A row during the hold may or may not be in the copy; it is only there to dirty what was copied already.
          if (await subject.write(next)) next += 1;
        }
        assert.equal((await holder.ask()).frozen, true, 'frozen until the thaw');
        const thawed = await holder.thaw();
        assert.equal(thawed.thawed, true, thawed.said);
        assert.equal(thawed.heldThroughout, true, thawed.said);
        const into = await mkdtemp(join(root, 'journal-'));
        const collected = thawed.journal === undefined ? [] : await holder.collect(into);
        await addToCopy(root, thawed, collected);
        await rm(into, { recursive: true });
        await holder.close();
      } catch (cause) {
        await holder.kill();
        throw cause;
      }
      await application.adopt?.(copy);
      return copy;
    }

    test('locate names existing real paths, and changes nothing', async (subject) => {
      const application = subject.application();
      // The first connection after a start may leave a cache behind; that is the engine's own doing, not the adapter's.
      const first = await application.locate(never);
      const paths = first.paths.map((required) => required.path);
      const names = await Promise.all(paths.map(namesBelow));
      const second = await application.locate(never);
      assert.deepEqual(await Promise.all(paths.map(namesBelow)), names);
      assert.ok(paths.length > 0);
      for (const required of second.paths) {
        assert.equal(await realpath(required.path), required.path);
        const seen = await lstat(required.path);
        assert.equal(seen.isDirectory() ? 'directory' : 'file', required.kind);
      }
      assert.equal(new Set(first.paths.map((required) => required.name)).size, paths.length, 'names are unique');
      assert.deepEqual(second.paths, first.paths);
      assert.equal(second.identity, first.identity);
      assert.ok(first.bytes > 0);
      assert.notEqual(first.version, '');
    });

    test('a freeze is seen by ask and by another instance, and gone after the thaw', async (subject) => {
      const token = newToken(subject.application().engine);
      assert.equal((await subject.application().status(token)).state, 'thawed', 'before the freeze');
      const holder = await startHolder(subject, token);
      const frozen = await holder.freeze();
      assert.equal(frozen.frozen, true, frozen.said);
      assert.ok(frozen.spans.some((span) => span.party === 'engine' && span.endMs >= span.startMs));
      assert.equal((await holder.ask()).frozen, true);
      assert.equal((await holder.ask()).frozen, true, 'asking does not end the hold');
      assert.equal((await subject.application().status(token)).state, 'frozen');
      const thawed = await holder.thaw();
      assert.equal(thawed.thawed, true, thawed.said);
      assert.equal(thawed.heldThroughout, true, thawed.said);
      assert.equal((await holder.ask()).frozen, false, 'the engine denies the hold after the thaw');
      const again = await holder.thaw();
      assert.equal(again.thawed, true, again.said);
      await holder.close();
      assert.equal((await subject.application().status(token)).state, 'thawed');
      await writeRows(subject, 1);
    });

    test('thaw from a session that never froze succeeds', async (subject) => {
      const holder = await startHolder(subject, newToken(subject.application().engine));
      const thawed = await holder.thaw();
      assert.equal(thawed.thawed, true, thawed.said);
      assert.equal(thawed.heldThroughout, false, 'nothing was held');
      await holder.close();
    });

    test('thaw by token succeeds when nothing was ever frozen, twice', async (subject) => {
      const token = newToken(subject.application().engine);
      assert.equal((await subject.application().thaw(token)).thawed, true);
      assert.equal((await subject.application().thaw(token)).thawed, true);
    });

    test('another instance ends a hold by its token, and the session admits that it was lost', async (subject) => {
      const token = newToken(subject.application().engine);
      const holder = await startHolder(subject, token);
      assert.equal((await holder.freeze()).frozen, true);
      const stranger = subject.application();
      const thawed = await stranger.thaw(token);
      if (thawed.thawed) {
        assert.equal((await stranger.status(token)).state, 'thawed');
        assert.equal((await holder.ask()).frozen, false);
        assert.equal((await holder.thaw()).heldThroughout, false);
      } else {
        // An engine whose lock only its owner can release must not claim otherwise while the owner lives.
        assert.equal((await stranger.status(token)).state, 'frozen');
        assert.equal((await holder.ask()).frozen, true);
      }
      await holder.kill();
      assert.equal((await stranger.thaw(token)).thawed, true);
      await writeRows(subject, 1);
    });

    test('SIGKILL of the process that holds the session releases the hold', async (subject) => {
      const token = newToken(subject.application().engine);
      const holder = await startHolder(subject, token);
      assert.equal((await holder.freeze()).frozen, true);
      assert.equal((await subject.application().status(token)).state, 'frozen');
      await holder.kill();
      const thawed = await subject.application().thaw(token);
      assert.equal(thawed.thawed, true, thawed.said);
      assert.equal((await subject.application().status(token)).state, 'thawed');
      await writeRows(subject, 1);
    });

    test('a copy made under the hold verifies and has every row acknowledged before it', async (subject, t) => {
      const rows = await writeRows(subject, 50);
      const copy = await copyUnderHold(subject, t);
      const findings = await findingsOf(subject.application().verify(copy, never));
      assert.deepEqual(errorsIn(findings), []);
      assert.ok(findings.length > 0, 'verify says what it looked at');
      const found = new Set(await subject.read(copy));
      assert.deepEqual(
        rows.filter((row) => !found.has(row)),
        [],
        'no acknowledged row is lost',
      );
    });

    test('a damaged copy gives error findings', async (subject, t) => {
      await writeRows(subject, 50);
      const copy = await copyUnderHold(subject, t);
      await subject.damage(copy);
      const findings = await findingsOf(subject.application().verify(copy, never));
      assert.notEqual(errorsIn(findings).length, 0, 'the damage is found');
    });

    test('canary numbers acknowledged before the cut are a prefix in the copy', async (subject, t) => {
      const canary = await subject.application().openCanary?.(newToken('canary').runId);
      if (canary === undefined) return t.skip('the adapter has no canary in this configuration');
      for (let i = 0; i < 7; i += 1) assert.equal(await canary.write(), true);
      assert.equal(canary.acknowledged, 7);
      const copy = await copyUnderHold(subject, t);
      await canary.close();
      const findings = await findingsOf(subject.application().verify(copy, never));
      assert.deepEqual(errorsIn(findings), []);
      const said = findings.filter((finding) => finding.check === 'canary').map((finding) => finding.said);
      assert.equal(said.length, 1, JSON.stringify(findings));
      assert.match(said[0] ?? '', /prefix 1\.\.7\b/);
    });
  });
}
