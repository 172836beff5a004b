import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  flagScript,
  holdOffScript,
  letGoScript,
  markScript,
  overScript,
  qlistArgv,
  quoted,
  sessionArgv,
  spaceArgv,
  tailArgv,
  type Tool,
  unmarkScript,
  viewScript,
} from './commands.ts';

const iris: Tool = { kind: 'iris', program: '/usr/bin/iris', session: '/usr/bin/iris', user: undefined };
const cache: Tool = { kind: 'ccontrol', program: '/usr/bin/ccontrol', session: '/usr/bin/csession', user: 'cacheusr' };

describe('commands for a mirror', () => {
  it('have no shell, no password and no option of a name’s making', () => {
    assert.deepEqual(sessionArgv(iris, 'IRIS'), ['/usr/bin/iris', 'session', 'IRIS', '-U%SYS']);
    assert.deepEqual(sessionArgv(cache, 'C'), ['runuser', '-u', 'cacheusr', '--', '/usr/bin/csession', 'C', '-U%SYS']);
    assert.deepEqual(qlistArgv(cache, 'C'), ['runuser', '-u', 'cacheusr', '--', '/usr/bin/ccontrol', 'qlist', 'C']);
    assert.deepEqual(tailArgv(iris, '-x').slice(-2), ['--', '-x']);
    assert.deepEqual(spaceArgv(iris, '-x').slice(-2), ['--', '-x']);
  });

  it('quote strings of ObjectScript, and never let one begin a command', () => {
    assert.equal(quoted('a"b'), '"a""b"');
    for (const text of ['a\nhalt', 'a\rb', 'a\u2028b', '\u0000'])
      assert.throws(() => quoted(text), { code: 'config-invalid' });
  });

  it('end each session, and say so', () => {
    const request = { mirror: 'STAGE', identity: 'stillpoint-r1:a', mark: 'stillpoint-r1:a|a|since', untilS: 7 };
    const scripts = [
      viewScript('STAGE', 'nonce'),
      flagScript('STAGE', 'nonce'),
      holdOffScript(request, 'nonce'),
      markScript(request, 'nonce'),
      overScript('STAGE', 'stillpoint-r1:a', 'nonce'),
      letGoScript('STAGE', request.mark, false, 'nonce'),
      unmarkScript('STAGE', request.mark, 'nonce'),
    ];
    for (const script of scripts) {
      assert.deepEqual(script.slice(-2), ['write !,"SP:end=","nonce",!', 'halt']);
      assert.ok(script.every((line) => !line.includes('\n') && line.length < 1000));
    }
  });

  it('only look, in a view', () => {
    const text = viewScript('STAGE', 'nonce').join('\n');
    assert.doesNotMatch(text, /SetNoFailover|ClearNoFailover|set \^|kill|lock|BecomePrimary|Stop/);
  });

  it('change the flag only under the lock', () => {
    const request = { mirror: 'STAGE', identity: 'i', mark: 'i|a|s', untilS: 7 };
    for (const script of [holdOffScript(request, 'n'), letGoScript('STAGE', 'i|a|s', true, 'n')]) {
      const at = script.findIndex((line) => /(?:Set|Clear)NoFailover/.test(line));
      assert.match(script[at] ?? '', /^if spgot=1 \{/);
      assert.ok(script.findIndex((line) => line.startsWith('lock +^ZSTILLPOINT')) < at);
    }
  });
});
