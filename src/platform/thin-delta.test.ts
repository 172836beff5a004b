import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { systemExec, type Command, type CommandResult, type Exec } from './exec.ts';
import { tryLock } from './process-lock.ts';
import { releaseDeadHolds, thinDelta } from './thin-delta.ts';

/** On a pool that is played here, with recorded output; the real one is asked in test/lab/scenarios/lvm.ts. */
const transcripts = join(import.meta.dirname, '../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const pool = 'vg0-pool-tpool';

class Pool {
  held = false;
  /** Before the command has its effect. Undefined: it works as it should. */
  fault: (argv: readonly string[]) => Partial<CommandResult> | undefined = () => undefined;
  readonly asked: string[] = [];

  #answer(argv: readonly string[]): Partial<CommandResult> {
    const asked = argv.join(' ');
    this.asked.push(asked);
    const wrong = this.fault(argv);
    if (wrong !== undefined) return wrong;
    if (asked.includes('reserve_metadata_snap')) {
      if (this.held) return { exitCode: 1, stderr: 'Device or resource busy' };
      this.held = true;
    }
    if (asked.includes('release_metadata_snap')) {
      if (!this.held) return { exitCode: 1, stderr: 'Invalid argument' };
      this.held = false;
    }
    if (argv[0] === 'thin_delta') return { stdout: transcript('thin-delta-0.9.xml') };
    if (argv[1] === 'table') return { stdout: transcript('dmsetup-1.02.185-table-pool.txt') };
    if (argv[1] === 'info') return { stdout: 'vg0-pool_tmeta\n' };
    if (argv[1] === 'status') {
      return { stdout: transcript(`dmsetup-1.02.185-status-pool${this.held ? '-held' : ''}.txt`) };
    }
    return {};
  }

  get exec(): Exec {
    const run = async ({ argv }: Command): Promise<CommandResult> => {
      const ended = { exitCode: 0, stdout: '', stderr: '', killedBy: null, timedOut: false, cancelled: false };
      return await Promise.resolve({ argv, ...ended, startedMs: 1, endedMs: 2, ...this.#answer(argv) });
    };
    const check = async (command: Command): Promise<CommandResult> => {
      const result = await run(command);
      if (result.exitCode !== 0) throw new Error(result.stderr);
      return result;
    };
    return { ...systemExec, run, check };
  }
}

async function stateDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-thin-'));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

function request(thin: Pool, state: string, signal = new AbortController().signal) {
  return { exec: thin.exec, stateDirectory: state, pool, base: 2, newer: 3, signal, patienceMs: 0 };
}

const note = (state: string): string => join(state, `thin-pool-${pool}.held`);

describe('thinDelta', () => {
  it('asks the metadata that the pool names, held for that time only', async (t) => {
    const [thin, state] = [new Pool(), await stateDirectory(t)];
    const { changed } = await thinDelta(request(thin, state));
    assert.equal(changed.length, 5);
    assert.ok(thin.asked.includes('thin_delta -m --snap1 2 --snap2 3 /dev/mapper/vg0-pool_tmeta'));
    assert.equal(thin.held, false);
    assert.ok(!(await readdir(state)).some((name) => name.endsWith('.held')));
  });

  it('lets the metadata go when the comparison fails or is cancelled', async (t) => {
    const [thin, state] = [new Pool(), await stateDirectory(t)];
    thin.fault = (argv) => (argv[0] === 'thin_delta' ? { exitCode: 1, stderr: 'bad metadata' } : undefined);
    await assert.rejects(thinDelta(request(thin, state)), /bad metadata/);
    assert.equal(thin.held, false);
    await assert.rejects(readFile(note(state)), { code: 'ENOENT' });
    const stop = new AbortController();
    stop.abort();
    thin.fault = (argv) => (argv[0] === 'thin_delta' ? { exitCode: null, cancelled: true } : undefined);
    await assert.rejects(thinDelta(request(thin, state, stop.signal)));
    assert.equal(thin.held, false);
  });

  it("releases what a dead run of ours held, and leaves somebody else's alone", async (t) => {
    const [thin, state] = [new Pool(), await stateDirectory(t)];
    thin.held = true;
    await assert.rejects(thinDelta(request(thin, state)), { code: 'command-failed', hint: /release_metadata_snap/ });
    assert.equal(thin.held, true);
    await writeFile(note(state), '99');
    await assert.rejects(thinDelta(request(thin, state)), { code: 'command-failed' }, 'another block than was noted');
    assert.equal(thin.held, true);
    for (const noted of ['106', '']) {
      thin.held = true;
      await writeFile(note(state), noted);
      assert.equal((await thinDelta(request(thin, state))).changed.length, 5);
      assert.equal(thin.held, false);
    }
  });

  it('lets go what dead runs of ours held also without a new question, and nothing else', async (t) => {
    const [thin, state] = [new Pool(), await stateDirectory(t)];
    thin.held = true;
    const letGo = async (): Promise<boolean> => {
      await releaseDeadHolds({ exec: thin.exec, stateDirectory: state });
      return !thin.held;
    };
    await releaseDeadHolds({ exec: thin.exec, stateDirectory: join(state, 'none') });
    assert.equal(await letGo(), false);
    await writeFile(note(state), '106');
    const lock = tryLock(join(state, `thin-pool-${pool}.lock`));
    assert.equal(await letGo(), false, 'its holder lives');
    lock?.release();
    assert.equal(await letGo(), true);
    assert.deepEqual(
      (await readdir(state)).filter((name) => name.endsWith('.held')),
      [],
    );
    thin.held = true;
    await writeFile(note(state), '99');
    assert.equal(await letGo(), false, 'another block than was noted');
  });

  it("waits a little for somebody else's reader", async (t) => {
    const [thin, state] = [new Pool(), await stateDirectory(t)];
    thin.held = true;
    let looks = 0;
    thin.fault = (argv) => {
      if (argv[1] === 'status' && ++looks === 3) thin.held = false;
      return undefined;
    };
    assert.equal((await thinDelta({ ...request(thin, state), patienceMs: 5000 })).changed.length, 5);
    assert.equal(thin.held, false);
  });

  it('does not release what somebody else took in the last moment', async (t) => {
    const [thin, state] = [new Pool(), await stateDirectory(t)];
    thin.fault = (argv) => {
      if (!argv.includes('reserve_metadata_snap')) return undefined;
      thin.held = true;
      return { exitCode: 1, stderr: 'Device or resource busy' };
    };
    await assert.rejects(thinDelta(request(thin, state)), { code: 'command-failed', message: /busy/ });
    assert.equal(thin.held, true);
    await assert.rejects(readFile(note(state)), { code: 'ENOENT' });
  });

  it('keeps its note when nobody knows whether the metadata is held', async (t) => {
    const [thin, state] = [new Pool(), await stateDirectory(t)];
    thin.fault = (argv) => {
      if (!argv.includes('reserve_metadata_snap')) return undefined;
      thin.held = true;
      return { exitCode: null, timedOut: true, stderr: 'ended after 15000 ms' };
    };
    await assert.rejects(thinDelta(request(thin, state)), { code: 'command-failed' });
    assert.equal(await readFile(note(state), 'utf8'), '');
    thin.fault = () => undefined;
    assert.equal((await thinDelta(request(thin, state))).changed.length, 5);
    assert.equal(thin.held, false);
  });

  it('waits for another process of ours, and no longer than it is told', async (t) => {
    const [thin, state] = [new Pool(), await stateDirectory(t)];
    const lock = tryLock(join(state, `thin-pool-${pool}.lock`));
    assert.ok(lock !== undefined);
    const stop = new AbortController();
    const stopped = thinDelta(request(thin, state, stop.signal));
    stop.abort();
    await assert.rejects(stopped);
    const waiting = thinDelta(request(thin, state));
    assert.deepEqual(thin.asked, []);
    lock.release();
    assert.equal((await waiting).changed.length, 5);
  });
});
