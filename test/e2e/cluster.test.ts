/**
 * Whole backups of a member of a cluster that fails over, or could: no false point, nothing left behind, and failover never stays held
 * off. Guard and flow run in this process; everything but the engine and the cluster's manager is real.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { backup } from '../../src/flows/backup.ts';
import { freezeByHand, thawByHand } from '../../src/flows/by-hand.ts';
import type { Cluster } from '../../src/flows/cluster.ts';
import type { Environment, Workload } from '../../src/flows/environment.ts';
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
    assert.equal(point.member, 'beta', 'the point has the name that the cluster knows, not the engine’s own');
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

/** A log of one machine with a snapshot and its removal a minute, as ESXi 6 writes it. */
function vmwareLog(creations: readonly number[], removals: readonly number[]): string {
  const beganMs = Date.parse('2026-01-01T00:00:00Z');
  const line = (ms: number, message: string): string =>
    `${new Date(beganMs + ms).toISOString()}| vcpu-0| I125: ${message}`;
  const stopped = (ms: number): string => `Checkpoint_Unstun: vm stopped for ${ms * 1000} us`;
  const minute = 60_000;
  return [
    line(0, 'Log for VMware ESX pid=1 version=6.7.0'),
    ...creations.flatMap((ms, at) => [
      line(at * minute + 1000, "SnapshotVMX_TakeSnapshot start: 'nightly', deviceState=0, lazy=0"),
      line(at * minute + 1500, stopped(ms)),
      line(at * minute + 1600, 'SnapshotVMXTakeSnapshotComplete: Done with snapshot'),
    ]),
    ...removals.flatMap((ms, at) => [
      line((creations.length + at) * minute + 1000, 'SnapshotVMX_Consolidate: Starting online snapshot consolidate'),
      line((creations.length + at) * minute + 1500, stopped(ms)),
      line((creations.length + at) * minute + 1600, 'ConsolidateEnd: Snapshot consolidate complete'),
    ]),
    '',
  ].join('\n');
}

describe('stuns of earlier backups', () => {
  const many = (ms: number, longest = ms): readonly number[] => [...Array<number>(24).fill(ms), longest];

  async function withLogs(
    logs: Readonly<Record<string, string>>,
    paths: readonly string[],
    stunMs: number | undefined,
    run: (at: ClusterScene) => Promise<void>,
  ): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'sp-stun-'));
    try {
      for (const [name, text] of Object.entries(logs)) await writeFile(join(directory, name), text);
      await using at = await clustered({ stunMs, stunLogs: paths.map((path) => join(directory, path)) });
      await run(at);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  it('are read before a backup, shown in the plan, and count', async () => {
    const logs = { 'vmware.log': vmwareLog(many(400, 800), many(300)) };
    await withLogs(logs, ['vmware*.log'], undefined, async (at) => {
      const plan = await planBackup(at.workload, at.stage.environment, { method: 'snapshot', level: undefined }, never);
      const said = plan.findings.find(({ check: name }) => name === 'stun')?.said ?? '';
      assert.equal(
        said,
        '25 stuns of snapshots seen, longest 0.80 s, expected 1.00 s; 25 stuns of their removal seen, longest 0.30 s, expected 0.38 s; margin 3.75 s',
      );
      const { evidence } = await backup(at.workload, at.stage.environment, request);
      assert.equal(evidence.cluster?.margin?.silence.stunMs, 1000);
      const status = await mirrorStatus(at.workload, at.stage.environment, never);
      assert.equal(status.stunMs, 1000);
    });
  });

  it('refuse a backup that they do not fit, by a snapshot or by its removal, or of which nothing can be said', async () => {
    const cases: readonly (readonly [string, readonly number[], readonly number[], number | undefined, RegExp])[] = [
      ['creation', many(3100), many(300), undefined, /stun 3875.*longest 3\.10 s, expected 3\.88 s/s],
      ['removal', many(300), many(3100), undefined, /when the snapshot is removed: .*stun 3875/s],
      ['a long tail', many(300, 2000), many(300), undefined, /stun 4000/],
      ['too few', many(300).slice(0, 19), many(300), undefined, /is not known.*19 stuns of snapshots seen/s],
      ['no removal', many(300), [], undefined, /when the snapshot is removed: .*not known/s],
      ['more than the bound', many(300), [3200], 1000, /when the snapshot is removed/],
    ];
    for (const [what, creations, removals, bound, said] of cases) {
      await withLogs({ 'vmware.log': vmwareLog(creations, removals) }, ['vmware.log'], bound, async (at) => {
        await assert.rejects(backup(at.workload, at.stage.environment, request), codeIs('failover-risk', said), what);
        assert.deepEqual(await at.stage.left(), [], what);
      });
    }
    // Few of them are enough beside a bound that they keep.
    await withLogs({ 'vmware.log': vmwareLog([300], []) }, ['vmware.log'], 1000, async (at) => {
      const { evidence } = await backup(at.workload, at.stage.environment, request);
      assert.equal(evidence.cluster?.margin?.silence.stunMs, 1000);
    });
  });

  it('are not guessed where a log cannot be read', async () => {
    for (const [path, said] of [
      ['vmware-9.log', /hold\.stun\.logs: there is no file/],
      ['other*.log', /hold\.stun\.logs: no file is like/],
      ['text', /hold\.stun\.logs: .* is no vmware\.log/],
    ] as const) {
      await withLogs({ text: 'hello\n' }, [path], 1000, async (at) => {
        await assert.rejects(backup(at.workload, at.stage.environment, request), codeIs('config-invalid', said));
        assert.deepEqual(await at.stage.left(), []);
      });
    }
  });
});

