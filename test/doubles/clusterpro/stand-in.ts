import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemExec } from '../../../src/platform/exec.ts';
import { compileCache } from '../compile-cache.ts';
import { runJob } from './actions.ts';
import { aws } from './ec2.ts';
import { Mirror } from './mirror.ts';
import { programs, runProgram } from './programs.ts';
import { serveRest, type RestPort } from './rest.ts';
import { Store, type DataPartition, type Fault, type Options, type Server, type State } from './state.ts';
import { World } from './world.ts';

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const defaults: Options = {
  heartbeatTimeoutMs: 30_000,
  monitorMs: 10_000,
  resyncMs: 60_000,
  bootMs: 40_000,
  shutdownMs: 20_000,
  snapshotMs: 120_000,
  jobMs: 5_000,
  fastMs: 60_000,
  autoRecovery: true,
  initialConstruction: false,
  otherMonitors: [],
  user: 'root',
  password: 'clusterpro',
};

/** Two servers that are not there: `server1`, on which the group begins, and `server2`. */
export async function clusterproStandIn(options: Partial<Options> = {}): Promise<ClusterproStandIn> {
  const root = await mkdtemp(join(tmpdir(), 'sp-clusterpro-'));
  const standIn = new ClusterproStandIn(root);
  try {
    await standIn.prepare({ ...defaults, ...options });
  } catch (cause) {
    await standIn[Symbol.asyncDispose]();
    throw cause;
  }
  return standIn;
}

export class ClusterproStandIn implements AsyncDisposable {
  readonly root: string;
  readonly #store: Store;
  readonly #rest: RestPort[] = [];

  constructor(root: string) {
    this.root = root;
    this.#store = new Store(root);
  }

