/**
 * Whole backups of a member of a cluster that fails over, or could: no false point, nothing left behind, and failover never stays held
 * off. Guard and flow run in this process; everything but the engine and the cluster's manager is real.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { backup } from '../../src/flows/backup.ts';
import { freezeByHand, thawByHand } from '../../src/flows/by-hand.ts';
import type { Cluster } from '../../src/flows/cluster.ts';
import type { Workload } from '../../src/flows/environment.ts';
import { mirrorStatus, watchMirror } from '../../src/flows/mirror.ts';
import { restore } from '../../src/flows/restore.ts';
import { recover } from '../../src/flows/recover.ts';
import { check, planBackup } from '../../src/flows/survey.ts';
import type { AlarmEvent } from '../../src/model/cluster-alarms.ts';
import { StillpointError } from '../../src/model/errors.ts';
import { restoreAsIs } from '../../src/model/recovery.ts';
import { member, MemoryTopology } from '../doubles/memory-topology.ts';
import { changed, endProcess, never, scene, type Scene, type SceneOptions } from './toy-scene.ts';

const request = { level: undefined, signal: never } as const;

interface ClusterScene extends AsyncDisposable {
  readonly stage: Scene;
  readonly topology: MemoryTopology;
  readonly workload: Workload;
}

async function clustered(
  change: Partial<Omit<Cluster, 'topology' | 'members'>> = {},
  options: SceneOptions = {},
  at: (transition: string, topology: MemoryTopology) => void = () => undefined,
): Promise<ClusterScene> {
  const topology = new MemoryTopology();
  const stage = await scene({
    ...options,
    at: (transition) => {
      at(transition, topology);
      return Promise.resolve();
    },
  });
  const { workload } = stage;
  const members = new Map(['alpha', 'beta'].map((name) => [name, { ...workload, member: name }]));
  const cluster: Cluster = {
    ...{
      topology,
      topologySpec: { kind: 'memory', config: {} },
      policy: 'prefer-standby',
      maxLagMs: 10_000,
      stunMs: 0,
      holdOff: false,
      members,
    },
    ...change,
  };
  return {
    stage,
    topology,
    workload: { ...workload, cluster },
    [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose](),
  };
}

const codeIs = (code: string, said: RegExp) => (error: unknown) => {
  assert.ok(error instanceof StillpointError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, said);
  return true;
};

describe('a backup of a cluster', () => {
  it('goes to the standby, tells why not to the others, and notes the cluster at each look', async () => {
    await using at = await clustered();
    const { evidence, point } = await backup(at.workload, at.stage.environment, request);
    assert.equal(point.verdict, 'application-consistent');
    const { cluster, hold } = evidence;
    assert.equal(cluster?.chosen.member, 'beta');
    assert.deepEqual(
      cluster.seen.map(({ when, seen }) => [when, seen.member, seen.role, seen.epoch]),
      [
        ['cut', 'beta', 'backup', '1'],
        ['record', 'beta', 'backup', '1'],
      ],
    );
    assert.equal(hold?.token.member, 'beta');
    assert.ok(!at.topology.calls.includes('hold off'));
  });

  it('takes the primary when the standby is behind, and none when the policy wants only a standby', async () => {
    await using at = await clustered();
    at.topology.change('beta', { apply: { ms: 60_000, caughtUp: false } });
    const { evidence } = await backup(at.workload, at.stage.environment, request);
    assert.equal(evidence.cluster?.chosen.member, 'alpha');
    assert.match(JSON.stringify(evidence.cluster.considered), /60000 ms behind/);

    await using strict = await clustered({ policy: 'standby' });
    strict.topology.change('beta', { transfer: { caughtUp: undefined } });
    await assert.rejects(
      backup(strict.workload, strict.stage.environment, request),
      codeIs('role-unsuitable', /beta: nobody tells how far its transfer is behind.*alpha: it is primary/s),
    );
    assert.deepEqual(await strict.stage.left(), []);
  });

  const transitions = [
    ...['before:locate', 'after:choose', 'after:predict'].map(
      (when) => [when, 'role-unsuitable', /changed while/] as const,
    ),
    ...['after:prepare', 'after:freeze', 'before:cut', 'after:cut', 'before:thaw', 'after:thaw', 'after:judge'].map(
      (when) => [when, 'verdict-too-weak', /role-changed: seen at/] as const,
    ),
  ];
  for (const [when, code, said] of transitions) {
    it(`discards the point when the cluster fails over ${when}`, async () => {
      let done = false;
      await using at = await clustered({ holdOff: true }, {}, (transition, topology) => {
        if (transition === when && !done) topology.failOver();
        done ||= transition === when;
      });
      await assert.rejects(backup(at.workload, at.stage.environment, request), codeIs(code, said));
      assert.ok(done);
      assert.deepEqual(await at.stage.left(), []);
      assert.equal(at.topology.heldOffBy, undefined);
    });
  }

  it('refuses a silence that is not below half of the detection time, with the figures', async () => {
    await using at = await clustered({ stunMs: 4_000 });
    await assert.rejects(
      backup(at.workload, at.stage.environment, request),
      codeIs('failover-risk', /4\d\d\d ms \(stun 4000, hold \d+, guard late by 1000\) is not below 3750 ms/),
    );
    assert.deepEqual(await at.stage.left(), []);
    await using less = await clustered({ stunMs: 1_500 });
    const { evidence } = await backup(less.workload, less.stage.environment, request);
    assert.equal(evidence.hold?.budgetMs, 1_250, 'what the margin leaves after the stun and for a late guard');
  });

  it('refuses while another member is down, the quorum is lost, or the member leads it', async () => {
    const risks: readonly (readonly [string, (topology: MemoryTopology) => void, RegExp])[] = [
      ['other', (topology) => topology.members.push(member('gamma', 'backup', { health: 'down' })), /gamma is down/],
      [
        'quorum',
        (topology) => (topology.quorum = { kind: 'arbiter', health: 'down', said: 'no arbiter' }),
        /arbiter is down/,
      ],
      ['lead', (topology) => topology.change('beta', { leadsQuorum: true }), /beta leads the quorum/],
      ['time', (topology) => (topology.detectionMs = undefined), /nobody tells after how long/],
    ];
    for (const [name, spoil, said] of risks) {
      await using at = await clustered({ stunMs: 500, policy: 'standby' });
      spoil(at.topology);
      await assert.rejects(backup(at.workload, at.stage.environment, request), codeIs('failover-risk', said), name);
      const plan = await planBackup(at.workload, at.stage.environment, { level: undefined, method: 'snapshot' }, never);
      assert.match(plan.refusals.map(({ said: why }) => why).join(), said, name);
      assert.deepEqual(await at.stage.left(), []);
    }
  });

  it('holds off failover from before the freeze until after the thaw, where that is wanted', async () => {
    const heldAt = new Map<string, boolean>();
    await using at = await clustered({ holdOff: true, stunMs: 30_000 }, {}, (transition, topology) => {
      heldAt.set(transition, topology.heldOffBy !== undefined);
    });
    const { evidence } = await backup(at.workload, at.stage.environment, request);
    assert.equal(evidence.cluster?.heldOff, true);
    assert.deepEqual(
      ['after:predict', 'before:freeze', 'after:cut', 'before:thaw', 'after:thaw'].map((when) => heldAt.get(when)),
      [false, true, true, true, false],
    );
    assert.equal(at.topology.heldOffBy, undefined);
  });

  it('leaves it alone when somebody else holds off failover', async () => {
    await using at = await clustered({ holdOff: true });
    at.topology.heldOffBy = 'a person';
    await assert.rejects(
      backup(at.workload, at.stage.environment, request),
      codeIs('role-unsuitable', /somebody else/),
    );
    assert.equal(at.topology.heldOffBy, 'a person');
    assert.deepEqual(await at.stage.left(), []);
  });

  it('lets failover go again by recover, at the member whose hold a dead run left', async () => {
    class Died extends Error {}
    let from: string | undefined;
    await using at = await clustered({ holdOff: true }, {}, (transition) => {
      if (from !== undefined || transition !== 'after:freeze') return;
      from = transition;
      throw new Died();
    });
    // What the run would undo itself is kept from being undone, as a kill would.
    const letGo = at.topology.letGo.bind(at.topology);
    at.topology.letGo = () => Promise.reject(new StillpointError('undo-failed', 'the manager is away', {}));
    await assert.rejects(backup(at.workload, at.stage.environment, request), codeIs('undo-failed', /away/));
    assert.notEqual(at.topology.heldOffBy, undefined);
    at.topology.letGo = letGo;
    await endProcess(at.stage);
    const { failures, runs } = await recover([at.workload], at.stage.environment, {
      discard: undefined,
      signal: never,
    });
    assert.deepEqual(failures, []);
    assert.match(JSON.stringify(runs), /failover of pair is not held off any more/);
    assert.equal(at.topology.heldOffBy, undefined);
    assert.deepEqual(await at.stage.left(), []);
  });

  it('restores in place only where the engine of the very member is stopped', async () => {
    await using at = await clustered();
    const { point } = await backup(at.workload, at.stage.environment, request);
    const { cluster } = at.workload;
    assert.ok(cluster !== undefined);
    const running = (name: string): Workload => {
      const real = cluster.members.get(name) ?? assert.fail();
      const application = changed(real.application, {
        running: (): Promise<boolean> => Promise.resolve(name === 'beta'),
      });
      return { ...real, application };
    };
    const members = new Map(['alpha', 'beta'].map((name) => [name, running(name)]));
    const workload = { ...running('alpha'), cluster: { ...cluster, members } };
    const plan = restoreAsIs(point);
    const work = restore(workload, at.stage.environment, { plan, target: { kind: 'in-place' }, signal: never });
    await assert.rejects(work, codeIs('engine-running', /still runs/));
  });

  it('restores in place only where every other member is stopped, and somebody says so', async () => {
    await using at = await clustered();
    const { point } = await backup(at.workload, at.stage.environment, request);
    const inPlace = async (clusterStopped: boolean): ReturnType<typeof restore> =>
      restore(at.workload, at.stage.environment, {
        ...{ plan: restoreAsIs(point), target: { kind: 'in-place' }, signal: never, clusterStopped },
      });
    await assert.rejects(inPlace(true), codeIs('cluster-at-work', /alpha \(primary, healthy\) would go on/));
    at.topology.change('alpha', { health: 'down' });
    await assert.rejects(inPlace(false), codeIs('cluster-at-work', /nobody has said/));
    at.topology.broken = new StillpointError('cluster-unknown', 'nobody answers', {});
    await assert.rejects(inPlace(false), codeIs('cluster-at-work', /nobody has said/));
    const { point: restored, movedAside } = await inPlace(true);
    assert.equal(restored, point.id);
    assert.notDeepEqual(movedAside, []);
  });

  it('ends a freeze by hand at the margin', async () => {
    await using at = await clustered({ stunMs: 2_250 });
    const frozen = await freezeByHand(at.workload, at.stage.environment, never);
    const thawed = await thawByHand(at.workload, at.stage.environment);
    assert.equal(frozen.budgetMs, 500);
    assert.equal(thawed.report?.answer.thawed, true);
  });

  it('does without a view no better than the view: no point', async () => {
    await using at = await clustered({}, {}, (transition, topology) => {
      if (transition === 'after:cut') topology.broken = new StillpointError('cluster-unknown', 'nobody answers', {});
    });
    await assert.rejects(
      backup(at.workload, at.stage.environment, request),
      codeIs('cluster-unknown', /nobody answers/),
    );
    assert.deepEqual(await at.stage.left(), []);
  });
});

describe('mirror status and watch', () => {
  it('tells margins, the choice and alarms', async () => {
    await using at = await clustered({ stunMs: 5_000 });
    at.topology.change('alpha', { health: 'trouble' });
    const status = await mirrorStatus(at.workload, at.stage.environment, never);
    assert.deepEqual(
      status.alarms.map(({ code, member: who }) => [code, who]),
      [['member-trouble', 'alpha']],
    );
    assert.equal(status.choice.member, 'beta');
    assert.ok(status.margins.every(({ margin }) => !margin.allowed));
    const { findings } = await check(at.workload, at.stage.environment, never);
    assert.ok(findings.some(({ check: name, said }) => name === 'member' && /beta is chosen/.test(said)));
  });

  it('says each alarm once when it begins and once when it ends, and goes on without a view', async () => {
    await using at = await clustered();
    const stop = new AbortController();
    const events: AlarmEvent[] = [];
    const { topology } = at;
    // One change for each look, two looks each, so that a repeated word would show.
    const changes = [
      () => undefined,
      () => topology.change('beta', { health: 'down', reported: 'gone' }),
      () => undefined,
      () => topology.change('beta', { health: 'healthy' }),
      () => topology.failOver(),
      () => (topology.broken = new StillpointError('cluster-unknown', 'nobody answers', {})),
      () => undefined,
      () => (topology.broken = undefined),
      () => stop.abort(),
    ];
    const view = topology.view.bind(topology);
    let look = 0;
    topology.view = () => {
      changes[look]?.();
      look += 1;
      return view();
    };
    const told: { readonly kind?: string; readonly code?: string }[] = [];
    const notify = (document: object): Promise<void> => {
      told.push(document);
      return Promise.resolve();
    };
    const { looks } = await watchMirror(
      at.workload,
      { ...at.stage.environment, notify },
      {
        everyMs: 1,
        signal: stop.signal,
        onEvent: (event) => events.push(event),
      },
    );
    assert.equal(looks, changes.length - 1);
    assert.deepEqual(
      told.map(({ kind, code }) => [kind, code]),
      events.map(({ kind, alarm }) => [kind, alarm.code]),
    );
    assert.deepEqual(
      events.map(({ kind, alarm }) => `${kind} ${alarm.code} ${alarm.member ?? '-'}`),
      [
        'raised member-down beta',
        'cleared member-down beta',
        'happened primary-changed beta',
        'raised view-lost -',
        'cleared view-lost -',
      ],
    );
  });
});
