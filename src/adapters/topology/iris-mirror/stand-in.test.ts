/** The adapter against the stand-in: real processes and sessions, a mirror with state of its own. It is no proof for a real mirror. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import {
  all,
  both,
  execOf,
  MirrorBench,
  mirrorName,
  never,
  topologyFor,
} from '../../../../test/doubles/iris/mirror-bench.ts';
import type { MirrorSet } from '../../../../test/doubles/iris/mirror-set.ts';
import { irisStandIn, type IrisStandIn, whyNoIris } from '../../../../test/doubles/iris/stand-in.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { changeBetween, type ClusterMember, type ClusterView, memberOf, observe } from '../../../model/cluster.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import { systemClock } from '../../../platform/clock.ts';
import { systemExec } from '../../../platform/exec.ts';
import type { Reach } from './config.ts';
import { irisMirror } from './topology.ts';

const skip = whyNoIris() ?? false;

/** A place that is this machine under another name. */
const elsewhere = (standIn: IrisStandIn): Reach => ({
  kind: 'elsewhere',
  config: irisMirror([]).config,
  create: (_, local) => ({ ...local, exec: execOf(standIn) }),
});

const find = (seen: ClusterView, name: string): ClusterMember => {
  const found = memberOf(seen, name);
  assert.ok(found, `${name} in the view`);
  return found;
};
const state = (seen: ClusterView): readonly string[] =>
  seen.members.map(({ name, role, health }) => [name, role, health].join(' '));

describe('iris-mirror and the stand-in: views', { skip, timeout: 300_000 }, () => {
  let bench: MirrorBench;

  before(async () => {
    bench = await MirrorBench.start();
  });
  after(async () => {
    await bench[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    await bench.reset();
  });

  it('sees a mirror that is well from every set of members', async () => {
    for (const instances of [both, all, { db1: both.db1 }, { db2: both.db2 }]) {
      const seen = await bench.see(instances);
      assert.deepEqual(
        [...state(seen)].map((each) => each.replace(/^\S+ /, '')).sort(),
        ['async healthy', 'backup healthy', 'primary healthy'],
        JSON.stringify(instances),
      );
      assert.equal(seen.quorum.health, 'healthy');
      assert.equal(seen.failover.detectionMs, 8000);
    }
    const none = [...(await bench.see(all)).members].flatMap(({ findings }) =>
      findings.filter(({ severity }) => severity === 'error'),
    );
    assert.deepEqual(none, []);
  });

  it('sees a member through a reach, as a user of its own, and with a login', async () => {
    const module = irisMirror([elsewhere(bench.standIn)]);
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
      bench.mirrorAsNew();
      bench.standIn.changeMirror(mirrorName, change);
      const seen = await bench.see();
      assert.equal(`${find(seen, 'db2').role} ${find(seen, 'db2').health}`, expected, what);
      assert.equal(failoverMargin(seen, 'db1', { stunMs: 10, holdMs: 0 }).allowed, false, what);
      assert.equal(seen.quorum.health, 'unknown', what);
    }
  });

  it('sees a primary in trouble, lags, a lost arbiter, sick databases, a stopped dejournaling', async () => {
    bench.standIn.changeMirror(mirrorName, ({ members: [a, b, dr], ...mirror }) => {
      assert.ok(a && b && dr && mirror.arbiter);
      a.detail = 'Trouble';
      b.applySeconds = 7;
      b.databases = [{ name: 'APP', status: 'Dejournaling Stopped' }];
      b.missing = ['ORDERS'];
      dr.transferSeconds = 90;
      dr.dejournal = 'shut down';
      mirror.arbiter.up = false;
    });
    const seen = await bench.see(all);
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
    const alone = { db2: both.db2 };
    const seenAlone = [(await bench.see(alone)).epoch];
    const first = await bench.see();
    await systemClock.sleep(1100);
    bench.standIn.crash('A');
    const second = await bench.see();
    seenAlone.push((await bench.see(alone)).epoch);
    assert.deepEqual(state(second).slice(0, 2), ['db1 unknown down', 'db2 primary healthy']);
    assert.match(
      changeBetween(observe(first, 'db2'), observe(second, 'db2')) ?? '',
      /epoch was .* role of db2 was backup/,
    );
    assert.deepEqual(
      find(second, 'db2').findings.map(({ check }) => check),
      ['takeover'],
    );
    await bench.start('A');
    assert.deepEqual(state(await bench.see()).slice(0, 2), ['db1 backup healthy', 'db2 primary healthy']);
    await systemClock.sleep(1100);
    await bench.stop('B');
    await bench.start('B');
    const third = await bench.see();
    assert.deepEqual(state(third).slice(0, 2), ['db1 primary healthy', 'db2 backup healthy']);
    assert.equal(new Set([first.epoch, second.epoch, third.epoch]).size, 3, 'db1 is primary in another term');
    seenAlone.push((await bench.see(alone)).epoch);
    assert.equal(new Set(seenAlone).size, 3, 'as db2 alone tells');
  });

  it('keeps its epoch while nobody fails over: a journal switch and a restarted backup are no failover', async () => {
    const first = await bench.see();
    await bench.script('A', 'do ##class(%SYS.Journal.System).SwitchFile()');
    await systemClock.sleep(1100);
    await bench.stop('B');
    await bench.start('B');
    assert.equal((await bench.see()).epoch, first.epoch);
  });

  it('asks in English, and calls nobody healthy where that has no effect', async () => {
    for (const language of ['ja', 'zh'] as const) {
      bench.standIn.changeMirror(mirrorName, (mirror) => Object.assign(mirror, { language, speaksEnglish: true }));
      assert.deepEqual(state(await bench.see()), [
        'db1 primary healthy',
        'db2 backup healthy',
        'NODEC/DR async healthy',
      ]);
      bench.standIn.changeMirror(mirrorName, (mirror) => Object.assign(mirror, { speaksEnglish: false }));
      const seen = await bench.see();
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
      bench.standIn.faults('B', faults);
      const { role, health, reported } = find(await bench.see(), 'db2');
      assert.equal(`${role} ${health}`, expected, JSON.stringify(faults));
      assert.match(reported, said);
      bench.standIn.faults('B', {});
    }
    for (const [faults, code] of [
      [{ accessDenied: true }, 'database-login'],
      [{ sessionSays: 'hello' }, 'cluster-unknown'],
    ] as const) {
      for (const name of ['A', 'B']) bench.standIn.faults(name, faults);
      await assert.rejects(bench.see(), { code });
    }
  });

  it('stops asking when it is cancelled', async () => {
    bench.standIn.faults('B', { loginHangs: true });
    const stop = new AbortController();
    const seen = bench.topology().view(stop.signal);
    setTimeout(() => stop.abort(new Error('enough')), 300);
    await assert.rejects(seen, /enough/);
  });
});
