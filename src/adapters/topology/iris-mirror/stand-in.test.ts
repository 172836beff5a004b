/** The adapter against the stand-in: real processes and sessions, a mirror with state of its own. It is no proof for a real mirror. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { MirrorSet } from '../../../../test/doubles/iris/mirror-set.ts';
import { irisStandIn, type IrisStandIn, whyNoIris } from '../../../../test/doubles/iris/stand-in.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { changeBetween, type ClusterMember, type ClusterView, memberOf, observe } from '../../../model/cluster.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import { systemClock } from '../../../platform/clock.ts';
import { systemExec } from '../../../platform/exec.ts';
import type { HoldOffToken, Topology } from '../../../ports/topology.ts';
import { holdOffScript } from './commands.ts';
import type { Reach } from './config.ts';
import { irisMirror } from './topology.ts';

const skip = whyNoIris() ?? false;
const holderMain = fileURLToPath(new URL('../../../../test/doubles/iris/hold-off-main.ts', import.meta.url));
const never = new AbortController().signal;
const both = { db1: { instance: 'A', member: 'NODEA/A' }, db2: { instance: 'B', member: 'nodeb/b' } };
const all = { ...both, dr: { instance: 'DR', member: 'NODEC/DR' } };

/** A place that is this machine under another name. */
const elsewhere = (standIn: IrisStandIn): Reach => ({
  kind: 'elsewhere',
  config: irisMirror([]).config,
  create: (_, local) => ({ ...local, exec: execOf(standIn) }),
});

function execOf(standIn: IrisStandIn) {
  return { ...systemExec, which: (program: string) => Promise.resolve(join(standIn.bin, program)) };
}

export function topologyFor(standIn: IrisStandIn, instances: object): Topology {
  const module = irisMirror([]);
  const config = module.config.parse({ mirror: 'STAGE', instances });
  return module.create(config, realPlatform('/nonexistent', { exec: execOf(standIn) }), () =>
    Promise.resolve('secret'),
  );
}

async function newStandIn(): Promise<IrisStandIn> {
  return await irisStandIn({
    instances: ['A', 'B', 'DR'].map((name) => ({ name, databases: [{ name: 'IRISSYS' }] })),
    mirrors: [
      {
        name: 'STAGE',
        members: [
          { member: 'NODEA/A', instance: 'A' },
          { member: 'NODEB/B', instance: 'B' },
          { member: 'NODEC/DR', instance: 'DR', type: 'Disaster Recovery' },
        ],
      },
    ],
  });
}

const find = (seen: ClusterView, name: string): ClusterMember => {
  const found = memberOf(seen, name);
  assert.ok(found, `${name} in the view`);
  return found;
};
const state = (seen: ClusterView): readonly string[] =>
  seen.members.map(({ name, role, health }) => [name, role, health].join(' '));

/** How many members have the flag. */
const flagged = (mirror: MirrorSet): number =>
  mirror.members.filter(({ definedPrimary }) => definedPrimary !== '').length;

