import assert from 'node:assert/strict';
import { appendFile, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { loopVolume } from '../../test/doubles/loop-volume.ts';
import type { FreezeAnswer, FrozenFileSystem, HoldToken, ThawAnswer } from '../model/hold.ts';
import { bootId, systemClock } from '../platform/clock.ts';
import { systemExec } from '../platform/exec.ts';
import type { Application, HoldSession } from '../ports/application.ts';
import { withFileSystems } from './file-systems.ts';

const tools = { exec: systemExec, clock: systemClock };
const timeoutMs = 10_000;

interface Stage extends AsyncDisposable {
  readonly application: Application;
  readonly token: HoldToken;
  readonly mountPoint: string;
  readonly frozen: FrozenFileSystem;
  /** What the engine was told, in order. */
  readonly told: string[];
}

/** An engine that says yes, and notes whether its data directory could be written to when it was told to thaw. */
async function stage(t: TestContext): Promise<Stage | undefined> {
  const volume = await loopVolume('xfs');
  if ('skip' in volume) {
    t.skip(volume.skip);
    return undefined;
  }
  const { mountPoint } = volume;
  await mkdir(join(mountPoint, 'data'));
  const told: string[] = [];
  const answer = (what: string): FreezeAnswer & ThawAnswer => {
    told.push(what);
    const at = systemClock.now();
    return { frozen: true, thawed: true, heldThroughout: true, said: `engine: ${what}`, at, spans: [], artifacts: [] };
  };
  const thaw = async (): Promise<ThawAnswer> => {
    // An engine writes when it thaws: on a frozen file system this would wait for ever.
    await appendFile(join(mountPoint, 'data', 'log'), 'thawed\n');
    return answer('thaw');
  };
  const session: HoldSession = {
    prepare: async () => void answer('prepare'),
    freeze: async () => answer('freeze'),
    ask: async () => answer('ask'),
    observe: () => Promise.reject(new Error('nobody looks')),
    thaw,
    close: async () => undefined,
  };
  const engine: Application = {
    engine: 'scripted',
    locate: () => Promise.reject(new Error('nobody asks')),
    openHold: async () => session,
    status: async () => ({ state: 'thawed', said: 'engine: thawed' }),
    thaw,
    async *verify() {
      // Nobody drills it.
    },
  };
  const device = String((await stat(mountPoint, { bigint: true })).dev);
  const frozen = { mountPoint, device, bootId: bootId() };
  // Whatever a failing test leaves frozen must not stay so: the unmount would wait for it.
  const guard = systemExec.start({ argv: ['sh', '-c', 'sleep 30; fsfreeze -u "$1"', 'guard', mountPoint] });
  return {
    application: withFileSystems(engine, tools),
    token: { runId: 'r', workload: 'w', engine: 'scripted', identity: 'i', fileSystems: [frozen] },
    mountPoint,
    frozen,
    told,
    async [Symbol.asyncDispose]() {
      await systemExec.run({ argv: ['fsfreeze', '-u', mountPoint], timeoutMs });
      guard.kill('SIGKILL');
      await volume[Symbol.asyncDispose]();
    },
  };
}

/** EBUSY means frozen; what this freezes by trying is thawed at once. */
async function isFrozen(mountPoint: string): Promise<boolean> {
  const tried = await systemExec.run({ argv: ['fsfreeze', '-f', mountPoint], timeoutMs });
  if (tried.exitCode !== 0) return /busy/.test(tried.stderr);
  await systemExec.check({ argv: ['fsfreeze', '-u', mountPoint], timeoutMs });
  return false;
}

describe('file systems that are frozen with an engine', () => {
  it('are frozen after it and thawed before it', async (t) => {
    const on = await stage(t);
    if (on === undefined) return;
    await using _ = on;
    const session = await on.application.openHold(on.token, 1000);
    await session.prepare();
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, true);
    assert.match(frozen.said, /engine: freeze; frozen: /);
    assert.equal(await isFrozen(on.mountPoint), true);
    const asked = await session.ask();
    assert.equal(asked.frozen, true);
    assert.match(asked.said, /is frozen$/);
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, true]);
    assert.equal(await isFrozen(on.mountPoint), false);
    assert.deepEqual(on.told, ['prepare', 'freeze', 'ask', 'thaw']);
    assert.ok(frozen.spans.concat(thawed.spans).every(({ party }) => party === 'provider'));
  });

  it('are thawed by anyone who has the token, once and again', async (t) => {
    const on = await stage(t);
    if (on === undefined) return;
    await using _ = on;
    const session = await on.application.openHold(on.token, 1000);
    await session.freeze();
    assert.equal((await on.application.status(on.token)).state, 'frozen');
    assert.equal((await on.application.thaw(on.token)).thawed, true);
    assert.equal((await on.application.status(on.token)).state, 'thawed');
    const again = await on.application.thaw(on.token);
    assert.deepEqual([again.thawed, again.heldThroughout], [true, false]);
    assert.match(again.said, /was not frozen/);
    assert.equal(await isFrozen(on.mountPoint), false);
  });

  it("are not called held when a stranger thawed them, even if the engine's own hold lasted", async (t) => {
    const on = await stage(t);
    if (on === undefined) return;
    await using _ = on;
    const session = await on.application.openHold(on.token, 1000);
    await session.freeze();
    await systemExec.check({ argv: ['fsfreeze', '-u', on.mountPoint], timeoutMs });
    const asked = await session.ask();
    assert.equal(asked.frozen, false);
    assert.match(asked.said, /is not frozen/);
    assert.equal(await isFrozen(on.mountPoint), false, 'asking must not leave it frozen');
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false]);
  });

  it('fail the freeze when somebody else holds one, and leave nothing frozen that was not', async (t) => {
    const on = await stage(t);
    if (on === undefined) return;
    await using _ = on;
    await systemExec.check({ argv: ['fsfreeze', '-f', on.mountPoint], timeoutMs });
    const session = await on.application.openHold(on.token, 1000);
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, false);
    assert.match(frozen.said, /fsfreeze -f .* failed: .*busy/);
  });

  it('are not taken for another one that is mounted there now, nor for one of an earlier boot', async (t) => {
    const on = await stage(t);
    if (on === undefined) return;
    await using _ = on;
    const other = { ...on.token, fileSystems: [{ ...on.frozen, device: '1' }] };
    const wrong = await on.application.thaw(other);
    assert.equal(wrong.thawed, false);
    assert.match(wrong.said, /another file system is mounted/);
    assert.equal((await on.application.status(other)).state, 'unknown');
    await assert.rejects((await on.application.openHold(other, 1000)).freeze(), { code: 'freeze-failed' });
    const gone = { ...on.token, fileSystems: [{ ...on.frozen, mountPoint: join(on.mountPoint, 'gone') }] };
    assert.equal((await on.application.thaw(gone)).thawed, false);
    const earlier = { ...on.token, fileSystems: [{ ...on.frozen, device: '1', bootId: 'earlier' }] };
    assert.equal((await on.application.thaw(earlier)).thawed, true);
    assert.equal((await on.application.status(earlier)).state, 'thawed');
  });

  it('change nothing for a token without any', async (t) => {
    const on = await stage(t);
    if (on === undefined) return;
    await using _ = on;
    const { fileSystems: _none, ...plain } = on.token;
    const session = await on.application.openHold(plain, 1000);
    const frozen = await session.freeze();
    assert.equal(frozen.said, 'engine: freeze');
    assert.equal(await isFrozen(on.mountPoint), false);
    assert.equal((await on.application.thaw(plain)).said, 'engine: thaw');
  });
});
