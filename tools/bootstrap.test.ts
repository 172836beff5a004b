import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const bootstrap = fileURLToPath(new URL('bootstrap.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'stillpoint-bootstrap-'));
after(() => rmSync(folder, { recursive: true }));

function start(code: string, ...args: readonly string[]): ChildProcess {
  const script = join(folder, 'script.ts');
  writeFileSync(script, code);
  return spawn(process.execPath, [bootstrap, script, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function ended(child: ChildProcess): Promise<{
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly said: string;
}> {
  const texts = { out: '', said: '' };
  child.stdout?.on('data', (chunk) => (texts.out += String(chunk)));
  child.stderr?.on('data', (chunk) => (texts.said += String(chunk)));
  return await new Promise((done) => child.once('close', (code, signal) => done({ code, signal, ...texts })));
}

describe('the bootstrap', () => {
  it('runs TypeScript with the same arguments and folder, and passes its exit code on', async () => {
    const { code, out, said } = await ended(
      start(
        `const seen: unknown = [process.argv.slice(2), process.cwd()]; process.stdout.write(JSON.stringify(seen)); process.exitCode = 6;`,
        '--json',
        'a b',
      ),
    );
    assert.deepEqual(JSON.parse(out), [['--json', 'a b'], folder]);
    assert.equal(code, 6);
    assert.equal(said, '');
  });

  it('dies of the signal that its script died of', async () => {
    assert.equal(
      (await ended(start(`process.kill(process.pid, 'SIGKILL'); setInterval(() => {}, 1000);`))).signal,
      'SIGKILL',
    );
  });

  it('passes each signal on once', async () => {
    const child = start(`let seen = 0;
process.on('SIGINT', () => { seen += 1; process.stdout.write('int '); });
process.on('SIGTERM', () => { process.exitCode = seen; clearInterval(timer); });
const timer = setInterval(() => {}, 1000);
process.stdout.write('ready ');`);
    const result = ended(child);
    let out = '';
    child.stdout?.on('data', (chunk) => {
      out += String(chunk);
      if (out === 'ready ') child.kill('SIGINT');
      if (out === 'ready int ') child.kill('SIGTERM');
    });
    assert.deepEqual(await result, { code: 1, signal: null, out: 'ready int ', said: '' });
  });

  it('says how it is used', async () => {
    const child = spawn(process.execPath, [bootstrap], { stdio: ['ignore', 'pipe', 'pipe'] });
    const { code, said } = await ended(child);
    assert.equal(code, 1);
    assert.match(said, /^stillpoint: usage: /);
  });
});
