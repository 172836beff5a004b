import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Ec2 } from '../../src/adapters/machines/ec2/machines.ts';
import { config as ec2Config } from '../../src/adapters/machines/ec2/config.ts';
import { clusterpro } from '../../src/adapters/topology/clusterpro/topology.ts';
import { backup, type BackupResult } from '../../src/flows/backup.ts';
import type { Environment, Workload } from '../../src/flows/environment.ts';
import { recover, type Recovered } from '../../src/flows/recover.ts';
import type { SplitLimits } from '../../src/model/mirror-split.ts';
import type { Finding } from '../../src/model/point.ts';
import { systemClock, type Clock } from '../../src/platform/clock.ts';
import { systemExec, type CommandResult, type Exec } from '../../src/platform/exec.ts';
import { quickReach, type Around } from '../doubles/clusterpro/reach.ts';
import { clusterproStandIn, type ClusterproStandIn } from '../doubles/clusterpro/stand-in.ts';
import type { Options } from '../doubles/clusterpro/state.ts';
import { realPlatform } from '../doubles/platform.ts';
import { endProcess, never, scene, type Scene } from './toy-scene.ts';

export const minuteMs = 60_000;

const limits: SplitLimits = {
  ...{ answer: 2 * minuteMs, off: 5 * minuteMs, boot: 10 * minuteMs, service: 5 * minuteMs, group: 5 * minuteMs },
  ...{ whole: 60 * minuteMs, attach: 5 * minuteMs, fast: 90 * minuteMs, act: minuteMs, autoRecovery: 3 * minuteMs },
  ...{ snapshot: 60 * minuteMs, oneCopy: 30 * minuteMs, poll: 15_000 },
};

/** A workload on a cluster that is not there. Time passes only where a flow waits. */
export interface SplitStage extends AsyncDisposable {
  readonly standIn: ClusterproStandIn;
  readonly scene: Scene;
  readonly workload: Workload;
  readonly environment: Environment;
  readonly findings: Finding[];
  readonly notes: string[];
  readonly alarms: object[];
  backup(signal?: AbortSignal): Promise<BackupResult>;
  /** Makes all that was begun look as if this process had been killed. */
  endProcess(): Promise<void>;
  /** As a new process would do it after this one was killed. */
  recover(): Promise<Recovered>;
}

export interface SplitOptions {
  readonly standIn?: Partial<Options>;
  readonly limits?: Partial<SplitLimits>;
  /** Called at each transition; one that never returns is a run that was killed there. */
  readonly at?: (transition: string) => Promise<void> | void;
  readonly around?: Around;
  readonly fastRestore?: boolean;
}

/** The stand-in's `aws` in this process. */
function awsExec(standIn: ClusterproStandIn, { before, after }: Around): Exec {
  const run: Exec['run'] = async (command): Promise<CommandResult> => {
    await before?.(command);
    const [, ...args] = command.argv;
    const ended = standIn.run('client', 'aws', ...args);
    await after?.(command);
    const times = { startedMs: 0, endedMs: 0 };
    return {
      argv: command.argv,
      ...ended,
      killedBy: null,
      timedOut: ended.exitCode === null,
      cancelled: false,
      ...times,
    };
  };
  const check: Exec['check'] = async (command) => {
    const result = await run(command);
    if (result.exitCode === 0) return result;
    const { StillpointError } = await import('../../src/model/errors.ts');
    throw new StillpointError('command-failed', `${command.argv.join(' ')}: ${result.exitCode} ${result.stderr}`);
  };
  return { ...systemExec, run, check };
}

function virtualClock(standIn: ClusterproStandIn): Clock {
  const realMs = systemClock.monoMs();
  const wallMs = Date.now();
  const monoMs = (): number => standIn.state.nowMs + realMs + (systemClock.monoMs() - realMs) / 1000;
  return {
    ...systemClock,
    monoMs,
    wallMs: () => wallMs + standIn.state.nowMs,
    now: () => ({ monoMs: monoMs(), wall: new Date(wallMs + standIn.state.nowMs).toISOString() }),
    sleep: (ms, signal) => {
      signal?.throwIfAborted();
      standIn.advance(ms);
      return Promise.resolve();
    },
  };
}

