import { createInterface } from 'node:readline';
import { platformAt, topologies, type RegisteredApplication } from '../adapters/registry.ts';
import { localHost } from '../adapters/host/local/host.ts';
import { systemClock, within } from '../platform/clock.ts';
import { systemExec } from '../platform/exec.ts';
import { silent } from '../platform/logger.ts';
import { endForCertain, self } from '../platform/process.ts';
import { readSecret } from '../platform/secrets.ts';
import type { Application } from '../ports/application.ts';
import type { Platform } from '../ports/module.ts';
import { withFileSystems } from './file-systems.ts';
import { runGuard, type SentinelLine } from './guard.ts';
import { passedOn } from './launch.ts';
import type { GuardSpec, SentinelSpec } from './protocol.ts';
import { runSentinel } from './sentinel.ts';

const sentinelStartMs = 10_000;
/** The cluster may need several of its own rounds to say that it has let go. */
const failoverMs = 120_000;

function applicationOf(spec: GuardSpec, applications: readonly RegisteredApplication[]): Application {
  const module = applications.find((each) => each.kind === spec.application.kind);
  if (module === undefined) throw new Error(`no application adapter is called ${spec.application.kind}`);
  const platform = platformAt(spec.application.reach, {
    ...platformOf(spec.stateDirectory),
    ...(spec.token.member === undefined ? {} : { clustered: true }),
  });
  const application = module.create(spec.application.config, spec.workload, platform, (source) =>
    readSecret(source, systemExec),
  );
  return withFileSystems(application, { exec: systemExec, clock: systemClock });
}

/** After every thaw, for the manager is asked over a network. What does not work here is left to `recover`, which has the same token. */
async function letFailoverGo({ failover, stateDirectory }: GuardSpec): Promise<void> {
  const module = topologies.find((each) => each.kind === failover?.topology.kind);
  if (failover === undefined || module === undefined) return;
  const topology = module.create(failover.topology.config, platformOf(stateDirectory), (source) =>
    readSecret(source, systemExec),
  );
  await within(
    systemClock,
    failoverMs,
    Promise.resolve(topology.letGo?.(failover.token)).catch(() => undefined),
    () => undefined,
  );
}

function platformOf(stateDirectory: string): Platform {
  return { exec: systemExec, clock: systemClock, log: silent, host: localHost(systemExec), stateDirectory };
}

async function startSentinel(spec: GuardSpec, entry: string): Promise<SentinelLine> {
  const child = systemExec.start({
    argv: [process.execPath, entry, 'sentinel'],
    cwd: '/',
    detached: true,
    env: passedOn(),
  });
  child.write(`${JSON.stringify({ guard: self(), spec } satisfies SentinelSpec)}\n`);
  await child.firstLine((line) => line === 'ready', sentinelStartMs);
  let alive = true;
  void child.exited.then(() => {
    alive = false;
  });
  return {
    pid: child.pid,
    alive: () => alive,
    armed: (deadlineMonoMs) => child.write(`${JSON.stringify({ armed: deadlineMonoMs })}\n`),
    thawed: () => {
      child.write(`${JSON.stringify({ thawed: true })}\n`);
      child.closeInput();
    },
  };
}

async function firstLine(): Promise<string> {
  const lines = createInterface({ input: process.stdin });
  const line = await new Promise<string>((resolve, reject) => {
    lines.once('line', resolve);
    lines.once('close', () => reject(new Error('no spec on standard input')));
  });
  return line;
}

/**
 * What the process does that `entry`, the file of its main module, was started as. Resolves with its exit code when all is over; the
 * caller must then exit, for a blocked session may keep the process alive.
 */
export async function guardProcess(applications: readonly RegisteredApplication[], entry: string): Promise<number> {
  // A hold must outlive the terminal that it was started from.
  process.on('SIGHUP', () => undefined);
  process.on('SIGINT', () => undefined);
  // The flow may be gone: a broken pipe on either stream must not end the guard.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  const role = process.argv[2];
  if (role === 'guard') {
    const spec = JSON.parse(await firstLine()) as GuardSpec;
    process.stdin.destroy();
    const application = applicationOf(spec, applications);
    const sentinel = await startSentinel(spec, entry);
    const { released } = await runGuard(spec, application, sentinel, systemClock, () =>
      process.stdout.write('ready\n'),
    );
    if (!released) await letFailoverGo(spec);
    endForCertain(0);
    return 0;
  }
  if (role === 'sentinel') {
    // Lines after the first belong to the watch, so the first is cut off by hand.
    const { spec, rest } = await sentinelInput();
    process.stdout.write('ready\n');
    await runSentinel(spec, applicationOf(spec.spec, applications), systemClock, rest);
    const code = Number(process.exitCode ?? 0);
    endForCertain(code);
    return code;
  }
  throw new Error(`unknown role ${String(role)}`);
}

async function sentinelInput(): Promise<{ spec: SentinelSpec; rest: NodeJS.ReadableStream }> {
  let text = '';
  for (;;) {
    const chunk = await new Promise<Buffer | undefined>((resolve) => {
      process.stdin.once('readable', () => resolve((process.stdin.read() as Buffer | null) ?? undefined));
      process.stdin.once('end', () => resolve(undefined));
    });
    if (chunk === undefined) throw new Error('no spec on standard input');
    text += chunk.toString('utf8');
    const end = text.indexOf('\n');
    if (end >= 0) {
      const left = text.slice(end + 1);
      if (left !== '') process.stdin.unshift(Buffer.from(left));
      return { spec: JSON.parse(text.slice(0, end)) as SentinelSpec, rest: process.stdin };
    }
  }
}
