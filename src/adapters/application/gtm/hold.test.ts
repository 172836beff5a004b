import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { startHolder } from '../../../../test/contract/application.ts';
import { type GtmDatabase, type GtmOptions, openGtm, whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { HoldToken } from '../../../model/hold.ts';
import type { HoldSession } from '../../../ports/application.ts';
import { freezeArguments } from './commands.ts';
import { Gtm, has } from './engine.ts';
import type { RegionState } from './parse.ts';

const limits = { limitMs: 20_000 };
const nobody = { uid: 65_534, gid: 65_534 };
const { clock } = testPlatform;

let tokens = 0;
function newToken(): HoldToken {
  tokens += 1;
  const runId = `gtm-hold-${process.pid}-${tokens}`;
  return { runId, workload: 'test', engine: 'gtm', identity: runId };
}

async function database(t: TestContext, options: GtmOptions): Promise<GtmDatabase> {
  const opened = await openGtm(options);
  t.after(() => opened[Symbol.asyncDispose]());
  return opened;
}

async function prepared(
  db: GtmDatabase,
  token = newToken(),
  more: Readonly<Record<string, unknown>> = {},
): Promise<HoldSession> {
  const session = await db.application(more).openHold(token, 5_000);
  await session.prepare();
  return session;
}

async function statesOf(db: GtmDatabase): Promise<readonly RegionState[]> {
  return (await db.gtm.states(limits, ['DEFAULT'])).states;
}

async function isFrozen(db: GtmDatabase): Promise<boolean> {
  return (await statesOf(db)).some((state) => state.frozen !== undefined);
}

async function recordsOf(db: GtmDatabase): Promise<readonly string[]> {
  return readdir(join(db.stateDirectory, 'gtm')).catch(() => []);
}

describe('gtm: the hold', { skip: whyNoGtm() ?? false }, () => {
  it('stops acknowledged numbers at a plain freeze and not at an online one, and says where the journal begins', async (t) => {
    for (const freeze of ['plain', 'online'] as const) {
      const db = await database(t, { regions: 2, freeze });
      const load = await db.load(1);
      const session = await prepared(db);
      const frozen = await session.freeze();
      assert.equal(frozen.frozen, true, frozen.said);
      await clock.sleep(200);
      const before = (await load.acknowledged()).length;
      await clock.sleep(400);
      const later = (await load.acknowledged()).length;
      assert.equal(later > before, freeze === 'online', `${before} then ${later} under ${freeze}`);
      const thawed = await session.thaw();
      assert.equal(thawed.heldThroughout, true, thawed.said);
      await session.close();
      if (freeze === 'online') {
        assert.deepEqual(
          thawed.starts?.map((start) => start.part),
          ['DEFAULT', 'SECOND'],
        );
        const names = await readdir(db.directory);
        for (const start of thawed.starts ?? []) assert.ok(names.includes(start.file), start.file);
      } else assert.equal(thawed.starts, undefined);
      await clock.sleep(200);
      assert.ok((await load.acknowledged()).length > later, 'the writer goes on');
      assert.ok((await statesOf(db)).every((state) => state.journal === 'on'));
      assert.deepEqual(await recordsOf(db), []);
      await load.stop();
    }
  });

  it('refuses a database that somebody else has frozen, and leaves that freeze alone', async (t) => {
    const db = await database(t, { regions: 2 });
    const theirs = await db.gtm.mupip(freezeArguments('plain'), limits);
    assert.match(theirs.text, /All requested regions frozen/);
    const token = newToken();
    const session = await db.application().openHold(token, 5_000);
    await assert.rejects(session.prepare(), (error) => {
      assert.ok(error instanceof StillpointError);
      assert.equal(error.code, 'freeze-failed');
      assert.match(error.message, /frozen \(plain\) by uid \d+, mupip \d+/);
      return true;
    });
    assert.equal((await session.thaw()).thawed, true);
    await session.close();
    const status = await db.application().status(token);
    assert.equal(status.state, 'thawed');
    assert.match(status.said, /not this hold/);
    assert.equal((await db.application().thaw(token)).thawed, true);
    assert.equal(await isFrozen(db), true, 'their freeze lasts');
  });

  it('admits that a third party thawed it', async (t) => {
    for (const freeze of ['plain', 'online'] as const) {
      const db = await database(t, { regions: 2, freeze });
      const session = await prepared(db);
      assert.equal((await session.freeze()).frozen, true);
      await db.gtm.mupip(['freeze', '-off', '*'], limits);
      assert.equal((await session.ask()).frozen, false);
      const thawed = await session.thaw();
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
    }
  });

  it('does not take a freeze of the same user that replaced its own for its own', async (t) => {
    const db = await database(t, { regions: 2, freeze: 'plain' });
    const session = await prepared(db);
    assert.equal((await session.freeze()).frozen, true);
    await db.gtm.mupip(['freeze', '-off', '*'], limits);
    await db.gtm.mupip(freezeArguments('plain'), limits);
    assert.equal((await session.ask()).frozen, false);
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
    assert.equal(await isFrozen(db), true, 'the other freeze is not ours to end');
  });

  it('notices a thaw of one region alone', async (t) => {
    const db = await database(t, { regions: 2, freeze: 'plain' });
    const session = await prepared(db);
    assert.equal((await session.freeze()).frozen, true);
    await db.gtm.mupip(['freeze', '-off', 'SECOND'], limits);
    assert.equal((await session.ask()).frozen, false);
    assert.equal((await session.thaw()).heldThroughout, false);
    assert.equal(await isFrozen(db), false);
  });

  it('admits an online freeze that the engine released by itself', async (t) => {
    const db = await database(t, { regions: 1, freeze: 'online', globalBuffers: 64 });
    const session = await prepared(db);
    assert.equal((await session.freeze()).frozen, true);
    await db.gtm.mupip(['freeze', '-off', '*'], limits);
    await db.gtm.mupip(['freeze', '-on', '-online', '*'], limits);
    const load = await db.load(1);
    for (let i = 0; i < 100 && (await isFrozen(db)); i += 1) await clock.sleep(100);
    assert.deepEqual(
      (await statesOf(db)).map((state) => [state.frozen, state.online]),
      [[undefined, true]],
      'released by the engine',
    );
    assert.equal((await session.ask()).frozen, false);
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
    assert.match(thawed.said, /released by the engine/);
    assert.deepEqual(
      (await statesOf(db)).map((state) => state.online),
      [false],
    );
    await load.stop();
  });

  it('switches journaling on again that another user’s forced thaw turned off, and says so', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('needs root: acts as another user');
    const db = await database(t, { regions: 1, freeze: 'online' });
    const load = await db.load(1);
    const session = await prepared(db);
    assert.equal((await session.freeze()).frozen, true);
    await chmod(db.directory, 0o777);
    const stranger = new Gtm(testPlatform, db.gtm.place, nobody);
    const forced = await stranger.mupip(['freeze', '-off', '-override', '*'], limits);
    assert.equal(has(forced, 'JNLEXTEND'), true, forced.text);
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
    assert.match(thawed.said, /JOURNALING OF DEFAULT WAS OFF/);
    assert.ok((await statesOf(db)).every((state) => state.journal === 'on'));
    await load.stop();
    return undefined;
  });

  it('freezes as the owner of the files, and is not kept by a freeze of root', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('needs root: makes a database of another user');
    const db = await database(t, { regions: 2, owner: nobody });
    const load = await db.load(1);
    const token = newToken();
    const session = await prepared(db, token);
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, true, frozen.said);
    assert.ok((await statesOf(db)).every((state) => state.frozen?.uid === nobody.uid));
    assert.equal((await session.thaw()).heldThroughout, true);
    await session.close();
    // A freeze by root would let every command of the owner hang for ever.
    await db.gtm.as(undefined).mupip(freezeArguments('plain'), limits);
    const startMs = clock.monoMs();
    assert.equal((await db.application().status(token)).state, 'thawed');
    const thawed = await db.application().thaw(token);
    assert.equal(thawed.thawed, true, thawed.said);
    assert.match(thawed.said, /by uid 0.*not this hold/);
    assert.ok(clock.monoMs() - startMs < 10_000);
    await db.gtm.as(undefined).mupip(['freeze', '-off', '*'], limits);
    await load.stop();
    return undefined;
  });
});

