/**
 * The command line in processes of its own, against the stand-in: each server of the cluster behind an SSH server of its own that stops
 * and starts with the machine, or all behind an `ssh` on PATH that is quick; EC2 behind the program `aws` on PATH, or behind an address
 * for the real one.
 */
import { createServer, type Server } from 'node:http';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec, type CommandResult, type RunningProcess } from '../../src/platform/exec.ts';
import { ec2Endpoint } from '../doubles/clusterpro/ec2-endpoint.ts';
import { clusterproStandIn, type ClusterproStandIn } from '../doubles/clusterpro/stand-in.ts';
import { marked, remoteOf } from '../doubles/clusterpro/quick-ssh.ts';
import { programs } from '../doubles/clusterpro/programs.ts';
import type { Options } from '../doubles/clusterpro/state.ts';
import { compileCache } from '../doubles/compile-cache.ts';
import { sshServer, type SshServer } from '../doubles/ssh/sshd.ts';
import { marked as markedProcesses } from './stage.ts';

export interface SplitCliStage extends AsyncDisposable {
  readonly standIn: ClusterproStandIn;
  readonly directory: string;
  /** Runs the command line to its end. */
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<CommandResult>;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): RunningProcess;
  /** With `--json`; throws when the exit code is another. */
  json(args: readonly string[], exitCode?: number): Promise<Readonly<Record<string, unknown>>>;
  /** Processes of the command line that are alive. */
  processes(): Promise<readonly { readonly pid: number; readonly command: string }[]>;
  /** What an alarm told, one JSON document each. */
  readonly alarms: string;
}

