import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, mkdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { sshServer, type SshServer } from '../../../../test/doubles/ssh/sshd.ts';
import { windowsMachine } from '../../../../test/doubles/windows/machine.ts';
import { systemClock } from '../../../platform/clock.ts';
import { systemExec, type Exec } from '../../../platform/exec.ts';
import { platformAt } from '../../registry.ts';
import { exit } from './commands.ts';
import { config, type Config } from './config.ts';
import { controlSocket } from './host.ts';

const timeoutMs = 20_000;
const local = realPlatform('/nonexistent');
const at = (settings: Config): Exec => platformAt({ kind: 'ssh', config: settings }, local).exec;

async function waitUntil(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = systemClock.monoMs() + 20_000;
  while (!(await holds())) {
    assert.ok(systemClock.monoMs() < giveUp, `waited 20 s for: ${what}`);
    await systemClock.sleep(20);
  }
}

describe('ssh to a real server', () => {
  let made: SshServer | { readonly skip: string };
  before(async () => {
    made = await sshServer();
  });
  after(async () => {
    if (!('skip' in made)) await made[Symbol.asyncDispose]();
  });
  const use = (t: TestContext): { readonly server: SshServer; readonly exec: Exec } | undefined => {
    if ('skip' in made) {
      t.skip(made.skip);
      return undefined;
    }
    return { server: made, exec: at(made.config) };
  };

  it('hands over arguments, environment and input as they are', async (t) => {
    const set = use(t);
    if (set === undefined) return;
    const { exec } = set;
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
      '!!',
      '!x',
    ];
    for (const each of [odd, ['-it'], ['-o', 'ProxyCommand=x']]) {
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
    const stdin = 'first\n.\n~.\nlast without an end \\ $x';
    assert.equal((await exec.check({ argv: ['cat'], stdin, timeoutMs })).stdout, stdin);
    const bytes = Buffer.alloc(300_000, 'x');
    assert.equal((await exec.check({ argv: ['wc', '-c'], stdin: bytes, timeoutMs })).stdout.trim(), '300000');
    assert.equal((await exec.check({ argv: ['cat'], timeoutMs })).stdout, '');
    assert.equal((await exec.check({ argv: ['pwd'], timeoutMs })).stdout, '/\n');
    assert.equal((await exec.check({ argv: ['pwd'], cwd: '/tmp', timeoutMs })).stdout, '/tmp\n');
    const { stdout } = await exec.check({ argv: ['id', '-u'], uid: 65_534, timeoutMs });
    assert.equal(stdout, '65534\n');
  });

  it('whatever the arguments and the input are', async (t) => {
    const set = use(t);
    if (set === undefined) return;
    const text = fc
      .string({ unit: 'binary', maxLength: 20 })
      .filter((each) => !each.includes('\0') && each.isWellFormed());
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 4 }), text, text, async (words, value, stdin) => {
        const script = 'printf "%s\\0" "$VALUE" "$@"; cat';
        const argv = ['sh', '-c', script, 'sh', ...words] as const;
        const { stdout } = await set.exec.check({ argv, env: { VALUE: value }, stdin, timeoutMs });
        assert.equal(stdout, [value, ...words, stdin].join('\0'));
      }),
      { numRuns: 15 },
    );
  });

  it("gives codes of the program as they are, also ssh's own 255", async (t) => {
    const set = use(t);
    if (set === undefined) return;
    for (const code of [0, 1, 3, 5, 124, 200, 255]) {
      const result = await set.exec.run({ argv: ['sh', '-c', `echo out; echo err >&2; exit ${code}`], timeoutMs });
      assert.deepEqual([result.exitCode, result.killedBy, result.stdout, result.stderr], [code, null, 'out\n', 'err']);
    }
    const killed = await set.exec.run({ argv: ['sh', '-c', 'kill -KILL $$'], timeoutMs });
    assert.deepEqual([killed.exitCode, killed.killedBy], [null, 'SIGKILL']);
    await assert.rejects(set.exec.run({ argv: ['no-such-program'], timeoutMs }), {
      message: /no-such-program cannot be started in host 127\.0\.0\.1/,
    });
    assert.match((await set.exec.which('sh')) ?? '', /^\/.*\/sh$/);
    assert.equal(await set.exec.which('no-such-program'), undefined);
  });

  it('shares one connection, in a place of ours alone, and ends it', async (t) => {
    const set = use(t);
    if (set === undefined) return;
    const { server, exec } = set;
    await exec.check({ argv: ['true'], timeoutMs });
    await exec.check({ argv: ['true'], timeoutMs });
    assert.equal((await server.serving()).length, 1);
    const socket = controlSocket(server.config);
    assert.ok((await stat(socket)).isSocket());
    assert.equal((await stat(join(socket, '..'))).mode & 0o777, 0o700);
    await systemExec.check({ argv: exit(server.config, socket), timeoutMs });
    await waitUntil('the connection has ended', async () => (await server.serving()).length === 0);
    await Promise.all(Array.from({ length: 12 }, () => exec.check({ argv: ['sleep', '0.3'], timeoutMs })));
  });

  it('refuses a host whose key is not known, or is another, and starts nothing there', async (t) => {
    const set = use(t);
    if (set === undefined) return;
    const { server } = set;
    const other = join(server.directory, 'other_hosts');
    await writeFile(other, '');
    const file = join(server.directory, 'started');
    for (const content of [
      '',
      `[127.0.0.1]:${server.config.port} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7Yy0eD9Qd3pP3dQ1tmcvB6S8Lq0M2jJ1f7mWb0dF0q\n`,
    ]) {
      await writeFile(other, content);
      const settings = { ...server.config, knownHosts: other };
      const result = await at(settings).run({ argv: ['touch', file], timeoutMs });
      assert.equal(result.exitCode, null);
      assert.match(result.stderr, /Host key verification failed|REMOTE HOST IDENTIFICATION|No ED25519 host key/);
      assert.equal(existsSync(file), false);
      assert.deepEqual(await server.alive(), []);
    }
    assert.match(
      (await at({ ...server.config, identityFile: join(server.directory, 'other') }).run({ argv: ['true'], timeoutMs }))
        .stderr,
      /Permission denied/,
    );
  });

  it('does not know how a program ended whose connection was lost, and ends it', async (t) => {
    const set = use(t);
    if (set === undefined) return;
    const { server, exec } = set;
    const file = join(server.directory, 'lost');
    const running = exec.run({ argv: ['sh', '-c', `touch ${file}; sleep 600; exit 0`], timeoutMs });
    await waitUntil('it runs', () => existsSync(file));
    await server.cut();
    const result = await running;
    assert.deepEqual([result.exitCode, result.killedBy, result.timedOut], [null, null, false]);
    assert.match(result.stderr, /nothing told how the program did/);
    await waitUntil('nothing runs there', async () => (await server.alive()).length === 0);

    await server.stop();
    const down = await exec.run({ argv: ['true'], timeoutMs });
    assert.equal(down.exitCode, null);
    assert.match(down.stderr, /may still run there/);
    await server.start();
    assert.equal((await exec.check({ argv: ['echo', 'again'], timeoutMs })).stdout, 'again\n');
  });

  it('ends a program that hangs or is cancelled, with what it started', async (t) => {
    const set = use(t);
    if (set === undefined) return;
    const { server, exec } = set;
    const file = join(server.directory, 'hung');
    const argv = ['sh', '-c', `echo begun; sleep 600 & trap "" TERM; touch ${file}; sleep 601; sleep 602`] as const;
    const result = await exec.run({ argv, timeoutMs: 1_000 });
    assert.deepEqual([result.timedOut, result.cancelled, result.stdout], [true, false, 'begun\n']);
    assert.notEqual(result.exitCode, 0);
    await waitUntil('nothing runs there', async () => (await server.alive()).length === 0);

    const stop = new AbortController();
    const cancelled = join(server.directory, 'cancelled');
    const running = exec.run({ argv: ['sh', '-c', `touch ${cancelled}; sleep 600`], timeoutMs, signal: stop.signal });
    await waitUntil('it runs', () => existsSync(cancelled));
    stop.abort();
    assert.equal((await running).cancelled, true);
    await waitUntil('nothing runs there', async () => (await server.alive()).length === 0);
  });

  it('keeps a conversation, and signals the program', async (t) => {
    const set = use(t);
    if (set === undefined) return;
    const { exec, server } = set;
    const talk = exec.start({ argv: ['sh', '-c', 'while read -r x; do echo "got $x"; done; echo bye >&2; exit 5'] });
    talk.write('one\n');
    assert.equal(await talk.firstLine((line) => line.startsWith('got'), timeoutMs), 'got one');
    talk.closeInput();
    assert.deepEqual(await talk.exited, { exitCode: 5, killedBy: null });
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const program = exec.start({ argv: ['sh', '-c', 'echo up; exec sleep 600'] });
      await program.firstLine((line) => line === 'up', timeoutMs);
      program.kill(signal);
      assert.deepEqual(await program.exited, { exitCode: null, killedBy: signal });
    }
    const dying = exec.start({ argv: ['sh', '-c', 'echo up; exec sleep 600'] });
    await dying.firstLine((line) => line === 'up', timeoutMs);
    await server.cut();
    assert.deepEqual(await dying.exited, { exitCode: null, killedBy: null });
    await waitUntil('nothing runs there', async () => (await server.alive()).length === 0);
  });

  it('reaches a Windows host, here a stand-in of its PowerShell', async (t) => {
    const set = use(t);
    if (set === undefined) return;
    await using machine = await windowsMachine();
    await symlink(join(machine.bin, 'powershell'), join(set.server.bin, 'powershell'));
    const settings: Config = { ...set.server.config, shell: 'powershell' };
    t.after(() => systemExec.run({ argv: exit(settings, controlSocket(settings)), timeoutMs }));
    const exec = at(settings);
    const odd = ['a b', '', '"', '\\', '%PATH%', 'ü€', 'line\nline', "'"];
    const printed = await exec.check({ argv: ['printf', '[%s]', ...odd], timeoutMs });
    assert.equal(printed.stdout, odd.map((each) => `[${each}]`).join(''));
    assert.equal((await exec.run({ argv: ['sh', '-c', 'exit 255'], timeoutMs })).exitCode, 255);
    const file = join(set.server.directory, 'windows');
    const running = exec.run({ argv: ['sh', '-c', `touch ${file}; sleep 600`], timeoutMs: 4_000 });
    await waitUntil('it runs', () => existsSync(file));
    await set.server.cut();
    const lost = await running;
    assert.equal(lost.exitCode, null);
    assert.match(lost.stderr, /it may still run there, until 4 s after its start/);
    await waitUntil('it ended at its limit', async () => (await set.server.alive()).length === 0);
  });

  it('shows no files of the host as ones of this machine, even if it is this one', async (t) => {
    const set = use(t);
    if (set === undefined) return;
    const { host } = platformAt({ kind: 'ssh', config: set.server.config }, local);
    assert.equal(await host.pathHere('/etc/passwd'), undefined);
    await assert.rejects(host.stackOf('/etc', new AbortController().signal), { code: 'path-outside-group' });
    await assert.rejects(host.freeBytes('/etc'), { code: 'path-outside-group', hint: /stillpoint freeze/ });
  });
});

