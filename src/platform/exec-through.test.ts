import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { reached, type Reached } from '../../test/doubles/reach/clients.ts';
import { systemClock } from './clock.ts';
import { execThrough, type Way } from './exec-through.ts';
import { systemExec } from './exec.ts';

const timeoutMs = 20_000;

async function waitUntil(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = systemClock.monoMs() + 20_000;
  while (!(await holds())) {
    assert.ok(systemClock.monoMs() < giveUp, `waited 20 s for: ${what}`);
    await systemClock.sleep(20);
  }
}

for (const tool of ['docker', 'kubectl'] as const) {
  describe(`exec through ${tool}`, () => {
    let place: Reached;
    const way: Way = {
      name: 'container iris',
      clientEnv: {},
      wrap: (argv) =>
        tool === 'docker'
          ? ['docker', 'exec', '-i', 'iris', ...argv]
          : ['kubectl', 'exec', '-i', '-n', 'db', 'iris-0', '-c', 'iris', '--', ...argv],
    };
    const exec = execThrough(systemExec, way);
    before(async () => {
      place = await reached();
    });
    afterEach(async () => {
      await place.setFault('fault', undefined);
      await place.setFault('lost', undefined);
      await writeFile(join(place.directory, 'running'), '');
    });
    after(async () => {
      await place[Symbol.asyncDispose]();
    });

    it('hands over arguments, environment and input as they are', async () => {
      const odd = [
        'a b',
        '',
        '$HOME',
        '`id`',
        '"\'\\',
        '-n',
        '--',
        'line\nline\n',
        '%s\\n',
        'ü€',
        '*',
        ';',
        '&&',
        '\t',
      ];
      for (const each of [odd, ['-it']]) {
        const result = await exec.check({ argv: ['printf', '[%s]', ...each], timeoutMs });
        assert.equal(result.stdout, each.map((one) => `[${one}]`).join(''));
        assert.equal(result.stderr, '');
        assert.deepEqual(result.argv, ['printf', '[%s]', ...each]);
      }
      const env = { ONE: 'a b', TWO: "x\ny\n\\n \\0101 '$HOME'\"  ", EMPTY: '' };
      const printed = await exec.check({ argv: ['env', '-0'], env, timeoutMs });
      const seen = new Map(printed.stdout.split('\0').map((each) => [each.split('=')[0], each.replace(/^[^=]*=/, '')]));
      for (const [name, value] of Object.entries(env)) assert.equal(seen.get(name), value);
      assert.equal(seen.get('LC_ALL'), 'C.UTF-8');
      assert.deepEqual(
        [...seen.keys()].filter((name) => name?.startsWith('sp_')),
        [],
      );
      const stdin = 'first\n.\nlast without an end \\ $x';
      assert.equal((await exec.check({ argv: ['cat'], stdin, timeoutMs })).stdout, stdin);
      const bytes = Buffer.alloc(300_000, 'x');
      assert.equal((await exec.check({ argv: ['wc', '-c'], stdin: bytes, timeoutMs })).stdout.trim(), '300000');
      assert.equal((await exec.check({ argv: ['cat'], timeoutMs })).stdout, '');
      assert.equal((await exec.check({ argv: ['pwd'], timeoutMs })).stdout, '/\n');
      assert.equal((await exec.check({ argv: ['pwd'], cwd: '/tmp', timeoutMs })).stdout, '/tmp\n');
    });

    it('whatever the arguments and the input are', async () => {
      const text = fc
        .string({ unit: 'binary', maxLength: 20 })
        .filter((each) => !each.includes('\0') && each.isWellFormed());
      await fc.assert(
        fc.asyncProperty(fc.array(text, { maxLength: 4 }), text, text, async (words, value, stdin) => {
          const script = 'printf "%s\\0" "$VALUE" "$@"; cat';
          const argv = ['sh', '-c', script, 'sh', ...words] as const;
          const { stdout } = await exec.check({ argv, env: { VALUE: value }, stdin, timeoutMs });
          assert.equal(stdout, [value, ...words, stdin].join('\0'));
        }),
        { numRuns: 15 },
      );
    });

    it('gives codes of the program as they are', async () => {
      for (const code of [0, 1, 2, 3, 5, 124, 200, 255]) {
        const result = await exec.run({ argv: ['sh', '-c', `echo out; echo err >&2; exit ${code}`], timeoutMs });
        assert.deepEqual(
          [result.exitCode, result.killedBy, result.stdout, result.stderr],
          [code, null, 'out\n', 'err'],
        );
      }
      await assert.rejects(exec.check({ argv: ['sh', '-c', 'echo "error: no" >&2; exit 1'], timeoutMs }), {
        code: 'command-failed',
        message: 'sh -c echo "error: no" >&2; exit 1 in container iris failed with exit code 1: error: no',
      });
      const killed = await exec.run({ argv: ['sh', '-c', 'kill -KILL $$'], timeoutMs });
      assert.deepEqual([killed.exitCode, killed.killedBy], [null, 'SIGKILL']);
    });

    it('does not take codes of the client, and those that both have, for the program’s', async () => {
      for (const code of [0, 1, 5, 3, 125, 126, 127, 137]) {
        await place.setFault('fault', code);
        const result = await exec.run({ argv: ['sh', '-c', 'exit 0'], timeoutMs });
        assert.equal(result.exitCode, null, `client's ${code}`);
        assert.match(result.stderr, /something went wrong\n/);
        await assert.rejects(exec.check({ argv: ['true'], timeoutMs }), { message: /a way that is not known/ });
      }
      await place.setFault('fault', undefined);
      for (const code of [125, 126, 127]) {
        const result = await exec.run({ argv: ['sh', '-c', `exit ${code}`], timeoutMs });
        assert.equal(result.exitCode, null, `program's ${code}`);
        assert.match(result.stderr, new RegExp(`here ${code}`));
      }
      await writeFile(join(place.directory, 'broken'), '#!/no/such/interpreter\n', { mode: 0o755 });
      assert.equal((await exec.run({ argv: [join(place.directory, 'broken')], timeoutMs })).exitCode, null);
    });

    it('throws when the program or its directory is not there', async () => {
      await assert.rejects(exec.run({ argv: ['no-such-program'], timeoutMs }), {
        code: 'command-failed',
        message: /no-such-program cannot be started in container iris/,
      });
      await assert.rejects(exec.run({ argv: ['true'], cwd: '/no/such', timeoutMs }), { message: /no directory/ });
      await assert.rejects(exec.run({ argv: ['true'], env: { 'A B': '' }, timeoutMs }), { message: /"A B"/ });
      assert.match((await exec.which('sh')) ?? '', /^\/.*\/sh$/);
      assert.equal(await exec.which('no-such-program'), undefined);
    });

    it('a dead container is neither an absent program nor an end', async () => {
      await place.die();
      const result = await exec.run({ argv: ['true'], timeoutMs });
      assert.equal(result.exitCode, null);
      assert.match(result.stderr, /not running|not found/);
      assert.match(result.stderr, /may still run there/);
      await assert.rejects(exec.which('sh'), { code: 'command-failed', message: /cannot be asked for sh/ });
    });

    it('ends a program that hangs, with what it started', async () => {
      const file = join(place.directory, 'hung');
      const argv = ['sh', '-c', `echo begun; sleep 600 & trap "" TERM; touch ${file}; sleep 601; sleep 602`] as const;
      const result = await exec.run({ argv, timeoutMs: 1_000 });
      assert.ok(existsSync(file));
      assert.deepEqual([result.timedOut, result.cancelled, result.stdout], [true, false, 'begun\n']);
      assert.ok(result.exitCode !== 0);
      assert.ok(result.endedMs - result.startedMs < 15_000);
      await waitUntil('nothing runs inside', () => place.alive().length === 0);
    });

    it('ends a program when it is cancelled, and starts none that was cancelled before', async () => {
      const stop = new AbortController();
      const file = join(place.directory, 'cancelled');
      const running = exec.run({ argv: ['sh', '-c', `touch ${file}; sleep 600`], timeoutMs, signal: stop.signal });
      await waitUntil('it runs', () => existsSync(file));
      stop.abort();
      const result = await running;
      assert.deepEqual([result.cancelled, result.timedOut], [true, false]);
      assert.notEqual(result.exitCode, 0);
      await waitUntil('nothing runs inside', () => place.alive().length === 0);
      const none = await exec.run({ argv: ['true', 'never-started'], timeoutMs, signal: stop.signal });
      assert.deepEqual([none.cancelled, none.exitCode], [true, null]);
      assert.doesNotMatch(await place.calls(), /never-started/);
    });

    it('ends what a client left behind that lost its connection', async () => {
      await place.setFault('lost', 1);
      const file = join(place.directory, 'left');
      const running = exec.run({ argv: ['sh', '-c', `touch ${file}; sleep 600; exit 0`], timeoutMs });
      await waitUntil('it runs', () => existsSync(file));
      await place.setFault('lost', undefined);
      const result = await running;
      assert.deepEqual([result.exitCode, result.killedBy, result.timedOut], [null, null, false]);
      assert.match(result.stderr, /stream closed: EOF/);
      assert.match(result.stderr, /the program does not run there any more/);
      await waitUntil('nothing runs inside', () => place.alive().length === 0);
    });

    it('does not trust a program that outlives its client and ends well', async () => {
      await place.setFault('lost', 0);
      const parted = join(place.directory, 'parted');
      const program = `until [ -e ${parted} ]; do sleep 0.05; done; exit 0`;
      const result = await exec.run({ argv: ['sh', '-c', program], timeoutMs });
      assert.ok(existsSync(parted));
      assert.equal(result.exitCode, null);
      await waitUntil('nothing runs inside', () => place.alive().length === 0);
    });

    it('leaves an end to `timeout` there when the client is gone and nobody is left to say so', async () => {
      const file = join(place.directory, 'orphan');
      const running = systemExec.start({
        argv: [process.execPath, join(import.meta.dirname, '../../test/doubles/reach/lone-call.ts'), tool, file],
      });
      await waitUntil('it runs', () => existsSync(file));
      running.kill('SIGKILL');
      await running.exited;
      assert.ok(place.alive().length > 0, 'the end of the client does not end it');
      await waitUntil('nothing runs inside', () => place.alive().length === 0);
    });

    it('says when output was cut short or is too long', async () => {
      const short = execThrough(
        { ...systemExec, run: async (command) => ({ ...(await systemExec.run(command)), stdout: 'half' }) },
        way,
      );
      const result = await short.run({ argv: ['echo', 'half and half'], timeoutMs });
      assert.deepEqual([result.exitCode, result.stdout], [null, 'half']);
      assert.match(result.stderr, /cut short/);
      const long = await exec.run({ argv: ['sh', '-c', 'yes | head -c 5000'], timeoutMs, maxOutputBytes: 1000 });
      assert.equal(long.exitCode, null);
      const little = await exec.run({ argv: ['sh', '-c', 'yes | head -c 1010'], timeoutMs, maxOutputBytes: 1000 });
      assert.equal(little.exitCode, null);
      assert.match(little.stderr, /longer than 1000 bytes/);
    });

    it('keeps a conversation, and signals the program and not only the client', async () => {
      const talk = exec.start({ argv: ['sh', '-c', 'while read -r x; do echo "got $x"; done; echo bye >&2; exit 5'] });
      talk.write('one\n');
      assert.equal(await talk.firstLine((line) => line.startsWith('got'), timeoutMs), 'got one');
      talk.closeInput();
      assert.deepEqual(await talk.exited, { exitCode: 5, killedBy: null });
      assert.equal(talk.stderrTail(), 'bye\n');

      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        const server = exec.start({ argv: ['sh', '-c', 'echo up; exec sleep 600'] });
        await server.firstLine((line) => line === 'up', timeoutMs);
        server.kill(signal);
        assert.deepEqual(await server.exited, { exitCode: null, killedBy: signal });
      }
      const stop = new AbortController();
      const server = exec.start({ argv: ['sh', '-c', 'echo up; exec sleep 600'], signal: stop.signal });
      await server.firstLine((line) => line === 'up', timeoutMs);
      stop.abort();
      assert.deepEqual(await server.exited, { exitCode: null, killedBy: 'SIGTERM' });

      const dying = exec.start({ argv: ['sh', '-c', 'echo up; exec sleep 600'] });
      await dying.firstLine((line) => line === 'up', timeoutMs);
      await place.die();
      assert.deepEqual(await dying.exited, { exitCode: null, killedBy: null });
      dying.kill('SIGTERM');
    });

    it('never asks for a terminal, and puts no environment and no input into arguments', async () => {
      await exec.run({ argv: ['cat'], env: { PASSWORD: 'unseen-1' }, stdin: 'unseen-2', timeoutMs });
      const calls = await place.calls();
      // '-it' as an argument of a program is its own affair.
      assert.doesNotMatch(calls, /^(?:docker|kubectl) \[exec\](?: \[-[^-\]]\])* \[(?:-t|-it|-ti|--tty)\]/m);
      assert.doesNotMatch(calls, /unseen/);
      assert.match(calls, /^\w+ \[exec\] \[-i\]/m);
      assert.equal((await readFile(join(place.directory, 'calls'), 'utf8')).includes('PASSWORD'), false);
    });
  });
}
