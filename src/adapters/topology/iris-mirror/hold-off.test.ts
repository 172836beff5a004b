/** Failover held off and let go, by real processes that are killed meanwhile, on a mirror that stands in for a real one. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { all, both, flagged, MirrorBench, mirrorName, never } from '../../../../test/doubles/iris/mirror-bench.ts';
import { whyNoIris } from '../../../../test/doubles/iris/stand-in.ts';
import { memberOf } from '../../../model/cluster.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import { systemClock } from '../../../platform/clock.ts';
import type { HoldOffToken } from '../../../ports/topology.ts';
import { holdOffScript, markScript } from './commands.ts';

const skip = whyNoIris() ?? false;
const holderMain = fileURLToPath(new URL('../../../../test/doubles/iris/hold-off-main.ts', import.meta.url));

describe('iris-mirror and the stand-in: holding off failover', { skip, timeout: 300_000 }, () => {
  let bench: MirrorBench;
  const roleOf = async (name: string) => memberOf(await bench.see(), name)?.role;

  before(async () => {
    bench = await MirrorBench.start();
  });
  after(async () => {
    await bench[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    await bench.reset();
  });

  it('is proved at both members, shows in a view, stops a failover, and ends', async () => {
    const [mirror, ours] = [bench.topology(), bench.token()];
    assert.deepEqual(mirror.holdOffToken?.(ours.runId, await mirror.view(never)), ours);
    await mirror.holdOff?.(ours, never);
    assert.equal(flagged(bench.mirror), 2);
    const held = await mirror.view(never);
    assert.equal(held.failover.heldOff, true);
    assert.equal(failoverMargin(held, 'db1', { stunMs: 60_000, holdMs: 0 }).allowed, true);
    await mirror.holdOff?.(ours, never);
    await bench.letGo(ours);
    assert.equal(flagged(bench.mirror), 0);
    assert.equal((await mirror.view(never)).failover.heldOff, false);
    await bench.letGo(ours);
    for (const name of ['A', 'B'])
      assert.match(await bench.script(name, 'write "left=",$data(^ZSTILLPOINT("holdoff")),!'), /left=0/);
  });

  it('is refused where somebody else does it, and leaves theirs alone', async () => {
    await bench.script('B', 'do ##class(SYS.Mirror).SetNoFailover("STAGE")');
    const ours = bench.token();
    await assert.rejects(bench.holdOff(ours), { code: 'role-unsuitable' });
    await bench.letGo(ours);
    assert.equal(flagged(bench.mirror), 2);
    assert.equal((await bench.see()).failover.heldOff, true);
  });

  it('leaves theirs alone also when ours ended by a restart of the primary', async () => {
    const ours = bench.token();
    await bench.holdOff(ours);
    await systemClock.sleep(1100);
    await bench.stop('A');
    assert.notEqual(await roleOf('db2'), 'primary', 'nobody takes over');
    await bench.start('A');
    assert.equal(flagged(bench.mirror), 0, 'the engine clears it');
    await bench.script('A', 'do ##class(SYS.Mirror).SetNoFailover("STAGE")');
    await bench.letGo(ours);
    assert.equal(flagged(bench.mirror), 2);
    assert.match(await bench.script('A', 'write "left=",$data(^ZSTILLPOINT("holdoff")),!'), /left=0/);
  });

  it('ends at the backup when the primary has died meanwhile, which then takes over', async () => {
    const ours = bench.token();
    await bench.holdOff(ours);
    bench.standIn.crash('A');
    assert.notEqual(await roleOf('db2'), 'primary', 'nobody takes over');
    await bench.letGo(ours);
    assert.equal(bench.mirror.members[1]?.definedPrimary, '');
    assert.equal(await roleOf('db2'), 'primary');
  });

  it('is not proved to have ended while the primary cannot be asked, or refuses', async () => {
    const ours = bench.token();
    await bench.holdOff(ours);
    bench.standIn.faults('A', { accessDenied: true });
    await assert.rejects(bench.letGo(ours), { code: 'undo-failed', message: /db1/ });
    bench.standIn.faults('A', {});
    await bench.letGo(ours);
    const again = bench.token();
    await bench.holdOff(again);
    for (const name of ['A', 'B']) bench.standIn.faults(name, { clearNoFailover: 'fails' });
    await assert.rejects(bench.letGo(again), {
      code: 'undo-failed',
      message: /Failed to clear/,
    });
    assert.equal(flagged(bench.mirror), 2);
    for (const name of ['A', 'B']) bench.standIn.faults(name, {});
    await bench.letGo(again);
    assert.equal(flagged(bench.mirror), 0);
  });

  it('concerns the failover members only, and each of those', async () => {
    const [wide, ours] = [bench.topology(all), bench.token()];
    assert.deepEqual(wide.holdOffToken?.(ours.runId, await wide.view(never)), ours, 'the async one is not named');
    await wide.holdOff?.(ours, never);
    bench.standIn.faults('DR', { accessDenied: true });
    await wide.letGo?.(ours);
    assert.equal(flagged(bench.mirror), 0);
    const narrow = { ...ours, identity: 'stillpoint-x:db1' };
    await assert.rejects(bench.holdOff(narrow), { code: 'role-unsuitable', message: /another failover member/ });
    const gone = { ...ours, identity: 'stillpoint-x:db1,db9' };
    await assert.rejects(bench.letGo(gone), { code: 'undo-failed', message: /db9: it is no longer configured/ });
  });

  it('is not begun where the start of the primary is not known', async () => {
    bench.standIn.faults('A', { qlistHangs: true });
    await assert.rejects(bench.holdOff(bench.token()), { code: 'cluster-unknown', message: /since when it runs/ });
    assert.equal(flagged(bench.mirror), 0);
  });

  it('needs a primary, an answer of each failover member, and the engine’s own word', async () => {
    const begin = (instances: object = both) => bench.holdOff(bench.token(), instances);
    await assert.rejects(begin({ dr: all.dr }), { code: 'role-unsuitable' });
    bench.standIn.faults('A', { setNoFailover: 'fails' });
    await assert.rejects(begin(), { code: 'command-failed', message: /Failed to set no failover/ });
    bench.standIn.faults('A', {});
    bench.standIn.faults('B', { accessDenied: true });
    await assert.rejects(begin(), { code: 'cluster-unknown', message: /db2/ });
    bench.standIn.faults('B', {});
    bench.standIn.changeMirror(mirrorName, ({ members }) => Object.assign(members[0] ?? {}, { state: 'TRANSITION' }));
    await assert.rejects(begin(), { code: 'role-unsuitable', message: /no primary/ });
    assert.equal(flagged(bench.mirror), 0);
  });

  const startHolder = (ours: HoldOffToken) => {
    const child = spawn(
      process.execPath,
      [holderMain, bench.standIn.root, JSON.stringify(both), JSON.stringify(ours)],
      {
        stdio: 'ignore',
      },
    );
    return { child, ended: once(child, 'exit') };
  };
  const until = async (what: string, isSo: () => Promise<boolean>) => {
    for (let tries = 0; !(await isSo()); tries += 1) {
      assert.ok(tries < 200, what);
      await systemClock.sleep(100);
    }
  };
  const markedAs = async ({ identity }: HoldOffToken) =>
    (await bench.script('A', 'write "mark=",$get(^ZSTILLPOINT("holdoff","STAGE")),!')).includes(
      `mark=${identity}|db1|since`,
    );
  const isFlagged = (): Promise<boolean> => Promise.resolve(flagged(bench.mirror) === 2);

  it('is undone by another process when ours is killed, however far the engine has come', async () => {
    for (const when of ['hangs before', 'hangs after'] as const) {
      const ours = bench.token();
      bench.standIn.faults('A', { setNoFailover: when });
      const { child, ended } = startHolder(ours);
      try {
        await until('the mark is set', () => markedAs(ours));
        if (when === 'hangs after') await until('the flag is set', isFlagged);
      } finally {
        child.kill('SIGKILL');
        await ended;
      }
      // The session of the killed process is still at work, and may yet set the flag.
      await assert.rejects(bench.letGo(ours), { code: 'undo-failed', message: /another session is at work/ });
      bench.standIn.faults('A', {});
      if (when === 'hangs before') await until('the flag is set by a session of nobody', isFlagged);
      await bench.letGo(ours);
      assert.equal(flagged(bench.mirror), 0);
      assert.match(await bench.script('A', 'write "left=",$data(^ZSTILLPOINT("holdoff")),!'), /left=0/);
      assert.equal((await bench.see()).failover.heldOff, false);
    }
  });

  it('ends at the backup also when we are killed and the primary dies right after it has the flag', async () => {
    const ours = bench.token();
    bench.standIn.faults('A', { setNoFailover: 'hangs after' });
    const { child, ended } = startHolder(ours);
    try {
      await until('the flag is set', isFlagged);
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
    bench.standIn.crash('A');
    assert.notEqual(await roleOf('db2'), 'primary', 'nobody takes over');
    await bench.letGo(ours);
    assert.equal(await roleOf('db2'), 'primary');
    // Its session is gone with the instance.
    bench.standIn.faults('A', {});
  });

  it('is not ours where only the other member was marked, when somebody sets the flag then', async () => {
    const ours = bench.token();
    const mark = `${ours.identity}|db1|since`;
    await bench.script('B', ...markScript({ mirror: mirrorName, identity: ours.identity, mark, untilS: 9e12 }, 'x'));
    await bench.script('A', 'do ##class(SYS.Mirror).SetNoFailover("STAGE")');
    await bench.letGo(ours);
    assert.equal(flagged(bench.mirror), 2);
    assert.match(await bench.script('B', 'write "left=",$data(^ZSTILLPOINT("holdoff")),!'), /left=0/);
  });

  it('is not begun by a session that comes too late, or after it was let go', async () => {
    const ours = bench.token();
    const request = { mirror: 'STAGE', identity: ours.identity, mark: `${ours.identity}|db1|x`, untilS: 9e12 };
    await bench.script('A', ...holdOffScript({ ...request, untilS: 1 }, 'x'));
    assert.equal(flagged(bench.mirror), 0, 'too late by the clock of the instance');
    await bench.letGo(ours);
    await bench.script('A', ...holdOffScript(request, 'x'));
    assert.equal(flagged(bench.mirror), 0, 'let go before');
    await bench.script('A', ...holdOffScript({ ...request, identity: 'other', mark: 'other|db1|x' }, 'x'));
    assert.equal(flagged(bench.mirror), 2);
  });
});