describe('settings of ssh', () => {
  it('cannot undo the checks, nor be taken for options', () => {
    assert.equal(config.safeParse({ host: 'db1', options: { ProxyJump: 'gate' } }).success, true);
    for (const name of [
      'StrictHostKeyChecking',
      'stricthostkeychecking',
      'UserKnownHostsFile',
      'ControlPath',
      'RemoteCommand',
    ]) {
      assert.equal(config.safeParse({ host: 'db1', options: { [name]: 'no' } }).success, false, name);
    }
    for (const host of ['-oProxyCommand=x', '', 'a b']) assert.equal(config.safeParse({ host }).success, false, host);
    assert.equal(config.safeParse({ host: 'db1', user: '-x' }).success, false);
    assert.equal(config.safeParse({ host: 'db1', options: { ProxyJump: 'a\nb' } }).success, false);
  });

  it('need a directory of ours alone for the shared connection', async (t) => {
    const directory = join(tmpdir(), `sp-ssh-${process.pid}`);
    const before_ = process.env['TMPDIR'];
    await mkdir(directory);
    t.after(async () => {
      if (before_ === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before_;
      await rm(directory, { recursive: true });
    });
    process.env['TMPDIR'] = directory;
    const one = controlSocket(config.parse({ host: 'db1' }));
    assert.equal(controlSocket(config.parse({ host: 'db1' })), one);
    assert.notEqual(controlSocket(config.parse({ host: 'db1', identityFile: '/k' })), one);
    await chmod(join(one, '..'), 0o755);
    assert.throws(() => controlSocket(config.parse({ host: 'db1' })), {
      code: 'command-failed',
      message: /ours alone/,
    });
  });
});
