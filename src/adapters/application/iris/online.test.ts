/** The engine's own backup against the stand-in: a real M database is backed up and restored, the words around it are those of the manuals. */
import assert from 'node:assert/strict';
import { createWriteStream } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, it, type TestContext } from 'node:test';
import {
  type InstanceOptions,
  type IrisOptions,
  irisStandIn,
  type IrisStandIn,
  whyNoIris,
} from '../../../../test/doubles/iris/stand-in.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { codeOf } from '../../../model/errors.ts';
import type { Marks } from '../../../model/journal.ts';
import type { Level } from '../../../model/point.ts';
import { systemClock } from '../../../platform/clock.ts';
import { type Command, type Exec, systemExec } from '../../../platform/exec.ts';
import type { Application, Copy } from '../../../ports/application.ts';
import type { AppliedLevel, OnlineAnswer, OnlineBackup, OnlineRun } from '../../../ports/online.ts';
import { docker } from '../../host/docker/host.ts';
import { localHost } from '../../host/local/host.ts';
import { iris } from './application.ts';
import { irisConfig } from './config.ts';

const never = new AbortController().signal;
const skip = whyNoIris() ?? false;

interface Stage {
  readonly standIn: IrisStandIn;
  readonly application: Application;
  readonly online: OnlineBackup;
  /** Where the engine writes. */
  readonly place: string;
  readonly other: (config: object, exec?: Exec) => OnlineBackup;
}

async function directory(t: TestContext): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'sp-iris-online-'));
  await chmod(made, 0o755);
  t.after(() => rm(made, { recursive: true, force: true }));
  return made;
}

/** Its commands stand at the front of the search path of this one program only: the tests here run one after the other. */
async function stage(
  t: TestContext,
  names: readonly string[] = ['ONE'],
  besides: { readonly instance?: Partial<InstanceOptions>; readonly containers?: IrisOptions['containers'] } = {},
): Promise<Stage> {
  const standIn = await irisStandIn({
    instances: [
      ...names.map((name) => ({ name, ...besides.instance })),
      { name: 'VERIFY', databases: [{ name: 'IRISSYS' }] },
    ],
    containers: besides.containers ?? [],
  });
  const before = process.env['PATH'] ?? '';
  process.env['PATH'] = `${standIn.bin}:${standIn.containerBin}:${before}`;
  t.after(async () => {
    process.env['PATH'] = before;
    await standIn[Symbol.asyncDispose]();
  });
  const place = await directory(t);
  const config = { instances: names, verify: { instance: 'VERIFY' }, backupDirectory: place };
  const make = (more: object, exec: Exec = systemExec): Application =>
    iris.create(irisConfig.parse({ ...config, ...more }), 'orders', realPlatform('/nonexistent', { exec }), () =>
      Promise.reject(new Error('no secrets here')),
    );
  const application = make({});
  const onlineOf = (from: Application): OnlineBackup => {
    assert.ok(from.online !== undefined);
    return from.online;
  };
  return {
    standIn,
    application,
    online: onlineOf(application),
    place,
    other: (more, exec) => onlineOf(make(more, exec)),
  };
}

interface Taken extends AppliedLevel {
  readonly answer: OnlineAnswer;
}

async function take(
  t: TestContext,
  { online, place }: Pick<Stage, 'online' | 'place'>,
  level: Level,
  since?: Marks,
): Promise<Taken> {
  const into = await directory(t);
  const streams = new Map<string, string>();
  let answer: OnlineAnswer;
  {
    await using run = await online.start({ level, since, scratch: into, signal: never });
    for (const stream of run.streams) {
      assert.match(stream.name, /^[A-Za-z0-9._-]+$/);
      const at = join(into, stream.name);
      await pipeline(stream.open(), createWriteStream(at));
      streams.set(stream.name, at);
    }
    answer = await run.finish();
  }
  assert.deepEqual(await readdir(place), [], 'the engine left a file behind');
  return { level: answer.made, streams, answer };
}

