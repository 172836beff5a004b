/** The adapter against the stand-in: real processes, real files, a real M database below. It is no proof for a real IRIS. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import {
  applicationContract,
  type ContractSubject,
  copyFiles,
  startHolder,
} from '../../../../test/contract/application.ts';
import { Gtm } from '../../../../test/doubles/iris/gtm.ts';
import {
  type InstanceOptions,
  irisStandIn,
  type IrisStandIn,
  whyNoIris,
} from '../../../../test/doubles/iris/stand-in.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import type { HoldToken } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import type { Exec } from '../../../platform/exec.ts';
import type { Application } from '../../../ports/application.ts';
import type { PlacedJournal } from '../../../ports/journals.ts';
import { iris } from './application.ts';
import { irisConfig } from './config.ts';

const never = new AbortController().signal;
let tokens = 0;

function newToken(): HoldToken {
  tokens += 1;
  const runId = `standin-${process.pid}-${tokens}`;
  return { runId, workload: 'w', engine: 'iris', identity: `stillpoint:${runId}` };
}

/** The programs are found by the search path, as on a real machine; the holder of the contract inherits it. */
function useCommandsOf(standIn: IrisStandIn): void {
  process.env['PATH'] = [standIn.bin, ...(process.env['PATH'] ?? '').split(delimiter)].join(delimiter);
}

function forget(standIn: IrisStandIn): void {
  const left = (process.env['PATH'] ?? '').split(delimiter).filter((each) => each !== standIn.bin);
  process.env['PATH'] = left.join(delimiter);
}

function applicationFor(config: object): Application {
  return iris.create(irisConfig.parse(config), 'w', realPlatform('/nonexistent'), () =>
    Promise.reject(new Error('no secrets here')),
  );
}

async function findingsOf(found: AsyncIterable<Finding> | undefined): Promise<readonly Finding[]> {
  const all: Finding[] = [];
  for await (const finding of found ?? []) all.push(finding);
  return all;
}

async function contractSubject(live: InstanceOptions): Promise<ContractSubject> {
  const standIn = await irisStandIn({ instances: [live, { name: 'VERIFY', databases: [{ name: 'IRISSYS' }] }] });
  useCommandsOf(standIn);
  const gtm = new Gtm(standIn.root);
  const config = {
    instances: [live.name],
    command: (live.version ?? '').startsWith('2015') ? 'ccontrol' : 'iris',
    verify: { instance: 'VERIFY' },
    // The old release has no such argument, and says so in its class dictionary.
    requireSuspendLimit: live.version === undefined,
  };
  const { directory } = standIn.database(live.name, 'USER');
  return {
    application: () => applicationFor(config),
    elsewhere: { module: import.meta.resolve('./application.ts'), exportName: 'iris', config },
    write: async (row) => gtm.execute(directory, `set ^t(${row})=$justify("",500)`).code === 0,
    async read(copy) {
      const at = copy.at(directory);
      assert.equal(gtm.adopt(at).code, 0);
      const { text } = gtm.execute(at, 'set n="" for  set n=$order(^t(n)) quit:n=""  write n,!');
      return text.split('\n').flatMap((line) => (/^\d+$/.test(line) ? [Number(line)] : []));
    },
    async damage(copy) {
      const names = await readdir(copy.at(directory));
      const data = names.find((name) => name.endsWith('.DAT')) ?? '';
      const file = await open(join(copy.at(directory), data), 'r+');
      const { size } = await file.stat();
      // The header stays whole: a file that is no database any more would be too easy.
      const zeros = Buffer.alloc(4096 * 8, 0xa5);
      for (let at = Math.floor(size / 40960) * 4096; at + zeros.length < size; at += zeros.length * 2) {
        await file.write(zeros, 0, zeros.length, at);
      }
      await file.close();
    },
    async [Symbol.asyncDispose]() {
      forget(standIn);
      await standIn[Symbol.asyncDispose]();
    },
  };
}

applicationContract('IRIS, stand-in', async () => whyNoIris() ?? contractSubject({ name: 'IRIS' }));
applicationContract(
  'Caché, stand-in',
  async () => whyNoIris() ?? contractSubject({ name: 'H20152', version: '2015.2.2.805.0', product: 'Cache' }),
);

