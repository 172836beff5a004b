import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemExec } from '../../../platform/exec.ts';
import { exit, run, runWords } from './commands.ts';
import { config } from './config.ts';

const timeoutMs = 20_000;
const odd = ['a b', '', "it's", '!!', 'line\nline\n', '$x`y`"\\', 'ü€', '~', '*', '%s\\n', '#', '-'];

describe('what ssh is told', () => {
  const settings = config.parse({ host: 'db1', user: 'backup', port: 2222, identityFile: '/k e%y', knownHosts: '/k' });

  for (const shell of ['sh', 'bash', 'dash', 'tcsh', 'fish']) {
    it(`means the same to ${shell} as login shell`, async (t) => {
      if ((await systemExec.which(shell)) === undefined) {
        t.skip(`needs ${shell}`);
        return;
      }
      const line = run(settings, '/s', ['printf', '[%s]', ...odd], {}).at(-1) ?? '';
      assert.match(line, /^[ -~]+$/, 'one line of ASCII');
      const { stdout } = await systemExec.check({ argv: [shell, '-c', line], timeoutMs });
      assert.equal(stdout, odd.map((each) => `[${each}]`).join(''));
    });
  }

  it('checks the host key before anything else, and quotes names of files', () => {
    const argv = run(settings, '/s/%', ['true'], {});
    const values = argv.filter((_, index) => argv[index - 1] === '-o');
    assert.deepEqual(values.slice(0, 2), ['BatchMode=yes', 'StrictHostKeyChecking=yes']);
    assert.ok(values.includes('ControlPath="/s/%%"'));
    assert.ok(values.includes('IdentityFile="/k e%%y"'));
    assert.deepEqual(argv.slice(-3, -1), ['--', 'db1']);
    const more = run(
      config.parse({ host: 'db1', options: { ProxyJump: 'gate', ConnectTimeout: '3' } }),
      '/s',
      ['x'],
      {},
    );
    assert.ok(more.indexOf('ConnectTimeout=3') < more.indexOf('ConnectTimeout=10'), 'the first value counts');
    assert.deepEqual(exit(settings, '/s').slice(-4), ['-O', 'exit', '--', 'db1']);
    assert.equal(runWords(settings, '/s', ['powershell', '-NoProfile']).at(-1), 'powershell -NoProfile');
  });
});