  async prepare(options: Options): Promise<void> {
    const server = (name: string, instance: string, zone: string): Server => ({
      name,
      instance,
      zone,
      power: 'running',
      boot: null,
      service: true,
      startup: 'auto',
      boots: 1,
      suspended: [],
      silentFromMs: null,
      partitions: { cluster: '/dev/xvdb1', data: '/dev/xvdb2' },
      job: null,
    });
    const servers = [server('server1', 'i-1', 'ap-northeast-1a'), server('server2', 'i-2', 'ap-northeast-1c')];
    const volumes: State['volumes'] = {};
    for (const { instance, zone } of servers) {
      const id = `vol-${instance}`;
      volumes[id] = {
        id,
        zone,
        state: 'in-use',
        attachment: { instance, device: '/dev/sdb', state: 'attached' },
        snapshot: null,
        tags: {},
        madeFast: false,
      };
      this.#store.putClusterPartition(`volumes/${id}`, {
        resource: 'md1',
        generation: 1,
        by: 'server1',
        backup: false,
        initial: false,
      });
      this.#store.putDataPartition(`volumes/${id}`, { fs: 'mounted', rows: [] });
    }
    this.#store.write({
      nowMs: 0,
      options,
      servers,
      group: { status: 'Online', current: 'server1', stoppedByHand: false },
      mirror: { recovering: null, lastActive: 'server1' },
      ratio: 1,
      volumes,
      snapshots: {},
      timers: [{ atMs: options.monitorMs, kind: 'monitor' }],
      faults: [],
      calls: [],
      failovers: [],
      nextId: 0,
    });
    for (const { name } of servers) {
      await mkdir(this.bin(name), { recursive: true });
      // Those of the system are told in this process only: a shell on the way to a server needs its own `cat`.
      for (const program of Object.keys(programs).filter((each) => each !== 'cat' && each !== 'systemctl'))
        await this.#executable(name, program);
    }
    await mkdir(this.bin('client'));
    await this.#executable('client', 'aws');
  }

  async #executable(server: string, program: string): Promise<void> {
    const environment = Object.entries(compileCache()).map(([name, value]) => `${name}='${value}' `);
    const main = fileURLToPath(new URL('./program.ts', import.meta.url));
    const path = join(this.bin(server), program);
    await writeFile(
      path,
      `#!/bin/sh\n${environment.join('')}exec '${process.execPath}' '${main}' '${this.root}' ${server} '${program}' "$@"\n`,
    );
    await chmod(path, 0o755);
  }

  /** Directory of the executables of one server, or of `client`, which has `aws`. */
  bin(server: string): string {
    return join(this.root, 'bin', server);
  }

  /** A command as over SSH, in this process for the sake of speed: exit code 255 is the client's own, null one that hangs. */
  run(server: string, program: string, ...args: readonly string[]): Ended {
    const answer = this.#world((world) =>
      server === 'client' ? aws(world, args) : runProgram(world, server, program, args),
    );
    if (answer === 'hang') return { exitCode: null, stdout: '', stderr: '' };
    return { exitCode: answer.code, stdout: answer.out, stderr: (answer.err ?? '').trimEnd() };
  }

  /** Runs it and gives its output, or throws. */
  ok(server: string, program: string, ...args: readonly string[]): string {
    const { exitCode, stdout, stderr } = this.run(server, program, ...args);
    if (exitCode !== 0) throw new Error(`${program} ${args.join(' ')} on ${server}: ${exitCode} ${stdout} ${stderr}`);
    return stdout;
  }

  /** `aws ec2 ARGS`, its output read. */
  ec2<T = Readonly<Record<string, unknown>>>(...args: readonly string[]): T {
    return JSON.parse(this.ok('client', 'aws', 'ec2', ...args)) as T;
  }

  /** Starts the RESTful API of both servers, with a certificate that `ca` proves. */
  async serve(): Promise<{ readonly urls: Readonly<Record<string, string>>; readonly ca: string }> {
    const ca = join(this.root, 'ca.pem');
    const key = join(this.root, 'key.pem');
    await systemExec.check({
      argv: [
        ...([
          'openssl',
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
        ] as const),
        ...[
          '-days',
          '2',
          '-subj',
          '/CN=127.0.0.1',
          '-addext',
          'subjectAltName=IP:127.0.0.1',
          '-keyout',
          key,
          '-out',
          ca,
        ],
      ],
      timeoutMs: 60_000,
    });
    const tls = { key: await readFile(key, 'utf8'), cert: await readFile(ca, 'utf8') };
    const urls: Record<string, string> = {};
    for (const { name } of this.state.servers) {
      const port = await serveRest(this.#store, name, tls);
      this.#rest.push(port);
      urls[name] = port.url;
    }
    return { urls, ca };
  }

  get state(): State {
    return this.#store.read();
  }

  /** Time of the stand-in passes, and nothing else does. */
  advance(ms: number): void {
    this.#world((world) => world.advance(ms, (server) => runJob(world, server)));
  }

  fault(fault: Omit<Fault, 'times'> & { readonly times?: number }): void {
    this.#store.update((state) => void state.faults.push({ times: 1, ...fault }));
  }

  /** The application writes a row. False when it cannot. */
  write(row: string): boolean {
    return this.#world((world) => world.write(row));
  }

  crash(server: string): void {
    this.#world((world) => world.crash(world.server(server)));
  }

  /** Its machine stands still for so long. */
  stun(server: string, ms: number): void {
    this.#world((world) => world.stun(world.server(server), ms));
  }

  boot(server: string): void {
    this.#world((world) => world.startBoot(world.server(server), false));
  }

  change(change: (state: State) => void): void {
    this.#store.update(change);
  }

  mirror(): { readonly status: string; readonly colours: readonly string[] } {
    const world = new Mirror(this.state, this.#store);
    return { status: world.status(), colours: world.state.servers.map((server) => world.colour(server)) };
  }

  /** What lies on the data partition of a volume or snapshot, by its id, or by the server's name. */
  data(of: string): DataPartition {
    if (of.startsWith('snap-')) return this.#store.dataPartition(`snapshots/${of}`);
    if (of.startsWith('vol-')) return this.#store.dataPartition(`volumes/${of}`);
    const world = new Mirror(this.state, this.#store);
    const volume = world.volumeOf(world.server(of));
    if (volume === undefined) throw new Error(`${of} has no volume`);
    return this.#store.dataPartition(`volumes/${volume.id}`);
  }

  #world<T>(act: (world: World) => T): T {
    return this.#store.update((state) => act(new World(state, this.#store)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#rest) await each[Symbol.asyncDispose]();
    await rm(this.root, { recursive: true, force: true });
  }
}