describe('iris: against the stand-in', () => {
  const why = whyNoIris();
  let standIn: IrisStandIn | undefined;

  before(async () => {
    if (why !== undefined) return;
    standIn = await irisStandIn({ instances: [{ name: 'ONE' }, { name: 'TWO', secondMs: 200 }] });
    useCommandsOf(standIn);
  });
  after(async () => {
    if (standIn === undefined) return;
    forget(standIn);
    await standIn[Symbol.asyncDispose]();
  });

  const test = (title: string, run: (stand: IrisStandIn, t: TestContext) => Promise<void>): void => {
    it(title, async (t) => {
      if (standIn === undefined) return t.skip(why ?? 'the stand-in was not started');
      await run(standIn, t);
      for (const name of ['ONE', 'TWO']) {
        standIn.faults(name, {});
        assert.equal(standIn.instance(name).freeze, undefined, `${name} is left frozen`);
      }
      return undefined;
    });
  };

  const elsewhere = (config: object = {}) => ({
    elsewhere: { module: import.meta.resolve('./application.ts'), exportName: 'iris', config },
  });

  test('two instances are frozen in one hold, with the journal where rolling forward begins, and no file is left', async (stand) => {
    const application = applicationFor({});
    const session = await application.openHold(newToken(), 20_000);
    await session.prepare();
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, true, frozen.said);
    assert.deepEqual(
      frozen.starts?.map(({ part, position }) => [part, /^\d+$/.test(position)]),
      [
        ['ONE', true],
        ['TWO', true],
      ],
    );
    assert.equal((await session.ask()).frozen, true);
    assert.equal((await session.observe()).role, 'standalone');
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, true], thawed.said);
    await session.close();
    for (const name of ['ONE', 'TWO']) {
      const names = await readdir(stand.instance(name).manager);
      assert.deepEqual(
        names.filter((each) => each.startsWith('stillpoint-')),
        [],
      );
    }
  });

  test('the second of two fails to freeze, and the first is thawed at once', async (stand) => {
    stand.faults('TWO', { freezeFails: true });
    const session = await applicationFor({}).openHold(newToken(), 20_000);
    await session.prepare();
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, false);
    assert.equal(stand.instance('ONE').freeze, undefined);
    assert.equal((await session.thaw()).thawed, true);
    await session.close();
  });

  test('a freeze that took effect and never came back is ended and thawed within the budget', async (stand) => {
    stand.faults('ONE', { freezeHangs: true });
    const session = await applicationFor({ instances: ['ONE'] }).openHold(newToken(), 3_000);
    await session.prepare();
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, false);
    assert.equal(stand.instance('ONE').freeze, undefined, frozen.said);
    await session.close();
  });

  test('nobody can log in any more: the thaw works all the same', async (stand) => {
    const token = newToken();
    const holder = await startHolder(elsewhere({ instances: ['ONE'] }), token);
    assert.equal((await holder.freeze()).frozen, true);
    stand.faults('ONE', { loginHangs: true });
    assert.equal((await holder.ask()).frozen, false, 'no answer is no hold');
    const thawed = await holder.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, true], thawed.said);
    stand.faults('ONE', {});
    await holder.close();
  });

  test('the holder is killed while nobody can log in: another process thaws, and cannot claim more than it knows', async (stand) => {
    const token = newToken();
    const holder = await startHolder(elsewhere({ instances: ['ONE'] }), token);
    assert.equal((await holder.freeze()).frozen, true);
    stand.faults('ONE', { loginHangs: true });
    await holder.kill();
    assert.equal((await applicationFor({ instances: ['ONE'] }).status(token)).state, 'unknown');
    const thawed = await applicationFor({ instances: ['ONE'] }).thaw(token);
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
  });

  test('a thaw that fails twice is followed by stat -W', async (stand) => {
    const session = await applicationFor({ instances: ['ONE'] }).openHold(newToken(), 20_000);
    await session.prepare();
    assert.equal((await session.freeze()).frozen, true);
    stand.faults('ONE', { thawFails: 9 });
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
    assert.match(thawed.said, /stat -W/);
    await session.close();
  });

  test('a thaw that hangs is given up, and stat -W resumes the system', async (stand) => {
    const session = await applicationFor({ instances: ['ONE'] }).openHold(newToken(), 20_000);
    await session.prepare();
    assert.equal((await session.freeze()).frozen, true);
    stand.faults('ONE', { thawHangs: true });
    const thawed = await session.thaw();
    assert.equal(thawed.thawed, true, thawed.said);
    assert.equal(stand.instance('ONE').freeze, undefined);
    await session.close();
  });

  test('WDSuspendLimit ends a hold whose owner and guard are gone, and the thaw knows that it was not held', async (stand) => {
    const config = { instances: ['TWO'], wdSuspendLimit: '10s' };
    const session = await applicationFor(config).openHold(newToken(), 60_000);
    await session.prepare();
    assert.equal((await session.freeze()).frozen, true);
    // A second of this instance has 200 ms.
    for (let waited = 0; stand.instance('TWO').freeze !== undefined; waited += 100) {
      assert.ok(waited < 20_000, 'the limit does not fire');
      await realPlatform('/nonexistent').clock.sleep(100);
    }
    assert.equal((await session.ask()).frozen, false);
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
    await session.close();
  });

  it('refuses a release that has no limit inside the engine', async (t) => {
    if (why !== undefined) return t.skip(why);
    await using old = await irisStandIn({ instances: [{ name: 'OLD', version: '2015.2.2.805.0', product: 'Cache' }] });
    useCommandsOf(old);
    try {
      const session = await applicationFor({ instances: ['OLD'], command: 'ccontrol' }).openHold(newToken(), 20_000);
      await assert.rejects(session.prepare(), /no WDSuspendLimit/);
    } finally {
      forget(old);
    }
    return undefined;
  });

  test('somebody else’s freeze is refused, and stays', async (stand) => {
    const freeze = '##Class(Backup.General).ExternalFreeze()';
    assert.equal((await stand.run('iris', ['session', 'ONE', '-U%SYS', freeze])).exitCode, 5);
    const session = await applicationFor({}).openHold(newToken(), 20_000);
    await assert.rejects(session.prepare(), { code: 'workload-busy' });
    await session.close();
    assert.notEqual(stand.instance('ONE').freeze, undefined);
    assert.equal((await applicationFor({}).thaw(newToken())).thawed, false, 'an alarm, not a thaw');
    assert.notEqual(stand.instance('ONE').freeze, undefined);
    const thaw = '##Class(Backup.General).ExternalThaw()';
    assert.equal((await stand.run('iris', ['session', 'ONE', '-U%SYS', thaw])).exitCode, 5);
  });

  test('refuses a login that is asked for, an exceeded licence, and a member that has not caught up', async (stand) => {
    const refused = async (): Promise<void> => {
      const session = await applicationFor({ instances: ['ONE'] }).openHold(newToken(), 20_000);
      await assert.rejects(session.prepare(), (error: { code?: string }) =>
        /^(?:database|role)-/.test(error.code ?? ''),
      );
      await session.close();
    };
    for (const faults of [{ licenceExceeded: true }, { accessDenied: true }]) {
      stand.faults('ONE', faults);
      await refused();
    }
    stand.faults('ONE', {});
    const mirror = {
      name: 'M',
      memberType: 'Failover',
      status: 'BACKUP',
      memberStatus: 'Backup',
      members: [],
      noFailover: false,
    };
    stand.change('ONE', (instance) => {
      instance.mirror = { ...mirror, failoverReady: { ready: false, reason: 'Dejournaling is stopped' } };
    });
    await refused();
    stand.change('ONE', (instance) => {
      instance.mirror = {
        ...mirror,
        status: 'TRANSITION',
        memberStatus: 'Transition',
        failoverReady: { ready: true, reason: '' },
      };
    });
    await assert.rejects(applicationFor({ instances: ['ONE'] }).locate(never), { code: 'role-unsuitable' });
    stand.change('ONE', (instance) => {
      instance.mirror = undefined;
    });
  });

  test('check, events, estimate and confirm', async (stand) => {
    const application = applicationFor({ instances: ['ONE'] });
    const beganMs = Date.now();
    const findings = await findingsOf(application.check?.(never));
    assert.deepEqual(
      findings.filter((finding) => finding.severity === 'error'),
      [],
    );
    const session = await application.openHold(newToken(), 20_000);
    await session.prepare();
    await session.freeze();
    await session.thaw();
    await session.close();
    const events = await application.events?.(beganMs - 1000, Date.now() + 1000, never);
    assert.ok(events?.some(({ text }) => text.includes('System suspended')));
    assert.deepEqual(await application.events?.(0, 1000, never), []);
    const sizes = await application.estimate?.({}, never);
    assert.deepEqual(sizes?.map(({ level }) => level).toSorted(), ['cumulative', 'full', 'incremental']);
    const known = stand.instance('ONE').history.length;
    await application.confirm?.({ id: 'p1', cutAt: '2026-01-01T00:00:00Z' });
    assert.equal(stand.instance('ONE').history.length, known + 1);
  });

  test('freezes and thaws inside a container: no file of the instance is read from here', async () => {
    await using container = await irisStandIn({
      instances: [{ name: 'IRIS' }],
      containers: [{ name: 'box', running: true, mounts: [] }],
    });
    const platform = realPlatform('/nonexistent');
    const reach = (argv: readonly string[]): [string, ...string[]] => [
      container.command('docker'),
      'exec',
      '-i',
      'box',
      ...argv,
    ];
    const seen: string[] = [];
    const exec: Exec = {
      ...platform.exec,
      run: async (command) => {
        seen.push(command.argv[0]);
        return platform.exec.run({ ...command, argv: reach(command.argv) });
      },
      which: async (program) => (program === 'iris' ? 'iris' : undefined),
    };
    const inside = iris.create(irisConfig.parse({}), 'w', { ...platform, exec }, () =>
      Promise.reject(new Error('none')),
    );
    const located = await inside.locate(never);
    assert.ok(located.paths.length > 0);
    const token = newToken();
    const session = await inside.openHold(token, 20_000);
    await session.prepare();
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, true, frozen.said);
    assert.equal((await inside.status(token)).state, 'frozen');
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, true], thawed.said);
    await session.close();
    assert.ok(seen.includes('cat') && seen.includes('iris'));
  });

  test('a cold hold stops the instance, proves it, and starts it again', async (stand) => {
    const token: HoldToken = { ...newToken(), way: 'stop' };
    const application = applicationFor({ instances: ['TWO'] });
    assert.equal((await application.status(token)).state, 'thawed');
    const session = await application.openStop?.(token, 60_000);
    assert.ok(session !== undefined);
    await session.prepare();
    const member = await session.observe();
    const stopped = await session.freeze();
    assert.equal(stopped.frozen, true, stopped.said);
    assert.equal(stand.instance('TWO').status, 'down');
    const files = stand.instance('TWO').journal.files;
    assert.deepEqual(stopped.starts, [{ part: 'TWO', file: files.at(-1)?.name, position: '' }]);
    assert.equal((await session.ask()).frozen, true);
    assert.deepEqual(await session.observe(), member);
    assert.equal((await application.status(token)).state, 'frozen');
    const started = await session.thaw();
    assert.deepEqual([started.thawed, started.heldThroughout], [true, true], started.said);
    assert.equal(stand.instance('TWO').status, 'running');
    assert.equal((await session.ask()).frozen, false);
    await session.close();
    assert.equal((await application.status(token)).state, 'thawed');
  });

  test('an instance that a dead run stopped is started by its token; one that somebody stopped on purpose is not', async (stand) => {
    const token: HoldToken = { ...newToken(), way: 'stop' };
    const session = await applicationFor({}).openStop?.(token, 60_000);
    await session?.prepare();
    assert.equal((await session?.freeze())?.frozen, true);
    const stranger = applicationFor({});
    for (let turn = 0; turn < 3; turn += 1) {
      if ((await stranger.thaw(token)).thawed) break;
    }
    assert.deepEqual(
      ['ONE', 'TWO'].map((name) => stand.instance(name).status),
      ['running', 'running'],
    );
    assert.equal((await stand.run('iris', ['stop', 'TWO', 'quietly'])).exitCode, 0);
    assert.equal((await stranger.thaw(token)).thawed, true);
    assert.equal(stand.instance('TWO').status, 'down', 'the run is over');
    await stand.run('iris', ['start', 'TWO', 'quietly']);
  });

  it('rolls a copy forward through shipped journals, and no row is lost', async (t) => {
    if (why !== undefined) return t.skip(why);
    await using stand = await irisStandIn({
      instances: [{ name: 'IRIS' }, { name: 'VERIFY', databases: [{ name: 'IRISSYS' }] }],
    });
    useCommandsOf(stand);
    const base = await mkdtemp(join(tmpdir(), 'sp-roll-'));
    t.after(() => rm(base, { recursive: true, force: true }));
    try {
      const gtm = new Gtm(stand.root);
      const { directory } = stand.database('IRIS', 'USER');
      const write = (row: number): void => void gtm.execute(directory, `set ^t(${row})=${row}`);
      const application = applicationFor({ instances: ['IRIS'], verify: { instance: 'VERIFY' } });
      const { journals } = application;
      assert.ok(journals !== undefined);
      for (let row = 1; row <= 5; row += 1) write(row);
      const located = await application.locate(never);
      const session = await application.openHold(newToken(), 20_000);
      await session.prepare();
      const frozen = await session.freeze();
      assert.equal(frozen.frozen, true, frozen.said);
      await copyFiles(located, join(base, 'files'));
      await session.thaw();
      await session.close();
      const start = frozen.starts?.[0];
      for (let row = 6; row <= 9; row += 1) write(row);
      await journals.switch(never);
      write(10);
      const files = await journals.list(never);
      assert.equal(files.at(-1)?.end, undefined, 'the current one has no end');
      const closed = files.filter((file) => file.end !== undefined);
      for (const [i, file] of closed.entries()) if (i > 0) assert.equal(closed[i - 1]?.end, file.begin);
      const from = closed.findIndex((file) => file.name === start?.file);
      assert.ok(from !== -1, 'the freeze names a file of the list');
      const needed = await journals.needed(never);
      assert.ok(needed.some(({ name }) => name === files.at(-1)?.name));
      const current = files.at(-1);
      if (current !== undefined) await assert.rejects(journals.remove(current), /is not removed/);
      const placed: PlacedJournal[] = [];
      for (const file of closed.slice(from)) {
        await mkdir(join(base, file.name));
        const at = join(base, file.name, file.name);
        await copyFile(file.path, at);
        placed.push({ file, at });
      }
      const copy = {
        at: (original: string) => join(base, 'files', original),
        required: located.paths,
        facts: located.facts,
        scratch: base,
      };
      await assert.rejects(journals.rollForward(copy, placed, { kind: 'time', at: '2026-01-01T00:00:00Z' }, never), {
        code: 'method-unsupported',
      });
      const findings = await journals.rollForward(copy, placed, { kind: 'latest' }, never);
      assert.equal(findings[0]?.severity, 'info');
      const at = copy.at(directory);
      assert.equal(gtm.adopt(at).code, 0);
      const { text } = gtm.execute(at, 'set n="" for  set n=$order(^t(n)) quit:n=""  write n,!');
      assert.deepEqual(
        text.split('\n').filter((line) => /^\d+$/.test(line)),
        ['1', '2', '3', '4', '5', '6', '7', '8', '9'],
      );
    } finally {
      forget(stand);
    }
    return undefined;
  });

  test('the primary of a mirror is not stopped', async (stand) => {
    const mirror = {
      name: 'M',
      memberType: 'Failover',
      status: 'PRIMARY',
      memberStatus: 'Primary',
      members: [],
      noFailover: false,
    };
    stand.change('ONE', (instance) => {
      instance.mirror = { ...mirror, failoverReady: { ready: true, reason: '' } };
    });
    const session = await applicationFor({ instances: ['ONE'] }).openStop?.({ ...newToken(), way: 'stop' }, 60_000);
    await assert.rejects(session?.prepare() ?? Promise.resolve(), { code: 'role-unsuitable' });
    stand.change('ONE', (instance) => {
      instance.mirror = undefined;
    });
    assert.equal(stand.instance('ONE').status, 'running');
  });

  test('finds the instances of the machine', async () => {
    const found = await iris.discover?.(realPlatform('/nonexistent'), never);
    assert.deepEqual(
      found?.map(({ name, config }) => [name, config]),
      [
        ['one', { instances: ['ONE'] }],
        ['two', { instances: ['TWO'] }],
      ],
    );
  });
});
