import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { windowsMachine, type WindowsMachine } from '../../test/doubles/windows/machine.ts';
import { splitArguments } from '../../test/doubles/windows/powershell.ts';
import { systemClock } from './clock.ts';
import { systemExec } from './exec.ts';
import { execThroughPowerShell } from './powershell.ts';
import { encodedCommand, frontScript, payload, quoteArgument, readFrame } from './powershell-front.ts';

const timeoutMs = 30_000;

async function waitUntil(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = systemClock.monoMs() + 20_000;
  while (!(await holds())) {
    assert.ok(systemClock.monoMs() < giveUp, `waited 20 s for: ${what}`);
    await systemClock.sleep(20);
  }
}

describe('a Windows machine', () => {
  let machine: WindowsMachine;
  before(async () => {
    machine = await windowsMachine();
  });
  after(async () => {
    await machine[Symbol.asyncDispose]();
  });

  it('gets arguments, environment and input as they are', async () => {
    const odd = [
      'a b',
      '',
      '"',
      '\\',
      'a\\"b',
      'end\\',
      'a b\\',
      '\\\\ "',
      '%PATH%',
      '^&|<>',
      'ü€',
      'line\nline',
      '-x',
      "'",
    ];
    const { exec } = machine;
    const { stdout } = await exec.check({ argv: ['printf', '[%s]', ...odd], timeoutMs });
    assert.equal(stdout, odd.map((each) => `[${each}]`).join(''));
    const stdin = 'one\ntwo ü\0';
    assert.equal((await exec.check({ argv: ['cat'], stdin, timeoutMs })).stdout, stdin);
    const argv = ['sh', '-c', 'printf %s "$VALUE"; pwd >&2'] as const;
    const seen = await exec.check({ argv, env: { VALUE: "a 'b' \n\"" }, cwd: machine.directory, timeoutMs });
    assert.deepEqual([seen.stdout, seen.stderr], ["a 'b' \n\"", machine.directory]);
  });

  it('quotes for the C runtime whatever the arguments are', () => {
    const word = fc.string({ unit: fc.constantFrom('"', '\\', ' ', 'a', '\t', '^', '%', 'ü') });
    fc.assert(
      fc.property(fc.array(word), (words) => {
        assert.deepEqual(splitArguments(words.map(quoteArgument).join(' ')), words);
      }),
    );
    assert.equal(quoteArgument('plain'), 'plain');
    assert.throws(() => quoteArgument('a\0'), { code: 'command-failed' });
  });

  it('gives the 32 bits of a code, and knows nothing without the line behind the mark', async () => {
    for (const code of [0, 1, 3, 255]) {
      const result = await machine.exec.run({ argv: ['sh', '-c', `echo out; echo err >&2; exit ${code}`], timeoutMs });
      assert.deepEqual([result.exitCode, result.killedBy, result.stdout, result.stderr], [code, null, 'out\n', 'err']);
    }
    await assert.rejects(machine.exec.check({ argv: ['sh', '-c', 'echo no >&2; exit 3'], timeoutMs }), {
      code: 'command-failed',
      message: 'sh -c echo no >&2; exit 3 on host sql1 failed with exit code 3: no',
    });
    for (const client of ['exit 0', 'exit 255', 'echo; echo sp-000000000000000000000000 0 = =']) {
      const lost = execThroughPowerShell(systemExec, {
        name: 'host sql1',
        clientEnv: {},
        wrap: () => ['sh', '-c', client],
      });
      const result = await lost.run({ argv: ['true'], timeoutMs });
      assert.equal(result.exitCode, null);
      assert.match(result.stderr, /nothing told how the program did; it may still run there/);
      await assert.rejects(lost.check({ argv: ['true'], timeoutMs }), { message: /a way that is not known/ });
      await assert.rejects(lost.which('x'), { code: 'command-failed' });
    }
    const negative = Buffer.from('ü\r\n').toString('base64');
    assert.deepEqual(readFrame(`noise\n\nsp-1 -1073741510 =${negative} =\n`, 'sp-1'), {
      how: 'exited',
      code: -1_073_741_510,
      stdout: 'ü\n',
      stderr: '',
    });
    assert.equal(readFrame('sp-1 0 =eA== =', 'sp-1'), undefined, 'cut short');
    assert.equal(
      (await machine.exec.run({ argv: ['sh', '-c', 'yes | head -c 3000'], timeoutMs, maxOutputBytes: 1000 })).exitCode,
      null,
    );
  });

  it('says what cannot be started, and starts no batch file', async () => {
    const { exec } = machine;
    await assert.rejects(exec.run({ argv: ['none.exe'], timeoutMs }), {
      message: /none\.exe cannot be started on host sql1/,
    });
    await assert.rejects(exec.run({ argv: ['cat'], cwd: '/no/such', timeoutMs }), {
      message: /no directory \/no\/such/,
    });
    await assert.rejects(exec.run({ argv: ['x.cmd', '&calc'], timeoutMs }), { hint: /cmd\.exe/ });
    await assert.rejects(exec.run({ argv: ['cat'], uid: 1000, timeoutMs }), { hint: /`user`/ });
    assert.throws(() => exec.start({ argv: ['cat'] }), { code: 'command-failed' });
    assert.equal(await exec.which('printf'), 'C:\\Windows\\printf.exe');
    assert.equal(await exec.which('none'), undefined);
  });

  it('ends a program at its deadline and when cancelled', async () => {
    const file = join(machine.directory, 'late');
    const late = await machine.exec.run({
      argv: ['sh', '-c', `echo begun; (sleep 3; touch ${file}) & sleep 600`],
      timeoutMs: 500,
    });
    assert.deepEqual([late.timedOut, late.exitCode, late.stdout], [true, null, 'begun\n']);
    const stop = new AbortController();
    const begun = join(machine.directory, 'begun');
    const running = machine.exec.run({
      argv: ['sh', '-c', `touch ${begun}; sleep 600`],
      timeoutMs,
      signal: stop.signal,
    });
    await waitUntil('it runs', () => existsSync(begun));
    stop.abort();
    const result = await running;
    assert.equal(result.cancelled, true);
    assert.notEqual(result.exitCode, 0);
    await systemClock.sleep(3_000);
    assert.equal(existsSync(file), false, 'what it started has ended too');
    const none = await machine.exec.run({ argv: ['sh', '-c', `touch ${file}`], timeoutMs, signal: stop.signal });
    assert.deepEqual([none.cancelled, none.exitCode, existsSync(file)], [true, null, false]);
  });

  it('fits into the line that cmd.exe takes, and hides what it carries', () => {
    assert.ok(encodedCommand(frontScript).length < 7_500);
    const lines = payload('sp-1', { argv: ['x', 'secret'.repeat(2000)], timeoutMs: 1 }).split('\n');
    assert.ok(lines.every((line) => /^[A-Za-z0-9+/=]{0,4000}$/.test(line)));
  });
});
