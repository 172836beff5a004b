import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { copyFiles } from '../../../../test/contract/application.ts';
import { type GtmDatabase, type GtmOptions, openGtm, rowsOf, whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import type { HoldToken } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import { systemExec } from '../../../platform/exec.ts';
import type { Copy } from '../../../ports/application.ts';
import { wentWell } from './engine.ts';
import { parseFileHeader } from './parse.ts';

const never = new AbortController().signal;
const limits = { limitMs: 60_000 };
const { clock } = testPlatform;

let tokens = 0;
function newToken(): HoldToken {
  tokens += 1;
  const runId = `gtm-verify-${process.pid}-${tokens}`;
  return { runId, workload: 'test', engine: 'gtm', identity: runId };
}

async function database(t: TestContext, options: GtmOptions): Promise<GtmDatabase> {
  const opened = await openGtm(options);
  t.after(() => opened[Symbol.asyncDispose]());
  return opened;
}

interface Taken {
  readonly copy: Copy;
  /** Milliseconds since 1970, before the freeze was called. */
  readonly freezeCalled: number;
}

async function takeCopy(t: TestContext, db: GtmDatabase, held = true): Promise<Taken> {
  const base = await mkdtemp(join(tmpdir(), 'sp-gtm-copy-'));
  t.after(() => rm(base, { recursive: true, force: true }));
  const scratch = join(base, 's');
  const root = join(base, 'f');
  await mkdir(scratch);
  await mkdir(root);
  const located = await db.application().locate(never);
  const session = await db.application().openHold(newToken(), 20_000);
  await session.prepare();
  const freezeCalled = clock.wallMs();
  if (held) assert.equal((await session.freeze()).frozen, true);
  await copyFiles(located, root);
  const thawed = await session.thaw();
  assert.equal(thawed.heldThroughout, held, thawed.said);
  await session.close();
  return {
    copy: { at: (original) => join(root, original), required: located.paths, facts: located.facts, scratch },
    freezeCalled,
  };
}

async function findingsOf(found: AsyncIterable<Finding>): Promise<readonly Finding[]> {
  const all: Finding[] = [];
  for await (const finding of found) all.push(finding);
  return all;
}

function errorsIn(findings: readonly Finding[]): readonly Finding[] {
  return findings.filter((finding) => finding.severity === 'error');
}

/** Shared memory and semaphores that the headers of the living database name. */
async function ipcOf(db: GtmDatabase): Promise<readonly string[]> {
  const names: string[] = [];
  for (const file of db.files) {
    const { text } = await db.gtm.mupip(['dumpfhead', '-file', file], limits);
    for (const kind of ['semid', 'shmid']) {
      const id = new RegExp(`sgmnt_data\\.${kind}"\\)=(-?\\d+)`).exec(text)?.[1] ?? '';
      assert.match(id, /^\d+$/, `${file} is open: it has a ${kind}`);
      const seen = await systemExec.run({
        argv: ['ipcs', kind === 'semid' ? '-s' : '-m', '-i', id],
        timeoutMs: 10_000,
      });
      assert.match(seen.stdout, new RegExp(`(semid|shmid)=${id}\\b`), `${kind} ${id} of ${file} exists`);
      names.push(`${kind}=${id}`);
    }
  }
  return names;
}

describe('gtm: copies', { skip: whyNoGtm() ?? false }, () => {
  for (const freeze of ['plain', 'online'] as const) {
    it(`under load, each copy is whole and has all that was acknowledged before a ${freeze} freeze; the living database is unharmed`, async (t) => {
      const db = await database(t, { regions: 2, freeze });
      const load = await db.load(1);
      for (let round = 0; round < 5; round += 1) {
        const { copy, freezeCalled } = await takeCopy(t, db);
        const before = await ipcOf(db);
        const findings = await findingsOf(db.application().verify(copy, never));
        assert.deepEqual(errorsIn(findings), []);
        assert.deepEqual(
          findings.map((finding) => finding.check),
          ['start', 'start', 'integ', 'integ', 'invariant'],
        );
        assert.match(findings[0]?.said ?? '', /carries the freeze of mupip \d+/);
        const rows = Number((findings.at(-1)?.said.match(/la\(1\)=(\d+)/) ?? [])[1]);
        const promised = (await load.acknowledged()).findLast((each) => each.ms < freezeCalled)?.n ?? 0;
        assert.ok(promised > 0 && rows >= promised, `acknowledged ${promised}, in the copy ${rows}`);
        assert.deepEqual(await ipcOf(db), before, 'the same semaphores and segments');
        // A new process needs the semaphores; the running one would not notice that they are gone.
        const fresh = await db.gtm.xecute('set ^fresh=$get(^fresh)+1,^b("fresh")=1 write ^fresh,!', limits);
        assert.equal(wentWell(fresh) && fresh.stdout.trim(), String(round + 1), fresh.text);
      }
      const count = (await load.acknowledged()).length;
      await clock.sleep(300);
      assert.ok((await load.acknowledged()).length > count, 'the writer goes on');
      const live = await db.gtm.mupip(['integ', '-online', '-region', '*'], limits);
      assert.ok(wentWell(live), live.text);
      await load.stop();
    });
  }

  it('says of a copy that was made without a freeze that it carries none', async (t) => {
    const db = await database(t, { regions: 2, freeze: 'online' });
    const load = await db.load(1);
    const { copy } = await takeCopy(t, db, false);
    // Whether such a copy is whole is luck, and integ cannot see what it lacks: only the header tells.
    const findings = await findingsOf(db.application().verify(copy, never));
    const said = findings.filter((each) => each.check === 'start').map((each) => each.said);
    assert.equal(said.length, 2, JSON.stringify(findings));
    for (const each of said) assert.match(each, /carries no freeze/);
    await load.stop();
  });

  it('does not let a wrong answer or a failing routine pass', async (t) => {
    const db = await database(t, { regions: 1, freeze: 'plain' });
    await db.gtm.xecute('set ^a=1,^b=2', limits);
    const { copy } = await takeCopy(t, db);
    const broken = errorsIn(await findingsOf(db.application().verify(copy, never)));
    assert.match(broken.map((each) => each.said).join(), /did not print "invariant holds" but: a=1 b=2/);
    const missing = db.application({ verify: { routine: 'nolabel^nosuch' } });
    const failed = errorsIn(await findingsOf(missing.verify(copy, never)));
    assert.match(failed.map((each) => each.said).join(), /nolabel\^nosuch failed/);
  });

  it('opens nothing and says so where there are no namespaces', async (t) => {
    const db = await database(t, { regions: 1, freeze: 'plain' });
    const { copy } = await takeCopy(t, db);
    const { gtm } = await import('./application.ts');
    const without = gtm.create(
      gtm.config.parse(db.config),
      'test',
      {
        ...testPlatform,
        exec: {
          ...systemExec,
          run: async (command) =>
            systemExec.run(command.argv[0] === 'unshare' ? { ...command, argv: ['false'] } : command),
        },
      },
      () => Promise.reject(new Error('no secrets')),
    );
    const before = await stat(copy.at(db.files[0] ?? ''));
    const findings = await findingsOf(without.verify(copy, never));
    assert.deepEqual(
      findings.map((finding) => [finding.severity, finding.check]),
      [['error', 'isolation']],
    );
    assert.equal((await stat(copy.at(db.files[0] ?? ''))).mtimeMs, before.mtimeMs);
    await assert.rejects(async () => without.adopt?.(copy), /cannot be made ready/);
  });

  it('makes a restored copy a database of its own, beside the living one', async (t) => {
    for (const freeze of ['plain', 'online'] as const) {
      const db = await database(t, { regions: 2, freeze });
      const load = await db.load(1);
      const { copy } = await takeCopy(t, db);
      const before = await ipcOf(db);
      await db.application().adopt?.(copy);
      const facts: Record<string, string> = JSON.parse(copy.facts['regions'] ?? '{}');
      for (const file of Object.values(facts)) {
        const { text } = await db.gtm.mupip(['dumpfhead', '-file', copy.at(file)], limits);
        const header = parseFileHeader(text);
        assert.deepEqual([header.frozen, header.journaled], [false, true]);
        assert.match(text, /sgmnt_data\.semid"\)=-1/);
        assert.match(text, /sgmnt_data\.shmid"\)=-1/);
        assert.ok(text.includes(`jnl_file_name")="${copy.at(file).replace(/dat$/, 'mjl')}"`), text);
      }
      // An ordinary process on this host, with the copy's global directory and the living environment.
      const own = db.gtm.at({ globalDirectory: copy.at(copy.facts['globalDirectory'] ?? '') });
      const written = await own.xecute('set ^only=1,^b("only")=1 write $data(^la(1)),!', limits);
      assert.ok(wentWell(written), written.text);
      assert.ok(existsSync(copy.at(db.files[0] ?? '').replace(/dat$/, 'mjl')));
      const integ = await own.mupip(['integ', '-region', '*'], limits);
      assert.ok(wentWell(integ), integ.text);
      const live = await db.gtm.xecute('write $data(^only),$data(^b("only")),!', limits);
      assert.equal(live.stdout.trim(), '00', 'the living database has nothing of it');
      assert.deepEqual(await ipcOf(db), before);
      await own.mupip(['rundown', '-region', '*'], limits);
      await load.stop();
    }
  });

  it('makes a copy ready in place, with the journal where it was', async (t) => {
    const db = await database(t, { regions: 2, freeze: 'plain' });
    const writer = await db.writer();
    for (const row of [1, 2, 3]) assert.equal(await writer.write(row), true);
    const { copy } = await takeCopy(t, db);
    for (const row of [4, 5]) assert.equal(await writer.write(row), true);
    await writer.close();
    assert.equal(await db.application().running?.(never), false);
    for (const required of copy.required) {
      await systemExec.check({ argv: ['cp', copy.at(required.path), required.path], timeoutMs: 20_000 });
    }
    const inPlace: Copy = { ...copy, at: (original) => original };
    await db.application().adopt?.(inPlace);
    assert.deepEqual(await rowsOf(db, inPlace), [1, 2, 3]);
    const again = await db.writer();
    assert.equal(await again.write(6), true);
    const { states } = await db.gtm.states(limits, ['DEFAULT', 'SECOND']);
    assert.deepEqual(
      states.map((state) => [state.frozen, state.journal, state.journalFile]),
      ['a', 'b'].map((name) => [undefined, 'on', join(db.directory, `${name}.mjl`)]),
    );
    assert.equal(await db.application().running?.(never), true);
    await again.close();
  });

  it('takes a header that is damaged for an error', async (t) => {
    const db = await database(t, { regions: 1, freeze: 'plain' });
    const { copy } = await takeCopy(t, db);
    const file = await open(copy.at(db.files[0] ?? ''), 'r+');
    await file.write(Buffer.alloc(512, 0x5a), 0, 512, 0);
    await file.close();
    const errors = errorsIn(await findingsOf(db.application().verify(copy, never)));
    assert.ok(errors.some((each) => each.check === 'start'));
  });

  it('takes replication out of a copy of a replica, and touches no journal of the living one', async (t) => {
    const db = await database(t, { regions: 2, freeze: 'online' });
    const replicationInstance = join(db.directory, 'r.repl');
    const pair = db.gtm.at({ replicationInstance });
    const source = ['replicate', '-source'];
    await pair.mupip(['replicate', '-instance_create', '-name=HERE'], limits);
    await pair.mupip(['set', '-region', '*', '-replication=on', '-journal=enable,on,before'], limits);
    const log = `-log=${join(db.directory, 'source.log')}`;
    const server = [...source, '-start', '-passive', '-instsecondary=THERE', '-buffsize=1048576', log];
    const application = db.application({ replicationInstance });
    assert.equal((await application.locate(never)).member.role, 'standalone', 'nobody runs the replication');
    try {
      for (const [side, role] of [
        ['-rootprimary', 'primary'],
        ['-updnotok', 'replica'],
      ] as const) {
        const started = await pair.mupip([...server, side], limits);
        assert.equal((await application.locate(never)).member.role, role, started.text);
        if (role === 'primary') {
          assert.ok(wentWell(await pair.xecute('set ^a=7,^b=7', limits)));
          await pair.mupip([...source, '-shutdown', '-timeout=0'], limits);
        }
      }
      const { copy } = await takeCopy(t, db);
      const names = await readdir(db.directory);
      assert.deepEqual(errorsIn(await findingsOf(application.verify(copy, never))), []);
      await application.adopt?.(copy);
      assert.deepEqual(errorsIn(await findingsOf(application.verify(copy, never))), []);
      assert.deepEqual(await readdir(db.directory), names);
      const { text } = await db.gtm.mupip(['dumpfhead', '-file', copy.at(db.files[0] ?? '')], limits);
      assert.equal(parseFileHeader(text).replicated, false);
    } finally {
      await pair.mupip([...source, '-shutdown', '-timeout=0'], limits);
    }
  });
});