export interface SplitCliOptions {
  readonly standIn?: Partial<Options>;
  /** How much faster the stand-in's time passes than ours. */
  readonly pace?: number;
  /** With the real `ssh` and an SSH server for each server of the cluster. */
  readonly realSsh?: boolean;
  /** With the real `aws` program against the stand-in's address. */
  readonly realAws?: boolean;
  readonly machines?: Readonly<Record<string, unknown>>;
  readonly limits?: Readonly<Record<string, string | boolean>>;
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const commandMs = 600_000;
const tickMs = 50;

/** The stage, or why there is none. */
export async function splitCliStage(options: SplitCliOptions = {}): Promise<SplitCliStage | string> {
  if ((await systemExec.which('curl')) === undefined) return 'needs curl';
  if (options.realAws === true && (await systemExec.which('aws')) === undefined) return 'needs the aws program';
  await using undo = new AsyncDisposableStack();
  const standIn = undo.use(await clusterproStandIn(options.standIn));
  const control = await listen(standIn);
  undo.defer(() => stopped(control.server));
  const directory = await mkdtemp(join(tmpdir(), 'sp-split-cli-'));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const bin = join(directory, 'bin');
  await mkdir(bin);
  const sshds = new Map<string, SshServer>();
  for (const { name } of options.realSsh === true ? standIn.state.servers : []) {
    const sshd = await sshServer();
    if ('skip' in sshd) return sshd.skip;
    sshds.set(name, undo.use(sshd));
    for (const program of Object.keys(programs))
      await client(join(sshd.bin, program), `${control.url}/${name}/${program}`, ofSystem[program]);
  }
  if (options.realSsh !== true) await quickSsh(join(bin, 'ssh'), control.url);
  const environment: Record<string, string> = {};
  if (options.realAws === true) {
    const endpoint = undo.use(await ec2Endpoint(standIn));
    Object.assign(environment, {
      ...{ AWS_ENDPOINT_URL: endpoint.url, AWS_ACCESS_KEY_ID: 'k', AWS_SECRET_ACCESS_KEY: 's' },
      AWS_DEFAULT_REGION: 'ap-northeast-1',
    });
  } else {
    await client(join(bin, 'aws'), `${control.url}/client/aws`);
  }
  const configFile = join(directory, 'stillpoint.yaml');
  const alarms = join(directory, 'alarms');
  await writeFile(configFile, JSON.stringify(configOf(directory, alarms, sshds, options), null, 2));
  await writeFile(join(directory, 'password'), 'a password for tests\n', { mode: 0o600 });
  undo.defer(passTime(standIn, sshds, options.pace ?? 40));
  const mark = `split-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const env = (more: Readonly<Record<string, string>> = {}): Record<string, string> => ({
    STILLPOINT_STAGE: mark,
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    ...environment,
    ...compileCache(),
    ...more,
  });
  const argv = (args: readonly string[]): [string, ...string[]] => [
    ...([process.execPath, main] as const),
    ...args,
    ...['--config', configFile],
  ];
  const processes = async (): Promise<readonly { readonly pid: number; readonly command: string }[]> =>
    (await markedProcesses(mark)).filter(({ command }) => command.includes(main));
  undo.defer(async () => {
    // Whatever a failing test left alive must not outlive it.
    for (const { pid } of await processes()) process.kill(pid, 'SIGKILL');
  });
  const run: SplitCliStage['run'] = (args, more) =>
    systemExec.run({ argv: argv(args), env: env(more), timeoutMs: commandMs });
  const made = await run(['repo', 'init']);
  if (made.exitCode !== 0) throw new Error(`repo init: ${made.stderr}${made.stdout}`);
  const kept = undo.move();
  return {
    ...{ standIn, directory, run, processes, alarms },
    start: (args, more) => systemExec.start({ argv: argv(args), env: env(more) }),
    async json(args, exitCode = 0) {
      const { stdout, stderr, exitCode: ended } = await run([...args, '--json']);
      if (ended !== exitCode) throw new Error(`${args.join(' ')} ended with ${ended}: ${stdout}${stderr}`);
      return JSON.parse(stdout) as Readonly<Record<string, unknown>>;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function configOf(
  directory: string,
  alarms: string,
  sshds: ReadonlyMap<string, SshServer>,
  options: SplitCliOptions,
): object {
  const device = { device: '/dev/sdb', partitions: ['/dev/xvdb1', '/dev/xvdb2'] };
  return {
    repository: { store: { local: join(directory, 'repository') }, passwordFile: join(directory, 'password') },
    stateDirectory: join(directory, 'state'),
    notify: { command: ['/bin/sh', '-c', `cat >> '${alarms}'`] },
    workloads: {
      orders: {
        application: { postgresql: { user: 'backup', dataDirectory: '/mirror/pg', port: 5432 } },
        method: 'mirror-split',
        topology: {
          clusterpro: {
            group: 'failover1',
            mirrors: { md1: { monitor: 'mdw1' } },
            servers: Object.fromEntries(
              ['server1', 'server2'].map((name) => [name, { ssh: sshds.get(name)?.config ?? { host: name } }]),
            ),
          },
        },
        members: { server1: {} },
        machines: {
          ec2: {
            region: 'ap-northeast-1',
            instances: { server1: 'i-1', server2: 'i-2' },
            devices: { server1: device, server2: device },
            ...options.machines,
          },
        },
        mirrorSplit: { poll: '200ms', autoRecovery: '20s', ...options.limits },
      },
    },
  };
}

/** Those that the system itself needs too: ours only for what is asked of the cluster's server. */
const ofSystem: Readonly<Record<string, { readonly unless: string; readonly program: string }>> = {
  cat: { unless: '/proc/sys/kernel/random/boot_id', program: '/bin/cat' },
};

/** An executable that has the stand-in in this process do the work: a Node of its own for each command would take minutes. */
async function client(
  path: string,
  url: string,
  system?: { readonly unless: string; readonly program: string },
): Promise<void> {
  await writeFile(
    path,
    [
      '#!/bin/sh',
      ...(system === undefined ? [] : [`[ "$1" = ${system.unless} ] || exec ${system.program} "$@"`]),
      `said=$(printf '%s\\n' "$@" | curl -sS --max-time 900 --data-binary @- '${url}') || exit 255`,
      'eval "$said"',
      '',
    ].join('\n'),
  );
  await chmod(path, 0o755);
}

/** The command and its standard input, for the host that is the last word but one. */
async function quickSsh(path: string, url: string): Promise<void> {
  await writeFile(
    path,
    [
      '#!/bin/sh',
      'host= line=',
      'for each; do host=$line line=$each; done',
      `said=$(curl -sS --max-time 900 --data-urlencode "line=$line" --data-urlencode stdin@- "${url}/$host/ssh") || exit 255`,
      'eval "$said"',
      '',
    ].join('\n'),
  );
  await chmod(path, 0o755);
}

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** Answers with what a shell is to do: print, and end. What hangs is never answered. */
async function listen(standIn: ClusterproStandIn): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer((request, response) => {
    const body: Buffer[] = [];
    request.on('data', (part: Buffer) => void body.push(part));
    request.on('end', () => {
      const [, name = '', program = ''] = (request.url ?? '').split('/');
      const text = Buffer.concat(body).toString();
      const said = program === 'ssh' ? throughSsh(standIn, name, text) : plain(standIn, name, program, text);
      if (said !== undefined) response.end(said);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  return { url: `http://127.0.0.1:${address.port}`, server };
}

function script(exitCode: number, stdout: string, stderr: string): string {
  return `printf %s ${quoted(stdout)}\nprintf %s ${quoted(stderr)} >&2\nexit ${exitCode}\n`;
}

function plain(standIn: ClusterproStandIn, name: string, program: string, body: string): string | undefined {
  const { exitCode, stdout, stderr } = standIn.run(name, program, ...body.split('\n').slice(0, -1));
  return exitCode === null ? undefined : script(exitCode, stdout, `${stderr}\n`);
}

function throughSsh(standIn: ClusterproStandIn, name: string, body: string): string | undefined {
  const sent = new URLSearchParams(body);
  const { program, args, mark, asks } = remoteOf(sent.get('line') ?? '', sent.get('stdin') ?? '');
  if (asks) return script(0, `${mark} none\n`, '');
  const { exitCode, stdout, stderr } = standIn.run(name, program, ...args);
  if (exitCode === null) return undefined;
  // The client's own end: nothing is known of the command.
  if (exitCode === 255) return script(255, '', `${stderr}\n`);
  return script(0, marked(mark, exitCode, stdout), marked(mark, exitCode, stderr));
}

async function stopped(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

/** Lets the stand-in's time pass, and its servers' SSH come and go with them. Returns what ends it. */
function passTime(
  standIn: ClusterproStandIn,
  sshds: ReadonlyMap<string, SshServer>,
  pace: number,
): () => Promise<void> {
  const ending = new AbortController();
  const off = new Set<string>();
  const tick = async (): Promise<void> => {
    standIn.advance(tickMs * pace);
    for (const { name, power } of standIn.state.servers) {
      const isOff = power !== 'running';
      const sshd = sshds.get(name);
      if (sshd === undefined || isOff === off.has(name)) continue;
      if (isOff) {
        off.add(name);
        await sshd.stop();
      } else {
        await sshd.start();
        off.delete(name);
      }
    }
  };
  const done = (async () => {
    while (!ending.signal.aborted) {
      await tick();
      await systemClock.sleep(tickMs);
    }
  })();
  return async () => {
    ending.abort();
    await done;
  };
}