describe('iris-mirror and the stand-in', { skip, timeout: 300_000 }, () => {
  let standIn: IrisStandIn;
  let fresh: MirrorSet;
  let runs = 0;
  const topology = (instances: object = both): Topology => topologyFor(standIn, instances);
  const see = (instances: object = both): Promise<ClusterView> => topology(instances).view(never);
  const token = (): HoldOffToken => ({
    manager: 'iris-mirror',
    cluster: 'STAGE',
    runId: `r${(runs += 1)}`,
    identity: `stillpoint-r${runs}`,
  });
  const letGo = (held: HoldOffToken): Promise<void> => topology().letGo?.(held) ?? Promise.reject(new Error('no way'));
  const script = async (instance: string, ...lines: readonly string[]) =>
    (await standIn.run('iris', ['session', instance, '-U%SYS'], { stdin: `${[...lines, 'halt'].join('\n')}\n` }))
      .stdout;
  const start = (instance: string) => standIn.run('iris', ['start', instance]);
  /** Starts are told by the second. */
  const nextSecond = () => systemClock.sleep(1100);

  before(async () => {
    standIn = await newStandIn();
    fresh = standIn.mirror('STAGE');
  });
  after(async () => {
    await standIn[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    for (const name of ['A', 'B', 'DR']) {
      standIn.faults(name, {});
      if (standIn.instance(name).status !== 'running') await start(name);
    }
    standIn.changeMirror('STAGE', (mirror) => Object.assign(mirror, structuredClone(fresh)));
    for (const name of ['A', 'B', 'DR']) {
      await script(name, 'kill ^ZSTILLPOINT');
      rmSync(join(standIn.instance(name).manager, 'messages.log'), { force: true });
    }
  });

  it('sees a mirror that is well from every set of members', async () => {
    for (const instances of [both, all, { db1: both.db1 }, { db2: both.db2 }]) {
      const seen = await see(instances);
      assert.deepEqual(
        [...state(seen)].map((each) => each.replace(/^\S+ /, '')).sort(),
        ['async healthy', 'backup healthy', 'primary healthy'],
        JSON.stringify(instances),
      );
      assert.equal(seen.quorum.health, 'healthy');
      assert.equal(seen.failover.detectionMs, 8000);
    }
    const none = [...(await see(all)).members].flatMap(({ findings }) =>
      findings.filter(({ severity }) => severity === 'error'),
    );
    assert.deepEqual(none, []);
  });

  it('sees a member through a reach, as a user of its own, and with a login', async () => {
    const module = irisMirror([elsewhere(standIn)]);
    const settings = {
      mirror: 'STAGE',
      instances: { db1: { ...both.db1, reach: { elsewhere: { mirror: 'X', instances: { a: { instance: 'A' } } } } } },
    };
    const broken = { ...systemExec, which: () => Promise.resolve(undefined) };
    const reached = module.create(module.config.parse(settings), realPlatform('/nonexistent', { exec: broken }), () =>
      Promise.reject(new Error('none')),
    );
    assert.equal(find(await reached.view(never), 'db1').role, 'primary');
    const here = module.create(
      module.config.parse({ mirror: 'STAGE', instances: both }),
      realPlatform('/nonexistent', { exec: broken }),
      () => Promise.reject(new Error('none')),
    );
    await assert.rejects(here.view(never), { code: 'cluster-unknown', message: /neither iris nor ccontrol/ });

    await using guarded = await irisStandIn({
      instances: [
        {
          name: 'A',
          login: { user: 'backup', password: 'secret' },
          version: '2015.2.2.805.0.16216',
          databases: [{ name: 'IRISSYS' }],
        },
      ],
      mirrors: [{ name: 'STAGE', members: [{ member: 'A', instance: 'A' }] }],
    });
    const login = { user: 'backup', password: { env: 'X' } };
    const seen = await topologyFor(guarded, { A: { instance: 'A', login, command: 'ccontrol' } }).view(never);
    assert.equal(find(seen, 'A').role, 'primary');
    await assert.rejects(topologyFor(guarded, { A: { instance: 'A', command: 'ccontrol' } }).view(never), {
      code: 'database-login',
    });
  });

  it('sees each state of the backup, and refuses a backup of the primary meanwhile', async () => {
    const cases: readonly (readonly [string, (mirror: MirrorSet) => void, string])[] = [
      ['catchup', (mirror) => Object.assign(mirror.members[1] ?? {}, { status: 'Catchup' }), 'backup trouble'],
      ['transition', (mirror) => Object.assign(mirror.members[1] ?? {}, { state: 'TRANSITION' }), 'unknown trouble'],
      [
        'synchronizing',
        (mirror) => Object.assign(mirror.members[1] ?? {}, { state: 'SYNCHRONIZING' }),
        'unknown trouble',
      ],
      ['waiting', (mirror) => Object.assign(mirror.members[1] ?? {}, { state: 'WAITING' }), 'unknown trouble'],
      ['stopped', (mirror) => Object.assign(mirror.members[1] ?? {}, { state: 'STOPPED' }), 'unknown trouble'],
      ['crashed', (mirror) => Object.assign(mirror.members[1] ?? {}, { state: 'CRASHED' }), 'unknown trouble'],
    ];
    for (const [what, change, expected] of cases) {
      standIn.changeMirror('STAGE', (mirror) => Object.assign(mirror, structuredClone(fresh)));
      standIn.changeMirror('STAGE', change);
      const seen = await see();
      assert.equal(`${find(seen, 'db2').role} ${find(seen, 'db2').health}`, expected, what);
      assert.equal(failoverMargin(seen, 'db1', { stunMs: 10, holdMs: 0 }).allowed, false, what);
      assert.equal(seen.quorum.health, 'unknown', what);
    }
  });

  it('sees a primary in trouble, lags, a lost arbiter, sick databases, a stopped dejournaling', async () => {
    standIn.changeMirror('STAGE', ({ members: [a, b, dr], ...mirror }) => {
      assert.ok(a && b && dr && mirror.arbiter);
      a.detail = 'Trouble';
      b.applySeconds = 7;
      b.databases = [{ name: 'APP', status: 'Dejournaling Stopped' }];
      b.missing = ['ORDERS'];
      dr.transferSeconds = 90;
      dr.dejournal = 'shut down';
      mirror.arbiter.up = false;
    });
    const seen = await see(all);
    assert.equal(find(seen, 'db1').health, 'trouble');
    assert.deepEqual(find(seen, 'db2').apply, { ms: 7000, caughtUp: undefined });
    assert.deepEqual(find(seen, 'dr').transfer, { ms: 90_000, caughtUp: undefined });
    assert.equal(seen.quorum.health, 'unknown');
    assert.match(seen.quorum.said, /not in arbiter controlled mode/);
    const errors = (name: string) =>
      find(seen, name)
        .findings.filter(({ severity }) => severity === 'error')
        .map(({ check }) => check);
    assert.deepEqual(errors('db2'), ['databases', 'missing']);
    assert.deepEqual(errors('dr'), ['dejournal']);
  });

  it('changes roles and epoch with a failover, and again with the way back', async () => {
    const first = await see();
    await nextSecond();
    standIn.crash('A');
    const second = await see();
    assert.deepEqual(state(second).slice(0, 2), ['db1 unknown down', 'db2 primary healthy']);
    assert.match(
      changeBetween(observe(first, 'db2'), observe(second, 'db2')) ?? '',
      /epoch was .* role of db2 was backup/,
    );
    assert.deepEqual(
      find(second, 'db2').findings.map(({ check }) => check),
      ['takeover'],
    );
    await start('A');
    assert.deepEqual(state(await see()).slice(0, 2), ['db1 backup healthy', 'db2 primary healthy']);
    await nextSecond();
    assert.equal((await standIn.run('iris', ['stop', 'B', 'quietly'])).exitCode, 0);
    await start('B');
    const third = await see();
    assert.deepEqual(state(third).slice(0, 2), ['db1 primary healthy', 'db2 backup healthy']);
    assert.equal(new Set([first.epoch, second.epoch, third.epoch]).size, 3, 'db1 is primary in another term');
    const alone = { db2: both.db2 };
    assert.notEqual(
      (await see(alone)).epoch,
      (
        await topologyFor(standIn, alone)
          .view(never)
          .then(() => first)
      ).epoch,
    );
  });

  it('keeps its epoch while nobody fails over: a journal switch and a restarted backup are no failover', async () => {
    const first = await see();
    await script('A', 'do ##class(%SYS.Journal.System).SwitchFile()');
    await nextSecond();
    await standIn.run('iris', ['stop', 'B', 'quietly']);
    await start('B');
    assert.equal((await see()).epoch, first.epoch);
  });

  it('asks in English, and calls nobody healthy where that has no effect', async () => {
    for (const language of ['ja', 'zh'] as const) {
      standIn.changeMirror('STAGE', (mirror) => Object.assign(mirror, { language, speaksEnglish: true }));
      assert.deepEqual(state(await see()), ['db1 primary healthy', 'db2 backup healthy', 'NODEC/DR async healthy']);
      standIn.changeMirror('STAGE', (mirror) => Object.assign(mirror, { speaksEnglish: false }));
      const seen = await see();
      assert.deepEqual(
        state(seen),
        ['db1 primary unknown', 'db2 backup unknown', 'NODEC/DR unknown unknown'],
        language,
      );
      assert.deepEqual(find(seen, 'db2').apply, { ms: 0, caughtUp: true }, 'seconds have no language');
      assert.equal(find(seen, 'NODEC/DR').apply?.caughtUp, undefined);
    }
  });

  it('is not taken in by sessions that hang, say garbage, stop in the middle or are refused', async () => {
    const cases: readonly (readonly [Parameters<IrisStandIn['faults']>[1], string, RegExp])[] = [
      [{ sessionSays: '\u0000\u0007SP:\u0001=?\nSPAM\n' }, 'backup unknown', /no answers/],
      [{ sessionSays: 'SP:end=\n' }, 'backup unknown', /ended in the middle/],
      [{ sessionSays: 'SP:end=x\n' }, 'backup unknown', /ended in the middle/],
      [{ sessionEndsBefore: 'SP:row=2' }, 'backup unknown', /ended in the middle/],
      [{ sessionEndsBefore: 'SP:end' }, 'backup unknown', /ended in the middle/],
      [{ accessDenied: true }, 'backup unknown', /refused/],
      [{ licenceExceeded: true }, 'backup unknown', /licence/],
      [{ loginHangs: true }, 'backup unknown', /did not end in time/],
      [{ qlistHangs: true }, 'backup healthy', /BACKUP/],
    ];
    for (const [faults, expected, said] of cases) {
      standIn.faults('B', faults);
      const { role, health, reported } = find(await see(), 'db2');
      assert.equal(`${role} ${health}`, expected, JSON.stringify(faults));
      assert.match(reported, said);
      standIn.faults('B', {});
    }
    for (const [faults, code] of [
      [{ accessDenied: true }, 'database-login'],
      [{ sessionSays: 'hello' }, 'cluster-unknown'],
    ] as const) {
      for (const name of ['A', 'B']) standIn.faults(name, faults);
      await assert.rejects(see(), { code });
    }
  });

  it('stops asking when it is cancelled', async () => {
    standIn.faults('B', { loginHangs: true });
    const stop = new AbortController();
    const seen = topology().view(stop.signal);
    setTimeout(() => stop.abort(new Error('enough')), 300);
    await assert.rejects(seen, /enough/);
  });

  describe('holding off failover', () => {
    it('is proved at both members, shows in a view, stops a failover, and ends', async () => {
      const [mirror, ours] = [topology(), token()];
      assert.deepEqual(mirror.holdOffToken?.(ours.runId, await mirror.view(never)), ours);
      await mirror.holdOff?.(ours, never);
      assert.equal(flagged(standIn.mirror('STAGE')), 2);
      const held = await mirror.view(never);
      assert.equal(held.failover.heldOff, true);
      assert.equal(failoverMargin(held, 'db1', { stunMs: 60_000, holdMs: 0 }).allowed, true);
      await mirror.holdOff?.(ours, never);
      await letGo(ours);
      assert.equal(flagged(standIn.mirror('STAGE')), 0);
      assert.equal((await mirror.view(never)).failover.heldOff, false);
      await letGo(ours);
      for (const name of ['A', 'B'])
        assert.match(await script(name, 'write "left=",$data(^ZSTILLPOINT("holdoff")),!'), /left=0/);
    });

    it('is refused where somebody else does it, and leaves theirs alone', async () => {
      await script('B', 'do ##class(SYS.Mirror).SetNoFailover("STAGE")');
      const ours = token();
      await assert.rejects(topology().holdOff?.(ours, never) ?? Promise.resolve(), { code: 'role-unsuitable' });
      await letGo(ours);
      assert.equal(flagged(standIn.mirror('STAGE')), 2);
      assert.equal((await see()).failover.heldOff, true);
    });

    it('leaves theirs alone also when ours ended by a restart of the primary', async () => {
      const ours = token();
      await topology().holdOff?.(ours, never);
      await nextSecond();
      await standIn.run('iris', ['stop', 'A', 'quietly']);
      assert.notEqual(find(await see(), 'db2').role, 'primary', 'nobody takes over');
      await start('A');
      assert.equal(flagged(standIn.mirror('STAGE')), 0, 'the engine clears it');
      await script('A', 'do ##class(SYS.Mirror).SetNoFailover("STAGE")');
      await letGo(ours);
      assert.equal(flagged(standIn.mirror('STAGE')), 2);
      assert.match(await script('A', 'write "left=",$data(^ZSTILLPOINT("holdoff")),!'), /left=0/);
    });

    it('ends at the backup when the primary has died meanwhile, which then takes over', async () => {
      const ours = token();
      await topology().holdOff?.(ours, never);
      standIn.crash('A');
      assert.deepEqual(
        state(await see()).slice(0, 2),
        ['db1 unknown down', 'db2 unknown trouble'],
        'nobody takes over',
      );
      await letGo(ours);
      assert.equal(standIn.mirror('STAGE').members[1]?.definedPrimary, '');
      assert.equal(find(await see(), 'db2').role, 'primary');
    });

    it('is not proved to have ended while the primary cannot be asked, or refuses', async () => {
      const ours = token();
      await topology().holdOff?.(ours, never);
      standIn.faults('A', { accessDenied: true });
      await assert.rejects(letGo(ours), { code: 'undo-failed', message: /db1/ });
      standIn.faults('A', {});
      await letGo(ours);
      const again = token();
      await topology().holdOff?.(again, never);
      for (const name of ['A', 'B']) standIn.faults(name, { clearNoFailover: 'fails' });
      await assert.rejects(letGo(again), {
        code: 'undo-failed',
        message: /Failed to clear/,
      });
      assert.equal(flagged(standIn.mirror('STAGE')), 2);
      for (const name of ['A', 'B']) standIn.faults(name, {});
      await letGo(again);
      assert.equal(flagged(standIn.mirror('STAGE')), 0);
    });

    it('needs a primary, an answer of each failover member, and the engine’s own word', async () => {
      const begin = (instances: object = both) => topology(instances).holdOff?.(token(), never) ?? Promise.resolve();
      await assert.rejects(begin({ dr: all.dr }), { code: 'role-unsuitable' });
      standIn.faults('A', { setNoFailover: 'fails' });
      await assert.rejects(begin(), { code: 'command-failed', message: /Failed to set no failover/ });
      standIn.faults('A', {});
      standIn.faults('B', { accessDenied: true });
      await assert.rejects(begin(), { code: 'cluster-unknown', message: /db2/ });
      standIn.faults('B', {});
      standIn.changeMirror('STAGE', ({ members }) => Object.assign(members[0] ?? {}, { state: 'TRANSITION' }));
      await assert.rejects(begin(), { code: 'role-unsuitable', message: /no primary/ });
      assert.equal(flagged(standIn.mirror('STAGE')), 0);
    });

    const startHolder = (ours: HoldOffToken) => {
      const child = spawn(process.execPath, [holderMain, standIn.root, JSON.stringify(both), JSON.stringify(ours)], {
        stdio: 'ignore',
      });
      return { child, ended: once(child, 'exit') };
    };
    const until = async (what: string, isSo: () => Promise<boolean>) => {
      for (let tries = 0; !(await isSo()); tries += 1) {
        assert.ok(tries < 200, what);
        await systemClock.sleep(100);
      }
    };
    const markedAs = async ({ identity }: HoldOffToken) =>
      (await script('A', 'write "mark=",$get(^ZSTILLPOINT("holdoff","STAGE")),!')).includes(
        `mark=${identity}|db1|since`,
      );
    const isFlagged = (): Promise<boolean> => Promise.resolve(flagged(standIn.mirror('STAGE')) === 2);

    it('is undone by another process when ours is killed, however far the engine has come', async () => {
      for (const when of ['hangs before', 'hangs after'] as const) {
        const ours = token();
        standIn.faults('A', { setNoFailover: when });
        const { child, ended } = startHolder(ours);
        try {
          await until('the mark is set', () => markedAs(ours));
          if (when === 'hangs after') await until('the flag is set', isFlagged);
        } finally {
          child.kill('SIGKILL');
          await ended;
        }
        // The session of the killed process is still at work, and may yet set the flag.
        await assert.rejects(letGo(ours), { code: 'undo-failed', message: /another session is at work/ });
        standIn.faults('A', {});
        await until('the flag is set by nobody’s session', isFlagged);
        await letGo(ours);
        assert.equal(flagged(standIn.mirror('STAGE')), 0);
        assert.match(await script('A', 'write "left=",$data(^ZSTILLPOINT("holdoff")),!'), /left=0/);
        assert.equal((await see()).failover.heldOff, false);
      }
    });

    it('is not begun by a session that comes too late, or after it was let go', async () => {
      const ours = token();
      const request = { mirror: 'STAGE', identity: ours.identity, mark: `${ours.identity}|db1|x`, untilS: 9e12 };
      await script('A', ...holdOffScript({ ...request, untilS: 1 }, 'x'));
      assert.equal(flagged(standIn.mirror('STAGE')), 0, 'too late by the clock of the instance');
      await letGo(ours);
      await script('A', ...holdOffScript(request, 'x'));
      assert.equal(flagged(standIn.mirror('STAGE')), 0, 'let go before');
      await script('A', ...holdOffScript({ ...request, identity: 'other', mark: 'other|db1|x' }, 'x'));
      assert.equal(flagged(standIn.mirror('STAGE')), 2);
    });
  });
});
