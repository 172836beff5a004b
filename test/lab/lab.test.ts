/** The lab itself, and what is tried in it without the whole program. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { scenariosAsTests } from './as-tests.ts';
import { wholeProgram } from './whole-program.ts';
import { bootGuest, members, openMachine, whyNoLab } from './uml.ts';

const full = process.env['STILLPOINT_TEST_FULL'] === '1';

await scenariosAsTests('parts', (name) => !wholeProgram.has(name));

describe('lab', () => {
  it('leaves nothing on this machine when the power is cut, and says that a scenario does not exist', async (t) => {
    const missing = await whyNoLab();
    if (missing !== undefined) {
      t.skip(missing);
      return;
    }
    const machine = await openMachine({ disks: [{ name: 'a', bytes: 1024 ** 2 }], memMiB: 256 });
    const job = { scenario: 'none-is-called-so', parameters: { full } };
    const guest = await machine.start(job, { timeoutMs: 60_000 });
    assert.ok(await guest.sign('guest.log', 30_000), 'the guest has its share');
    const { end, error } = await guest.cutPower();
    assert.deepEqual({ end, error }, { end: 'cut', error: undefined });
    assert.deepEqual(members(guest.pid), []);
    await machine[Symbol.asyncDispose]();
    assert.ok(!existsSync(machine.directory));

    const failed = await bootGuest({ disks: [], memMiB: 256, job, timeoutMs: 60_000 });
    assert.match(failed.error ?? '', /none-is-called-so/);
  });
});