/** As the judge will: finished, and exactly on top of what is below. */
function fits(taken: Taken, below?: Taken): void {
  const { finished, said, from, to, made } = taken.answer;
  assert.ok(finished, said);
  if (made !== 'full') assert.deepEqual(from, below?.answer.to);
  assert.ok(Object.keys(to).length > 0);
}

async function write({ standIn }: Stage, instance = 'ONE', ms = 150): Promise<number> {
  const writer = await standIn.startWriter(instance);
  await systemClock.sleep(ms);
  return await writer.stop();
}

async function newCopy(t: TestContext, { application }: Stage): Promise<Copy> {
  const at = await directory(t);
  const { paths, facts } = await application.locate(never);
  for (const { path } of paths) await mkdir(dirname(join(at, path)), { recursive: true });
  return { at: (original) => join(at, original), required: paths, facts, scratch: await directory(t) };
}

async function restored(
  t: TestContext,
  from: Stage,
  levels: readonly AppliedLevel[],
  instance = 'ONE',
): Promise<number> {
  const copy = await newCopy(t, from);
  for (const level of levels) await from.online.apply(level, copy, never);
  return await rowsOf(from, copy, instance);
}

/** The rows of a copy, after the adapter's own drill has found nothing wrong with it. */
async function rowsOf({ application, standIn }: Stage, copy: Copy, instance = 'ONE'): Promise<number> {
  for await (const finding of application.verify(copy, never)) assert.notEqual(finding.severity, 'error', finding.said);
  const { last, gapless } = standIn.rows(copy.at(standIn.database(instance, 'USER').directory));
  assert.ok(gapless, 'a row is missing');
  return last;
}

async function refused(work: Promise<unknown>, code: string, says: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof Error);
    assert.equal(codeOf(error), code, error.message);
    assert.match(error.message, says);
    return true;
  });
}

/** Somebody else's backup, by the engine's own command. */
async function foreign({ standIn }: Stage, type: 'F' | 'C' | 'I', instance = 'ONE'): Promise<void> {
  const file = join(standIn.root, `foreign-${type}-${systemClock.monoMs()}.cbk`);
  const line = `set x=$$BACKUP^DBACK("","${type}","nightly","${file}","Y","","QUIET","N","Y") write "SP:x=",x,!`;
  const done = await standIn.run('iris', ['session', instance, '-U%SYS'], { stdin: `${line}\nhalt\n` });
  assert.match(done.stdout, /SP:x=1/);
}

describe("iris: the engine's own backup", { skip }, () => {
  it('makes levels that go on top of each other, and no acknowledged row is lost in them', async (t) => {
    const s = await stage(t);
    const ends = [await write(s)];
    const full = await take(t, s, 'full');
    ends.push(await write(s));
    const first = await take(t, s, 'incremental', full.answer.to);
    ends.push(await write(s));
    const cumulative = await take(t, s, 'cumulative', full.answer.to);
    ends.push(await write(s));
    const second = await take(t, s, 'incremental', cumulative.answer.to);
    fits(full);
    fits(first, full);
    fits(cumulative, full);
    fits(second, cumulative);
    assert.deepEqual(
      [full, first, cumulative, second].map(({ answer }) => answer.made),
      ['full', 'incremental', 'cumulative', 'incremental'],
    );
    const { starts, spans, began, ended } = second.answer;
    assert.equal(starts[0]?.part, 'ONE');
    assert.match(starts[0]?.file ?? '', /^\d{8}\.\d{3}$/);
    assert.match(starts[0]?.position ?? '', /^\d+$/);
    assert.equal(spans.length, 1);
    assert.ok(ended.monoMs > began.monoMs);
    assert.equal(await restored(t, s, [full]), ends[0]);
    assert.equal(await restored(t, s, [full, first]), ends[1]);
    assert.equal(await restored(t, s, [full, cumulative, second]), ends[3]);
    await refused(restored(t, s, [full, second]), 'level-misfit', /goes on the backup of/);
    await refused(restored(t, s, [first]), 'level-misfit', /nothing that a incremental|nothing that/);
  });
});

