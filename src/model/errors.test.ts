import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { codeOf, errorTable, ExitCode, messageOf, StillpointError } from './errors.ts';

describe('errors', () => {
  it('gives every code an exit code other than success, and a meaning', () => {
    for (const [code, { exit, meaning }] of Object.entries(errorTable)) {
      assert.notEqual(exit, ExitCode.done, code);
      assert.match(meaning, /^[a-z].*[^.]$/, code);
    }
  });

  it('carries code, hint, details and cause', () => {
    const cause = new Error('below');
    const error = new StillpointError('io', 'a file is gone', { hint: 'look', details: { file: 'x' }, cause });
    assert.equal(error.exitCode, ExitCode.failed);
    assert.equal(error.hint, 'look');
    assert.deepEqual(error.details, { file: 'x' });
    assert.equal(error.cause, cause);
    const bare = new StillpointError('cancelled', 'stopped');
    assert.equal(bare.exitCode, ExitCode.cancelled);
    assert.equal(bare.hint, undefined);
    assert.deepEqual(bare.details, {});
    assert.equal('cause' in bare, false);
  });

  it('reads code and text of anything thrown', () => {
    assert.equal(codeOf(new StillpointError('usage', 'x')), 'usage');
    assert.equal(codeOf(Object.assign(new Error('x'), { code: 'ENOSPC' })), 'ENOSPC');
    assert.equal(codeOf(Object.assign(new Error('x'), { code: 7 })), undefined);
    assert.equal(codeOf(new Error('x')), undefined);
    assert.equal(codeOf('x'), undefined);
    assert.equal(messageOf(new Error('text')), 'text');
    assert.equal(messageOf(7), '7');
  });
});
