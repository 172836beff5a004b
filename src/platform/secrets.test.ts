import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { StillpointError } from '../model/errors.ts';
import { systemExec } from './exec.ts';
import { readSecret, type SecretSource } from './secrets.ts';

async function newFile(t: TestContext, text: string, mode = 0o600): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-secret-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const file = join(directory, 'key');
  await writeFile(file, text);
  await chmod(file, mode);
  return file;
}

const node = process.execPath;

async function refusal(source: SecretSource): Promise<StillpointError> {
  const error = await readSecret(source, systemExec).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  assert.ok(error instanceof StillpointError, String(error));
  assert.equal(error.code, 'secret-unreadable');
  assert.notEqual(error.hint, undefined);
  return error;
}

describe('readSecret', () => {
  it('takes one line ending off a file, and nothing else', async (t) => {
    for (const [text, secret] of [
      ['geheim\n', 'geheim'],
      ['geheim\r\n', 'geheim'],
      ['geheim', 'geheim'],
      [' two words \n\n', ' two words \n'],
    ] as const) {
      assert.equal(await readSecret({ file: await newFile(t, text) }, systemExec), secret);
    }
  });

  it('warns of a file that everybody may read, without quoting it', async (t) => {
    const warnings: string[] = [];
    const log = { info: () => undefined, warn: (message: string) => void warnings.push(message) };
    await readSecret({ file: await newFile(t, 'geheim', 0o640) }, systemExec, log);
    assert.deepEqual(warnings, []);
    const file = await newFile(t, 'geheim', 0o644);
    assert.equal(await readSecret({ file }, systemExec, log), 'geheim');
    assert.deepEqual(warnings, [`the password file ${file} can be read by everybody; run \`chmod 600 ${file}\``]);
  });

  it('reads a variable', async (t) => {
    process.env['SP_TEST_SECRET'] = 'geheim';
    t.after(() => delete process.env['SP_TEST_SECRET']);
    assert.equal(await readSecret({ env: 'SP_TEST_SECRET' }, systemExec), 'geheim');
  });

  it('runs a command without a shell, with our environment', async (t) => {
    process.env['SP_TEST_SECRET'] = '$HOME geheim';
    t.after(() => delete process.env['SP_TEST_SECRET']);
    const command = [node, '-e', 'console.log(process.env.SP_TEST_SECRET)'];
    assert.equal(await readSecret({ command }, systemExec), '$HOME geheim');
  });

  it('refuses what is empty, missing or more than one', async (t) => {
    const file = await newFile(t, '\n');
    assert.match((await refusal({ file })).message, /key is empty$/);
    assert.match((await refusal({ file: `${file}-none` })).message, /cannot be read: ENOENT/);
    assert.match((await refusal({ file: await newFile(t, 'x'.repeat(70_000)) })).message, /70000 bytes are too many/);
    assert.match((await refusal({ env: 'SP_TEST_NOT_SET' })).message, /SP_TEST_NOT_SET is not set$/);
    assert.match((await refusal({ command: [node, '-e', ''] })).message, /is empty$/);
    assert.match((await refusal({ command: [] })).message, /command is empty$/);
    assert.match((await refusal({})).message, /exactly one/);
    assert.match((await refusal({ file, env: 'A' })).message, /exactly one/);
  });

  it('a failing command leaves neither its output nor its arguments in the error', async () => {
    const script = 'console.log("geheim"); console.error("geheim"); process.exit(3)';
    for (const command of [
      [node, '-e', script, 'geheim'],
      ['/nonexistent/program', 'geheim'],
      [node, '-e', 'console.log("geheim".repeat(100000))'],
    ]) {
      const error = await refusal({ command });
      const everything = [error.message, error.hint, JSON.stringify(error.details), String(error.cause), error.stack];
      assert.doesNotMatch(everything.join('\n'), /geheim/);
    }
    assert.match((await refusal({ command: [node, '-e', script] })).message, /exited with 3$/);
  });
});
