import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loopVolume } from '../../test/doubles/loop-volume.ts';
import { StillpointError } from '../model/errors.ts';
import { systemClock } from './clock.ts';
import { systemExec } from './exec.ts';

const isRoot = process.getuid?.() === 0;

function alive(pid: number): boolean {
  try {
    // A zombie is dead: some containers' init takes seconds to reap it.
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

async function waitUntil(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = systemClock.monoMs() + 20_000;
  while (!(await holds())) {
    assert.ok(systemClock.monoMs() < giveUp, `waited 20 s for: ${what}`);
    await systemClock.sleep(20);
  }
}

describe('exec', () => {
  let directory = '';
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'stillpoint-exec-'));
  });
  after(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  it('hands arguments over as they are, without a shell', async () => {
    const result = await systemExec.check({
      argv: ['printf', '%s|', 'a b', '$HOME', '"; rm -rf x'],
      timeoutMs: 10_000,
    });
    assert.equal(result.stdout, 'a b|$HOME|"; rm -rf x|');
    assert.ok(result.endedMs >= result.startedMs);
  });

  it('inherits nothing of the environment but PATH, and starts in /', async () => {
    process.env['STILLPOINT_TEST_SECRET'] = 'x';
    try {
      const result = await systemExec.check({ argv: ['env'], env: { GIVEN: 'yes' }, timeoutMs: 10_000 });
      const names = result.stdout
        .trim()
        .split('\n')
        .map((line) => line.split('=')[0])
        // Node itself hands this one down while it measures coverage.
        .filter((name) => name !== 'NODE_V8_COVERAGE');
      assert.deepEqual(
        names.toSorted((a, b) => String(a).localeCompare(String(b))),
        ['GIVEN', 'LC_ALL', 'PATH'],
      );
    } finally {
      delete process.env['STILLPOINT_TEST_SECRET'];
    }
    assert.equal((await systemExec.check({ argv: ['pwd'], timeoutMs: 10_000 })).stdout, '/\n');
  });

  it('feeds stdin and ends it, also when none is given or the child does not read it', async () => {
    assert.equal((await systemExec.check({ argv: ['cat'], stdin: 'täst', timeoutMs: 10_000 })).stdout, 'täst');
    assert.equal((await systemExec.check({ argv: ['cat'], timeoutMs: 10_000 })).stdout, '');
    const big = new Uint8Array(4 * 1024 * 1024);
    assert.equal((await systemExec.run({ argv: ['true'], stdin: big, timeoutMs: 10_000 })).exitCode, 0);
  });

  it('reports a failing command in the result, and throws only from check', async () => {
    const command = { argv: ['sh', '-c', 'echo out; echo why >&2; exit 3'], timeoutMs: 10_000 } as const;
    const result = await systemExec.run(command);
    assert.deepEqual(
      { ...result, startedMs: 0, endedMs: 0 },
      {
        argv: command.argv,
        exitCode: 3,
        killedBy: null,
        timedOut: false,
        cancelled: false,
        stdout: 'out\n',
        stderr: 'why',
        startedMs: 0,
        endedMs: 0,
      },
    );
    await assert.rejects(systemExec.check(command), (error: unknown) => {
      assert.ok(error instanceof StillpointError);
      assert.equal(error.code, 'command-failed');
      assert.match(error.message, /failed with exit code 3: why$/);
      return true;
    });
  });

  it('throws command-failed with a hint when a program cannot be started', async () => {
    for (const argv of [['no-such-program-here'], ['/etc/passwd']] as const) {
      await assert.rejects(systemExec.run({ argv, timeoutMs: 1000 }), (error: unknown) => {
        assert.ok(error instanceof StillpointError);
        assert.equal(error.code, 'command-failed');
        assert.ok(error.hint?.includes(argv[0]));
        return true;
      });
      assert.throws(() => systemExec.start({ argv }), { code: 'command-failed' });
    }
  });

  it('ends the whole process group at the deadline, also one that ignores TERM', async () => {
    const pids = join(directory, 'pids');
    const result = await systemExec.run({
      argv: ['sh', '-c', 'trap "" TERM; sleep 300 & echo $! >"$0"; echo $$ >>"$0"; while :; do sleep 300; done', pids],
      timeoutMs: 300,
    });
    assert.equal(result.timedOut, true);
    assert.equal(result.exitCode, null);
    assert.equal(result.killedBy, 'SIGKILL');
    const left = (await readFile(pids, 'utf8')).trim().split('\n').map(Number);
    assert.equal(left.length, 2);
    await waitUntil('both processes to be gone', () => !left.some(alive));
  });

  it('kills what ignored TERM in the group of a command that obeyed it', async () => {
    const file = join(directory, 'deaf');
    const result = await systemExec.run({
      argv: ['sh', '-c', '(trap "" TERM; sleep 300) & echo $! >"$0"; wait', file],
      timeoutMs: 300,
    });
    assert.equal(result.killedBy, 'SIGTERM');
    const deaf = Number(await readFile(file, 'utf8'));
    await waitUntil('the deaf child to be gone', () => !alive(deaf));
  });

  it('ends a command when the signal fires, and starts none after it fired', async () => {
    const stop = new AbortController();
    const running = systemExec.run({ argv: ['sleep', '300'], timeoutMs: 60_000, signal: stop.signal });
    stop.abort();
    const result = await running;
    assert.equal(result.cancelled, true);
    assert.equal(result.timedOut, false);
    assert.equal(result.killedBy, 'SIGTERM');

    const file = join(directory, 'never');
    const late = await systemExec.run({ argv: ['touch', file], timeoutMs: 60_000, signal: stop.signal });
    assert.equal(late.cancelled, true);
    assert.equal(await systemExec.run({ argv: ['test', '-e', file], timeoutMs: 5000 }).then((r) => r.exitCode), 1);
    await assert.rejects(systemExec.check({ argv: ['true'], timeoutMs: 5000, signal: stop.signal }), /was cancelled/);
  });

  it('takes too much output as a failure, not as a shorter output', async () => {
    const result = await systemExec.run({ argv: ['yes'], timeoutMs: 60_000, maxOutputBytes: 100_000 });
    assert.equal(result.exitCode, null);
    assert.match(result.stderr, /stdout is longer than 100000 bytes/);
    assert.ok(result.stdout.length <= 100_000);
    const short = await systemExec.run({ argv: ['echo', '12345'], timeoutMs: 60_000, maxOutputBytes: 5 });
    assert.equal(short.exitCode, null);
  });

  it('does not wait for a daemon that a command leaves behind', async () => {
    const file = join(directory, 'daemon');
    const result = await systemExec.run({
      argv: ['sh', '-c', 'setsid sleep 300 & echo $! >"$0"; echo done', file],
      timeoutMs: 60_000,
    });
    const daemon = Number(await readFile(file, 'utf8'));
    assert.equal(result.exitCode, 0);
    assert.equal(result.stdout, 'done\n');
    assert.equal(result.timedOut, false);
    assert.ok(alive(daemon));
    process.kill(daemon, 'SIGKILL');
  });

  it('gives up a command that is blocked in the kernel, and says so', async (t) => {
    const volume = await loopVolume('xfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const freeze = (way: '-f' | '-u') =>
      systemExec.run({ argv: ['fsfreeze', way, volume.mountPoint], timeoutMs: 30_000 });
    assert.equal((await freeze('-f')).exitCode, 0);
    // A hang of this test must not leave the file system frozen: somebody else thaws it.
    const guard = systemExec.start({ argv: ['sh', '-c', 'sleep 60; exec fsfreeze -u "$0"', volume.mountPoint] });
    try {
      const result = await systemExec.run({ argv: ['touch', join(volume.mountPoint, 'x')], timeoutMs: 200 });
      assert.equal(result.timedOut, true);
      assert.equal(result.exitCode, null);
      assert.match(result.stderr, /blocked in the kernel/);
    } finally {
      assert.equal((await freeze('-u')).exitCode, 0);
      guard.kill('SIGKILL');
      await guard.exited;
    }
  });

  it('drops to another user with all groups', { skip: !isRoot && 'needs root: changes the user' }, async () => {
    const result = await systemExec.check({
      argv: ['sh', '-c', 'id -u; id -g; id -G'],
      uid: 65_534,
      gid: 65_533,
      timeoutMs: 10_000,
    });
    assert.equal(result.stdout, '65534\n65533\n65533\n');
    const defaulted = await systemExec.check({ argv: ['id', '-g'], uid: 65_534, timeoutMs: 10_000 });
    assert.equal(defaulted.stdout, '65534\n');
  });

  it('finds programs in the sbin directories also when PATH lacks them', async () => {
    const path = process.env['PATH'];
    process.env['PATH'] = '/nonexistent';
    try {
      assert.match((await systemExec.which('sh')) ?? '', /^\/.*\/sh$/);
    } finally {
      process.env['PATH'] = path;
    }
    assert.equal(await systemExec.which('no-such-program-here'), undefined);
    assert.equal(await systemExec.which('/etc/passwd'), undefined);
    assert.equal(await systemExec.which('/bin/sh'), '/bin/sh');
  });

  describe('a running process', () => {
    it('speaks a line protocol', async () => {
      const child = systemExec.start({
        argv: ['sh', '-c', 'echo noise; echo ready; while read -r word; do echo "got $word"; done; exit 4'],
      });
      assert.equal(await child.firstLine((line) => line === 'ready', 10_000), 'ready');
      child.write('one\ntwo\n');
      assert.equal(await child.firstLine((line) => line.startsWith('got'), 10_000), 'got one');
      assert.equal(await child.firstLine((line) => line.startsWith('got'), 10_000), 'got two');
      child.closeInput();
      assert.deepEqual(await child.exited, { exitCode: 4, killedBy: null });
      child.write('nobody reads this\n');
      child.kill('SIGKILL');
    });

    it('rejects an awaited line when the child ends or the time is over, with what it said', async () => {
      const dying = systemExec.start({ argv: ['sh', '-c', 'echo broken >&2; exit 1'] });
      await assert.rejects(
        dying.firstLine(() => true, 30_000),
        /ended: broken/,
      );
      assert.equal(dying.stderrTail(), 'broken\n');
      await assert.rejects(
        dying.firstLine(() => true, 30_000),
        /ended: broken/,
      );

      const silent = systemExec.start({ argv: ['sleep', '300'] });
      await assert.rejects(
        silent.firstLine(() => true, 50),
        /within 50 ms/,
      );
      silent.kill('SIGKILL');
      assert.deepEqual(await silent.exited, { exitCode: null, killedBy: 'SIGKILL' });
    });

    it('gives the last line of a child that ended before it was asked', async () => {
      const child = systemExec.start({ argv: ['sh', '-c', 'echo first; echo last'] });
      await child.exited;
      assert.equal(await child.firstLine((line) => line === 'last', 10_000), 'last');
    });

    it('ends with the signal, by KILL if TERM is ignored', async () => {
      const stop = new AbortController();
      const child = systemExec.start({
        argv: ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 300; done'],
        signal: stop.signal,
      });
      await child.firstLine((line) => line === 'up', 10_000);
      stop.abort();
      assert.deepEqual(await child.exited, { exitCode: null, killedBy: 'SIGKILL' });
    });

    it('keeps only the tail of stderr', async () => {
      const child = systemExec.start({ argv: ['sh', '-c', 'head -c 200000 /dev/zero >&2; echo end >&2; exit 0'] });
      await child.exited;
      await waitUntil('the tail', () => child.stderrTail().endsWith('end\n'));
      assert.equal(child.stderrTail().length, 64 * 1024);
    });

    const script = (detached: boolean): string => `
      import { systemExec } from ${JSON.stringify(join(import.meta.dirname, 'exec.ts'))};
      const child = systemExec.start({ argv: ['sh', '-c', 'trap "exit 0" TERM; echo up; cat >/dev/null; while :; do sleep 0.05; done'], detached: ${detached} });
      await child.firstLine((line) => line === 'up', 10000);
      process.stdout.write(String(child.pid) + '\\n');
      ${detached ? '' : 'process.exit(0);'}
    `;

    it('survives its parent when detached, and lets the parent go', async () => {
      const file = join(directory, 'detached.ts');
      await writeFile(file, script(true));
      const parent = await systemExec.check({ argv: [process.execPath, file], timeoutMs: 30_000 });
      const pid = Number(parent.stdout);
      assert.ok(alive(pid));
      process.kill(-pid, 'SIGKILL');
      await waitUntil('the detached child to be gone', () => !alive(pid));
    });

    it('tells its parent when it was killed before it said anything, detached as well', async () => {
      const file = join(directory, 'killed.ts');
      await writeFile(
        file,
        `import { systemExec } from ${JSON.stringify(join(import.meta.dirname, 'exec.ts'))};
         // Its output is gone for a while before its end is: the parent has nothing else to wait for then.
         const argv = ['sh', '-c', 'exec >&- 2>&- <&-; sleep 0.2; kill -KILL $$'] as const;
         const child = systemExec.start({ argv, detached: true });
         await child.firstLine(() => true, 10_000).catch((error) => process.stdout.write(error.message));`,
      );
      const parent = await systemExec.run({ argv: [process.execPath, file], timeoutMs: 30_000 });
      assert.equal(parent.exitCode, 0, parent.stderr);
      assert.match(parent.stdout, /ended/);
    });

    it('ends with its parent when not detached', async () => {
      const file = join(directory, 'attached.ts');
      await writeFile(file, script(false));
      const parent = await systemExec.check({ argv: [process.execPath, file], timeoutMs: 30_000 });
      const pid = Number(parent.stdout);
      await waitUntil('the child to be gone', () => !alive(pid));
    });
  });
});