describe('gtm: after a crash', { skip: whyNoGtm() ?? false }, () => {
  it('thaws by the token what a killed holder left frozen, with load on it', async (t) => {
    for (const freeze of ['plain', 'online'] as const) {
      const db = await database(t, { regions: 2, freeze });
      const load = await db.load(1);
      const token = newToken();
      const module = new URL('application.ts', import.meta.url).href;
      const holder = await startHolder(
        { elsewhere: { module, exportName: 'gtm', config: db.config, stateDirectory: db.stateDirectory } },
        token,
      );
      assert.equal((await holder.freeze()).frozen, true);
      await holder.kill();
      assert.equal((await db.application().status(token)).state, 'frozen');
      assert.equal((await recordsOf(db)).length, 1);
      const thawed = await db.application().thaw(token);
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
      assert.equal(await isFrozen(db), false);
      assert.deepEqual(await recordsOf(db), []);
      const before = (await load.acknowledged()).length;
      await clock.sleep(300);
      assert.ok((await load.acknowledged()).length > before);
      await load.stop();
    }
  });

  it('thaws a freeze that was begun but never confirmed', async (t) => {
    const db = await database(t, { regions: 2, freeze: 'plain' });
    const token = newToken();
    const session = await prepared(db, token);
    // As if the holder had died while mupip was at work.
    await db.gtm.mupip(freezeArguments('plain'), limits);
    assert.equal((await db.application().status(token)).state, 'frozen');
    assert.equal((await db.application().thaw(token)).thawed, true);
    assert.equal(await isFrozen(db), false);
    await session.close();
  });
});