export async function splitStage(options: SplitOptions = {}): Promise<SplitStage> {
  await using stack = new AsyncDisposableStack();
  const standIn = stack.use(await clusterproStandIn(options.standIn));
  const stage = stack.use(await scene());
  const findings: Finding[] = [];
  const notes: string[] = [];
  const alarms: object[] = [];
  const environment: Environment = {
    ...stage.environment,
    clock: virtualClock(standIn),
    reporter: {
      step: () => undefined,
      progress: () => undefined,
      finding: (finding) => void findings.push(finding),
      note: (said) => void notes.push(said),
    },
    notify: (document) => Promise.resolve(void alarms.push(document)),
    fault: async (transition) => await options.at?.(transition),
  };
  const workloadOf = (around: Around): Workload => {
    const module = clusterpro(quickReach(standIn, around));
    const settings = module.config.parse({
      group: 'failover1',
      mirrors: { md1: { monitor: 'mdw1' } },
      servers: { server1: { ssh: { host: 'server1' } }, server2: { ssh: { host: 'server2' } } },
    });
    const topology = module.create(settings, realPlatform(stage.state), () => Promise.resolve(''));
    const device = { device: '/dev/sdb', partitions: ['/dev/xvdb1', '/dev/xvdb2'] };
    const machines = new Ec2(
      ec2Config.parse({
        instances: { server1: 'i-1', server2: 'i-2' },
        devices: { server1: device, server2: device },
      }),
      awsExec(standIn, around),
    );
    return {
      ...stage.workload,
      mirrorSplit: { machines, limits: { ...limits, ...options.limits }, fastRestore: options.fastRestore === true },
      cluster: {
        topology,
        ...{ policy: 'primary', maxLagMs: 10_000, stunMs: 0, holdOff: false },
        topologySpec: { kind: 'clusterpro', config: settings },
        members: new Map(),
      },
    };
  };
  const workload = workloadOf(options.around ?? {});
  const end = async (): Promise<void> => {
    await endProcess(stage);
    // With a process its locks go.
    await rm(join(stage.state, 'locks'), { recursive: true, force: true });
  };
  const kept = stack.move();
  return {
    ...{ standIn, scene: stage, workload, environment, findings, notes, alarms },
    backup: (signal = never) => backup(workload, environment, { method: 'mirror-split', level: undefined, signal }),
    endProcess: end,
    async recover() {
      await end();
      const { fault: _, ...unharmed } = environment;
      return await recover([workloadOf({})], unharmed, { discard: undefined, signal: never });
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** All is as before, and nothing is left: servers, monitors, group, mirror, volumes, snapshots but those. */
export function assertWhole(standIn: ClusterproStandIn, snapshots: number): void {
  const { servers, group, failovers, volumes } = standIn.state;
  assert.deepEqual(standIn.mirror(), { status: 'Normal', colours: ['GREEN', 'GREEN'] });
  assert.deepEqual([group.status, group.current], ['Online', 'server1']);
  assert.deepEqual(
    servers.map(({ suspended, startup, power }) => [suspended.length, startup, power]),
    [
      [0, 'auto', 'running'],
      [0, 'auto', 'running'],
    ],
  );
  assert.deepEqual(failovers, []);
  assert.deepEqual(Object.keys(volumes).toSorted(), ['vol-i-1', 'vol-i-2']);
  assert.equal(Object.keys(standIn.state.snapshots).length, snapshots);
  standIn.write('last');
  assert.equal(standIn.data('server1').rows.at(-1), 'last');
  assert.deepEqual(standIn.data('server2'), standIn.data('server1'));
}

/** Both sides are on the old pair or both on the new one, whole, with the group where it was. */
export function assertRestoredOrOld(standIn: ClusterproStandIn): 'restored' | 'old' {
  const { group, volumes, servers } = standIn.state;
  assert.deepEqual(standIn.mirror(), { status: 'Normal', colours: ['GREEN', 'GREEN'] });
  assert.deepEqual([group.status, group.current], ['Online', 'server1']);
  assert.deepEqual(
    servers.map(({ startup, power }) => [startup, power]),
    [
      ['auto', 'running'],
      ['auto', 'running'],
    ],
  );
  const { rows } = standIn.data('server1');
  const attached = Object.values(volumes).filter(({ attachment }) => attachment !== null);
  const isOld = attached.every(({ snapshot }) => snapshot === null);
  assert.deepEqual(
    attached.map(({ snapshot }) => snapshot),
    isOld ? [null, null] : ['snap-00000000000000001', 'snap-00000000000000001'],
  );
  assert.deepEqual(rows, isOld ? ['before', 'after'] : ['before']);
  // It is billed for as long as it is on.
  assert.deepEqual(
    Object.values(standIn.state.snapshots).flatMap(({ fast }) => fast),
    [],
  );
  // The new ones are gone when the old ones are back; the old ones are never removed.
  assert.equal(Object.keys(volumes).length, isOld ? 2 : 4);
  standIn.write('last');
  assert.deepEqual(standIn.data('server2'), standIn.data('server1'));
  return isOld ? 'old' : 'restored';
}