describe('mirror status and watch', () => {
  it('gives figures at each look, none of before without a view, and says when they cannot be kept', async () => {
    await using at = await clustered();
    const stop = new AbortController();
    const told: (readonly (readonly [string, number])[])[] = [];
    const events: string[] = [];
    const { metrics } = await watchMirror(at.workload, at.stage.environment, {
      everyMs: 50,
      signal: stop.signal,
      onEvent: ({ kind, alarm }) => events.push(`${kind} ${alarm.code}`),
      onMetrics: (figures) => {
        told.push(figures.map(({ name, value }) => [name.replace('stillpoint_cluster_', ''), value]));
        if (told.length === 2) at.topology.broken = new StillpointError('cluster-unknown', 'nobody answers', {});
        if (told.length === 3) at.topology.broken = undefined;
        if (told.length === 5) stop.abort();
        return told.length === 4
          ? Promise.reject(new StillpointError('io', 'the disk is full', { hint: 'free space' }))
          : Promise.resolve();
      },
    });
    const value = (look: number, name: string) => told[look]?.find(([each]) => each === name)?.[1];
    assert.deepEqual(
      [0, 1, 2, 3].map((look) => value(look, 'up')),
      [0, 1, 0, 1],
    );
    assert.equal(value(0, 'view_timestamp_seconds'), 0);
    assert.equal(value(2, 'member_health'), undefined);
    assert.equal(value(2, 'view_timestamp_seconds'), value(1, 'view_timestamp_seconds'));
    assert.ok((value(3, 'view_timestamp_seconds') ?? 0) > (value(1, 'view_timestamp_seconds') ?? Infinity));
    assert.ok((value(1, 'journal_disk_free_bytes') ?? 0) > 0);
    assert.deepEqual(events, ['raised view-lost', 'raised metrics-lost', 'cleared view-lost', 'cleared metrics-lost']);
    assert.equal(metrics.length, told.at(-1)?.length);
    await assert.rejects(
      watchMirror(at.workload, at.stage.environment, {
        everyMs: 50,
        signal: never,
        onEvent: () => undefined,
        onMetrics: () => Promise.reject(new StillpointError('io', 'no such folder', { hint: 'make it' })),
      }),
      codeIs('io', /no such folder/),
    );
  });

  it('keeps no journals for an arbiter', async () => {
    await using at = await clustered();
    at.topology.members.push(member('judge', 'arbiter', { health: 'down', mayTakeOver: false }));
    const stop = new AbortController();
    let free = 1_000_000_000;
    const environment: Environment = {
      ...at.stage.environment,
      // Would be full within a day at each look.
      host: { ...at.stage.environment.host, freeBytes: () => Promise.resolve((free /= 2)) },
    };
    const events: AlarmEvent[] = [];
    let looks = 0;
    await watchMirror(at.workload, environment, {
      everyMs: 50,
      signal: stop.signal,
      onEvent: (event) => events.push(event),
      onView: () => {
        looks += 1;
        if (looks === 6) at.topology.change('beta', { health: 'down' });
        if (looks === 12) stop.abort();
      },
    });
    const filling = events.filter(({ alarm }) => alarm.code === 'journal-disk-filling');
    assert.ok(filling.length > 0);
    assert.ok(filling.every(({ alarm }) => alarm.said.includes('kept for beta.')));
  });

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