describe('iris: what the engine does not say is not believed', { skip }, () => {
  it("makes the larger level after somebody else's incremental or cumulative, and says why", async (t) => {
    for (const type of ['I', 'C'] as const) {
      const s = await stage(t);
      await write(s);
      const full = await take(t, s, 'full');
      await write(s);
      await foreign(s, type);
      const end = await write(s);
      const taken = await take(t, s, 'incremental', full.answer.to);
      fits(taken, full);
      assert.equal(taken.answer.made, 'cumulative');
      assert.match(taken.answer.why ?? '', /ONE: the engine's last backup is not the one .*"nightly"/);
      assert.equal(await restored(t, s, [full, taken]), end, 'what the foreign one took is in it');
    }
  });

  it("refuses after somebody else's full, and after cleared bitmaps", async (t) => {
    const s = await stage(t);
    const full = await take(t, s, 'full');
    await foreign(s, 'F');
    for (const level of ['incremental', 'cumulative'] as const) {
      await refused(take(t, s, level, full.answer.to), 'level-misfit', /not that of this chain: it is "nightly"/);
    }
    const next = await take(t, s, 'full');
    await s.standIn.run('iris', ['session', 'ONE', '-U%SYS'], { stdin: 'do CLRINC^DBACK("QUIET")\nhalt\n' });
    await refused(take(t, s, 'incremental', next.answer.to), 'level-misfit', /it knows of none/);
    await refused(take(t, s, 'incremental'), 'level-misfit', /nothing that/);
    await refused(take(t, s, 'incremental', { TWO: 'x' }), 'level-misfit', /nothing of ONE/);
    await refused(take(t, s, 'incremental', { ONE: '0x1' }), 'level-misfit', /no mark/);
    assert.deepEqual(await readdir(s.place), []);
  });

  it('does not go on top of a backup of its own that never became a point', async (t) => {
    const s = await stage(t);
    await write(s);
    const full = await take(t, s, 'full');
    await write(s);
    // The engine has made it and cleared its bitmaps; the repository, say, was full.
    await take(t, s, 'incremental', full.answer.to);
    const end = await write(s);
    const taken = await take(t, s, 'incremental', full.answer.to);
    assert.equal(taken.answer.made, 'cumulative');
    fits(taken, full);
    assert.equal(await restored(t, s, [full, taken]), end);
  });

  it('takes a cumulative where the history cannot be read', async (t) => {
    const s = await stage(t);
    const full = await take(t, s, 'full');
    s.standIn.faults('ONE', { noHistory: true });
    const taken = await take(t, s, 'incremental', full.answer.to);
    fits(taken, full);
    assert.deepEqual([taken.answer.made, /history/.test(taken.answer.why ?? '')], ['cumulative', true]);
  });

  it('notices a backup that comes between its question and its own', async (t) => {
    const s = await stage(t);
    const full = await take(t, s, 'full');
    let once = false;
    const online = s.other(
      {},
      {
        ...systemExec,
        async run(command: Command) {
          if (!once && command.stdin?.toString().includes('$$INT^DBSIZE') === true) {
            once = true;
            await foreign(s, 'I');
          }
          return await systemExec.run(command);
        },
      },
    );
    const taken = await take(t, { ...s, online }, 'incremental', full.answer.to);
    assert.ok(once);
    assert.equal(taken.answer.made, 'incremental');
    assert.notDeepEqual(taken.answer.from, full.answer.to);
    assert.match(taken.answer.from['ONE'] ?? '', /^unproven: .*(nightly|names as the backup before it)/);
  });

  it('says when the engine made a full of it: new database, flag of the bitmap', async (t) => {
    const s = await stage(t);
    const full = await take(t, s, 'full');
    s.standIn.change('ONE', (instance) => {
      instance.backup.noBackup = [s.standIn.database('ONE', 'USER').directory];
    });
    const flagged = await take(t, s, 'incremental', full.answer.to);
    fits(flagged);
    assert.equal(flagged.answer.made, 'full');
    assert.match(
      flagged.answer.why ?? '',
      /made a full of the incremental: the bitmap of \S+\/user\/ cannot be used \(GFNOBACKUP\)/,
    );
    const end = await write(s);
    s.standIn.change('ONE', (instance) => {
      delete instance.backup.full[s.standIn.database('ONE', 'USER').directory];
    });
    const added = await take(t, s, 'cumulative', flagged.answer.to);
    assert.equal(added.answer.made, 'full');
    assert.match(added.answer.why ?? '', /new in its list/);
    fits(added);
    assert.equal(await restored(t, s, [added]), end, 'and it stands alone');
    const next = await take(t, s, 'incremental', added.answer.to);
    fits(next, added);
    assert.equal(next.answer.made, 'incremental');
  });

  it('does not count a backup as finished that left a database out, lacks an end mark, or returned with a warning', async (t) => {
    const s = await stage(t);
    s.standIn.change('ONE', (instance) => {
      for (const each of instance.databases) if (each.name === 'USER') each.readOnly = true;
    });
    const readOnly = await take(t, s, 'full');
    assert.equal(readOnly.answer.finished, false);
    assert.match(readOnly.answer.said, /could not be backed up.*it lacks USER/);
    s.standIn.change('ONE', (instance) => {
      for (const each of instance.databases) if (each.name === 'USER') each.readOnly = false;
    });
    for (const lacks of ['***FINISHED BACKUP***', 'Global references are enabled.', 'Backup complete.']) {
      s.standIn.faults('ONE', { backupLogLacks: lacks });
      const taken = await take(t, s, 'full');
      assert.equal(taken.answer.finished, false, lacks);
      assert.match(taken.answer.said, /lacks an end mark/);
    }
    s.standIn.faults('ONE', { backupSays: '1,/x/ (Database is readonly)' });
    const warned = await take(t, s, 'full');
    assert.equal(warned.answer.finished, false);
    assert.match(warned.answer.said, /did not return 1/);
    for (const says of ['0', '', '7']) {
      s.standIn.faults('ONE', { backupSays: says });
      await refused(take(t, s, 'full'), 'command-failed', /not whole/);
      assert.deepEqual(await readdir(s.place), []);
    }
  });

  it('refuses a list without a database that recovery needs, no place, a remote one and a full one', async (t) => {
    const s = await stage(t);
    await write(s);
    const disk = (answers: Readonly<Record<string, string>>): Exec => ({
      ...systemExec,
      async run(command: Command) {
        const said = answers[command.argv[0]];
        const done = await systemExec.run(said === undefined ? command : { ...command, argv: ['true'] });
        return said === undefined ? done : { ...done, stdout: said };
      },
    });
    for (const kind of ['nfs4', 'cifs', 'fuse.sshfs', 'ceph']) {
      const online = s.other({}, disk({ findmnt: `${kind}\n` }));
      await refused(take(t, { ...s, online }, 'full'), 'volume-unsafe', new RegExp(`type ${kind}`));
    }
    const old = s.other({}, disk({ findmnt: '', stat: 'nfs\n' }));
    await refused(take(t, { ...s, online: old }, 'full'), 'volume-unsafe', /type nfs/);
    const small = s.other({}, disk({ df: 'Avail\n1000\n' }));
    await refused(take(t, { ...s, online: small }, 'full'), 'space-short', /1000 free/);
    const nowhere = s.other({ backupDirectory: undefined });
    await refused(take(t, { ...s, online: nowhere }, 'full'), 'method-unsupported', /no place/);
    const absent = s.other({ backupDirectory: join(s.place, 'no', 'such') });
    await refused(take(t, { ...s, online: absent }, 'full'), 'io', /cannot be made/);
    s.standIn.change('ONE', (instance) => {
      for (const each of instance.databases) if (each.name === 'USER') each.inBackupList = false;
    });
    await refused(take(t, s, 'full'), 'path-outside-group', /lacks USER/);
    const without = await take(t, { ...s, online: s.other({ exclude: ['USER'] }) }, 'full');
    assert.ok(without.answer.finished, without.answer.said);
    assert.deepEqual(await readdir(s.place), []);
  });
});

describe('iris: several instances, and a place that is read from afar', { skip }, () => {
  it('keeps the chains of both, and mixes levels only upwards', async (t) => {
    const s = await stage(t, ['ONE', 'TWO']);
    await write(s, 'TWO');
    const full = await take(t, s, 'full');
    assert.deepEqual([...full.streams.keys()], ['ONE.cbk', 'TWO.cbk']);
    await foreign(s, 'I', 'TWO');
    const end = await write(s, 'TWO');
    const mixed = await take(t, s, 'incremental', full.answer.to);
    fits(mixed, full);
    assert.equal(mixed.answer.made, 'cumulative');
    assert.match(mixed.answer.why ?? '', /^TWO: /);
    s.standIn.change('TWO', (instance) => {
      instance.backup.noBackup = [s.standIn.database('TWO', 'USER').directory];
    });
    const half = await take(t, s, 'incremental', mixed.answer.to);
    fits(half, mixed);
    assert.equal(half.answer.made, 'cumulative', 'no full: the other instance has none');
    assert.equal(await restored(t, s, [full, mixed, half], 'TWO'), end);
  });

  it('reads files in pieces where they cannot be seen from here', async (t) => {
    const s = await stage(t);
    const end = await write(s);
    const platform = realPlatform('/nonexistent');
    const far = iris.create(
      irisConfig.parse({ instances: ['ONE'], backupDirectory: s.place }),
      'orders',
      {
        ...platform,
        host: {
          ...platform.host,
          pathHere: async (path) => (path.startsWith(s.place) ? undefined : platform.host.pathHere(path)),
        },
      },
      () => Promise.reject(new Error('no secrets here')),
    );
    assert.ok(far.online !== undefined);
    const full = await take(t, { ...s, online: far.online }, 'full');
    assert.equal(await restored(t, s, [full]), end);
  });
});

describe('iris: in a container', { skip }, () => {
  it('backs up into a place that only the container has, and is aborted there', async (t) => {
    const data = await directory(t);
    const s = await stage(t, ['ONE'], {
      instance: { directory: data },
      containers: [{ name: 'box', running: true, mounts: [{ source: data, destination: data }] }],
    });
    const host = docker.create(docker.config.parse({ container: 'box' }), localHost(systemExec));
    const inside = iris.create(
      irisConfig.parse({ instances: ['ONE'], backupDirectory: s.place }),
      'orders',
      realPlatform('/nonexistent', { host, exec: host.exec }),
      () => Promise.reject(new Error('no secrets here')),
    );
    assert.ok(inside.online !== undefined);
    const there = { ...s, online: inside.online };
    const ends = [await write(s)];
    const full = await take(t, there, 'full');
    ends.push(await write(s));
    const next = await take(t, there, 'incremental', full.answer.to);
    fits(next, full);
    assert.equal(next.answer.made, 'incremental');
    assert.equal(await restored(t, s, [full]), ends[0]);
    assert.equal(await restored(t, s, [full, next]), ends[1]);
    s.standIn.faults('ONE', { backupHangs: true });
    {
      await using run = await inside.online.start({ level: 'full', since: undefined, scratch: s.place, signal: never });
      assert.equal(run.streams.length, 1);
      await eventually(() => s.standIn.instance('ONE').backup.running);
    }
    assert.deepEqual(await readdir(s.place), []);
    const { running, aborting } = s.standIn.instance('ONE').backup;
    assert.deepEqual([running, aborting], [false, false]);
  });
});

describe('iris: a backup that is cut off', { skip }, () => {
  it('is aborted by the engine, leaves nothing and harms no later one', async (t) => {
    const s = await stage(t);
    const full = await take(t, s, 'full');
    s.standIn.faults('ONE', { backupHangs: true });
    const cancel = new AbortController();
    let run: OnlineRun | undefined;
    {
      await using begun = await s.online.start({
        level: 'incremental',
        since: full.answer.to,
        scratch: s.place,
        signal: cancel.signal,
      });
      run = begun;
      const reading = pipeline(streamOf(begun), async (source) => {
        for await (const _ of source) assert.fail('something was read');
      });
      await eventually(() => s.standIn.instance('ONE').backup.running);
      cancel.abort();
      await assert.rejects(reading);
      await assert.rejects(begun.finish());
    }
    assert.deepEqual(await readdir(s.place), []);
    assert.ok(run !== undefined);
    const { running, aborting } = s.standIn.instance('ONE').backup;
    assert.deepEqual([running, aborting], [false, false]);
    s.standIn.faults('ONE', {});
    const next = await take(t, s, 'incremental', full.answer.to);
    fits(next, full);
    assert.equal(next.answer.made, 'incremental');
  });

  it('never looks whole when its session is killed, and what a dead run left goes with the next', async (t) => {
    const s = await stage(t);
    s.standIn.faults('ONE', { backupHangs: true });
    const pids: number[] = [];
    const online = s.other({}, systemExec);
    {
      await using run = await online.start({ level: 'full', since: undefined, scratch: s.place, signal: never });
      const reading = assert.rejects(
        pipeline(streamOf(run), async (source) => {
          for await (const _ of source) assert.fail('something was read');
        }),
        /not whole/,
      );
      await eventually(() => s.standIn.instance('ONE').backup.running);
      pids.push(...(await sessionsOf(s)));
      assert.equal(pids.length, 1);
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      await reading;
    }
    assert.deepEqual(await readdir(s.place), []);
    s.standIn.faults('ONE', {});
    s.standIn.change('ONE', (instance) => {
      instance.backup.running = false;
    });
    const stale = join(s.place, 'stillpoint-orders-00000000-0000-4000-8000-000000000000');
    const others = join(s.place, 'stillpoint-others-00000000-0000-4000-8000-000000000000');
    await mkdir(stale);
    await mkdir(others);
    {
      await using run = await s.online.start({ level: 'full', since: undefined, scratch: s.place, signal: never });
      for (const stream of run.streams) await pipeline(stream.open(), createWriteStream('/dev/null'));
      assert.ok((await run.finish()).finished);
    }
    assert.deepEqual(await readdir(s.place), ['stillpoint-others-00000000-0000-4000-8000-000000000000']);
  });

  it('is not begun while another is being aborted', async (t) => {
    const s = await stage(t);
    s.standIn.change('ONE', (instance) => {
      instance.backup.aborting = true;
    });
    await refused(take(t, s, 'full'), 'workload-busy', /being aborted/);
  });
});

describe('iris: a live copy, closed by an incremental', { skip }, () => {
  const copyLive = async (t: TestContext, s: Stage): Promise<Copy> => {
    const copy = await newCopy(t, s);
    for (const { path, leftOut } of copy.required) {
      const out = new Set(leftOut.map(({ relative }) => join(path, relative)));
      await cp(path, copy.at(path), { recursive: true, filter: (source) => !out.has(source) });
    }
    return copy;
  };

  it('loses no row that was acknowledged before the end', async (t) => {
    const s = await stage(t);
    const online = s.other({ maySpoilHistory: true });
    assert.ok(online.mark !== undefined);
    await write(s);
    const marks = await online.mark(never);
    assert.deepEqual(await readdir(s.place), []);
    await write(s);
    const writer = await s.standIn.startWriter('ONE');
    const copy = await copyLive(t, s);
    await systemClock.sleep(100);
    const end = await writer.stop();
    const closing = await take(t, { ...s, online }, 'incremental', marks);
    assert.ok(closing.answer.finished, closing.answer.said);
    assert.equal(closing.answer.made, 'incremental');
    assert.deepEqual(closing.answer.from, marks);
    await online.apply({ ...closing, dirtySince: marks }, copy, never);
    assert.equal(await rowsOf(s, copy), end);
    await refused(take(t, { ...s, online }, 'incremental', marks), 'level-misfit', /cannot be closed/);
  });

  it('is not begun without leave, nor closed after anybody else made a backup or cleared the bitmaps', async (t) => {
    const s = await stage(t);
    assert.ok(s.online.mark !== undefined);
    await take(t, s, 'full');
    const { length } = s.standIn.instance('ONE').history;
    await refused(s.online.mark(never), 'method-unsupported', /history of backups/);
    assert.equal(s.standIn.instance('ONE').history.length, length, 'nothing was cleared');
    const online = s.other({ maySpoilHistory: true });
    for (const between of ['I', 'F', 'clear'] as const) {
      const marks = await online.mark?.(never);
      if (between === 'clear') {
        await s.standIn.run('iris', ['session', 'ONE', '-U%SYS'], { stdin: 'do CLRINC^DBACK("QUIET")\nhalt\n' });
      } else await foreign(s, between);
      await refused(take(t, { ...s, online }, 'incremental', marks), 'level-misfit', /cannot be closed/);
    }
    s.standIn.change('ONE', (instance) => {
      for (const each of instance.databases) if (each.name === 'USER') each.inBackupList = false;
    });
    await refused(online.mark?.(never) ?? Promise.resolve(), 'path-outside-group', /lacks USER/);
  });
});

describe("iris: restoring the engine's own backup", { skip }, () => {
  it('believes nothing but databases that are named, mounted and sound', async (t) => {
    const s = await stage(t);
    await write(s);
    const full = await take(t, s, 'full');
    for (const says of ['1', '', '-5', '0']) {
      s.standIn.faults('VERIFY', { restoreSays: says });
      await refused(restored(t, s, [full]), 'level-misfit', /VERIFY did not restore ONE/);
    }
    s.standIn.faults('VERIFY', {});
    const nobody = s.other({ verify: undefined });
    const copy = await newCopy(t, s);
    await refused(nobody.apply(full, copy, never), 'method-unsupported', /none is configured/);
    await refused(s.online.apply({ ...full, streams: new Map() }, copy, never), 'level-misfit', /nothing of ONE/);
    const junk = join(await directory(t), 'ONE.cbk');
    await pipeline(['x'.repeat(9000)], createWriteStream(junk));
    await refused(
      s.online.apply({ level: 'full', streams: new Map([['ONE.cbk', junk]]) }, copy, never),
      'level-misfit',
      /no label/,
    );
    const live = s.other({ verify: { instance: 'ONE' } });
    await refused(live.apply(full, copy, never), 'engine-running', /backed up itself/);
  });
});

function streamOf(run: OnlineRun): Readable {
  const [first] = run.streams;
  assert.ok(first !== undefined);
  return first.open();
}

async function eventually(condition: () => boolean): Promise<void> {
  for (let waited = 0; !condition(); waited += 50) {
    assert.ok(waited < 20_000, 'it did not come to that');
    await systemClock.sleep(50);
  }
}

/** Processes of the stand-in's sessions of its instances. */
async function sessionsOf({ standIn }: Stage): Promise<readonly number[]> {
  const found: number[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const words = command.split('\0');
    if (words.includes(standIn.root) && words.includes('session')) found.push(Number(pid));
  }
  return found;
}