describe('gtm: a holder that is killed while mupip is at work', { skip: whyNoGtm() ?? false }, () => {
  it('ends that mupip too, so that it does not freeze behind the back of the thaw', async (t) => {
    const db = await database(t, { regions: 1, freeze: 'plain' });
    const { directory, hangs } = await hangingDistribution(t, db);
    // A mupip that takes two seconds to get to its freeze.
    const real = db.gtm.place.distribution;
    const slow = `#!/bin/sh\nif [ "$1 $2" = "freeze -on" ]; then touch ${hangs}.seen; sleep 2; fi\ngtm_dist=${real} exec ${real}/mupip "$@"\n`;
    await writeFile(join(directory, 'mupip'), slow, { mode: 0o755 });
    const token = newToken();
    const module = new URL('application.ts', import.meta.url).href;
    const config = { ...db.config, distribution: directory };
    const holder = await startHolder(
      { elsewhere: { module, exportName: 'gtm', config, stateDirectory: db.stateDirectory } },
      token,
    );
    const freezing = holder.freeze().catch(() => undefined);
    for (let i = 0; i < 100 && !(await readdir(directory)).includes('hangs.seen'); i += 1) await clock.sleep(20);
    assert.ok((await readdir(directory)).includes('hangs.seen'));
    await holder.kill();
    assert.equal((await db.application().status(token)).state, 'unknown');
    const thawed = await db.application().thaw(token);
    assert.equal(thawed.thawed, true, thawed.said);
    await freezing;
    await clock.sleep(2_500);
    assert.equal(await isFrozen(db), false);
  });
});

/** The real programs behind scripts, one of which hangs when the file `hangs` names it. */
async function hangingDistribution(t: TestContext, db: GtmDatabase): Promise<{ directory: string; hangs: string }> {
  const real = db.gtm.place.distribution;
  const directory = await mkdtemp(join(tmpdir(), 'sp-gtm-dist-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await chmod(directory, 0o755);
  const hangs = join(directory, 'hangs');
  await writeFile(hangs, 'nothing');
  for (const program of ['mupip', 'dse', 'mumps']) {
    const script = `#!/bin/sh\nif [ "$(cat ${hangs})" = "${program} $1 $2" ]; then exec sleep 600; fi\ngtm_dist=${real} exec ${real}/${program} "$@"\n`;
    await writeFile(join(directory, program), script, { mode: 0o755 });
  }
  await symlink(join(real, 'libgtmutil.so'), join(directory, 'libgtmutil.so'));
  return { directory, hangs };
}

describe('gtm: programs that hang', { skip: whyNoGtm() ?? false }, () => {
  it('works through the scripts at all', async (t) => {
    const db = await database(t, { regions: 1 });
    const { directory } = await hangingDistribution(t, db);
    const session = await prepared(db, newToken(), { distribution: directory });
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, true, frozen.said);
    assert.equal((await session.thaw()).heldThroughout, true);
  });

  it('gives up a freeze that hangs, within the budget', async (t) => {
    const db = await database(t, { regions: 1 });
    const { directory, hangs } = await hangingDistribution(t, db);
    const token = newToken();
    const session = await db.application({ distribution: directory }).openHold(token, 1_000);
    await session.prepare();
    await writeFile(hangs, 'mupip freeze -on');
    const startMs = clock.monoMs();
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, false, frozen.said);
    assert.match(frozen.said, /ended at its limit/);
    assert.ok(clock.monoMs() - startMs < 6_000);
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
  });

  it('ends a freeze that hangs when it is told to thaw meanwhile', async (t) => {
    const db = await database(t, { regions: 1 });
    const { directory, hangs } = await hangingDistribution(t, db);
    const session = await db.application({ distribution: directory }).openHold(newToken(), 60_000);
    await session.prepare();
    await writeFile(hangs, 'mupip freeze -on');
    const freezing = session.freeze();
    await clock.sleep(300);
    const thawed = await session.thaw();
    assert.equal(thawed.thawed, true, thawed.said);
    assert.equal((await freezing).frozen, false);
    assert.equal(await isFrozen(db), false);
  });

  it('is unknown while the state query hangs, and ends the freeze all the same', async (t) => {
    const db = await database(t, { regions: 1 });
    const { directory, hangs } = await hangingDistribution(t, db);
    const token = newToken();
    const session = await prepared(db, token, { distribution: directory });
    assert.equal((await session.freeze()).frozen, true);
    await writeFile(hangs, 'dse all -dump');
    const startMs = clock.monoMs();
    assert.equal((await session.ask()).frozen, false);
    assert.equal((await db.application({ distribution: directory }).status(token)).state, 'unknown');
    const thawed = await db.application({ distribution: directory }).thaw(token);
    assert.equal(thawed.thawed, false, 'nothing proves it');
    assert.equal(await isFrozen(db), false, 'but it was ended');
    assert.ok(clock.monoMs() - startMs < 30_000);
    await writeFile(hangs, 'nothing');
    const again = await db.application({ distribution: directory }).thaw(token);
    assert.equal(again.thawed, true, again.said);
    assert.equal((await session.thaw()).heldThroughout, false);
  });

  it('says that it is still frozen while the thaw hangs, and thaws once it does not', async (t) => {
    const db = await database(t, { regions: 1 });
    const { directory, hangs } = await hangingDistribution(t, db);
    const token = newToken();
    const session = await prepared(db, token, { distribution: directory });
    assert.equal((await session.freeze()).frozen, true);
    await writeFile(hangs, 'mupip freeze -off');
    const startMs = clock.monoMs();
    const thawed = await db.application({ distribution: directory }).thaw(token);
    assert.equal(thawed.thawed, false, thawed.said);
    assert.ok(clock.monoMs() - startMs < 16_000);
    assert.equal((await db.application({ distribution: directory }).status(token)).state, 'frozen');
    assert.equal((await readFile(hangs, 'utf8')).length > 0, true);
    await writeFile(hangs, 'nothing');
    assert.equal((await db.application({ distribution: directory }).thaw(token)).thawed, true);
    assert.equal(await isFrozen(db), false);
    assert.equal((await session.thaw()).heldThroughout, false);
  });
});
