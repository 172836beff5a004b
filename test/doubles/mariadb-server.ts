import { existsSync, realpathSync } from 'node:fs';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/platform/clock.ts';
import { type RunningProcess, systemExec } from '../../src/platform/exec.ts';
import { mariadbPlace } from '../../src/platform/mariadb-place.ts';
import { type MariadbRow, MariadbSession } from '../../src/platform/mariadb-session.ts';
import { killExactly, processesIn } from '../../src/platform/process.ts';

/** One server of its own: own files, a socket and a port of the loopback interface. */
export interface MariadbServer {
  readonly name: string;
  readonly socket: string;
  readonly port: number;
  readonly dataDirectory: string;
  /** A session of the superuser; the caller ends it. It ends by itself after a minute. */
  connect(): Promise<MariadbSession>;
  /** One statement; the rows. */
  ask(sql: string): Promise<readonly MariadbRow[]>;
  /** SIGKILL; returns when it is gone. */
  kill(): Promise<void>;
  /** SIGSTOP, as if its machine stood still, and SIGCONT. */
  freeze(): void;
  thaw(): void;
  /** Clean shutdown, and the files stay. */
  halt(): Promise<void>;
  /** Returns when it takes logins. `more` are arguments of this start only. */
  start(more?: readonly string[]): Promise<void>;
  /** Runs the program to its end, while the server does not run; what it said. */
  run(more: readonly string[]): Promise<string>;
}

/** Where servers are made; all that is in it ends with it. */
export interface MariadbYard extends AsyncDisposable {
  readonly directory: string;
  /** An empty data directory is copied, or `from`, whose server must not run. The server is not started. */
  add(name: string, args: readonly string[], from?: string): Promise<MariadbServer>;
}

const waitMs = 60_000;
const nobody = { uid: 65_534, gid: 65_534 };
const superuser = 'root';

/** Small, and worthless after a crash of the machine. */
const small = [
  '--skip-name-resolve',
  '--performance-schema=off',
  '--innodb-buffer-pool-size=8M',
  '--innodb-log-file-size=4M',
  '--innodb-flush-log-at-trx-commit=0',
  '--aria-pagecache-buffer-size=1M',
  '--key-buffer-size=1M',
];

/** The reason why no server can be made here, or undefined. */
export async function whyNoMariadb(): Promise<string | undefined> {
  for (const program of ['mariadbd', 'mariadb-install-db', 'my_print_defaults']) {
    if ((await systemExec.which(program)) === undefined) {
      return 'needs MariaDB: Debian packages mariadb-server-core and mariadb-client-core are not installed';
    }
  }
  return undefined;
}

export async function until(what: string, done: () => Promise<boolean>, limitMs = waitMs): Promise<void> {
  const deadline = systemClock.monoMs() + limitMs;
  while (!(await done())) {
    if (systemClock.monoMs() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await systemClock.sleep(50);
  }
}

/** Free just now; nobody else on the loopback interface is asked to keep away from it. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise<void>((resolve) => void server.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new Error('no port is free');
  return address.port;
}

export async function openYard(): Promise<MariadbYard> {
  const why = await whyNoMariadb();
  if (why !== undefined) throw new Error(why);
  // Short: a socket's path has room for 107 bytes.
  const directory = await mkdtemp(join(tmpdir(), 'sp-my-'));
  const owner = process.getuid?.() === 0 ? nobody : undefined;
  const servers: MariadbServer[] = [];
  const dispose = async (): Promise<void> => {
    for (const server of servers) {
      server.thaw();
      await server.kill();
    }
    await rm(directory, { recursive: true, force: true });
  };
  try {
    if (owner !== undefined) await chown(directory, owner.uid, owner.gid);
    const empty = join(directory, 'empty');
    const install = ['mariadb-install-db', '--no-defaults', `--datadir=${empty}`, '--skip-test-db'] as const;
    await systemExec.check({
      argv: [...install, '--auth-root-authentication-method=normal', ...small, await ownTemporary(directory, owner)],
      cwd: directory,
      timeoutMs: waitMs,
      ...owner,
    });
    return {
      directory,
      async add(name, args, from = empty) {
        const dataDirectory = join(directory, name);
        await systemExec.check({ argv: ['cp', '-a', from, dataDirectory], timeoutMs: waitMs });
        const server = serverOn(name, directory, dataDirectory, await freePort(), args, owner);
        servers.push(server);
        return server;
      },
      [Symbol.asyncDispose]: dispose,
    };
  } catch (cause) {
    await dispose();
    throw cause;
  }
}

/** A server that starts removes all temporary tables that it finds in its directory for them: also those of its neighbours in a shared one. */
async function ownTemporary(directory: string, owner: typeof nobody | undefined): Promise<string> {
  const temporary = await mkdtemp(join(directory, 'tmp-'));
  if (owner !== undefined) await chown(temporary, owner.uid, owner.gid);
  return `--tmpdir=${temporary}`;
}

function serverOn(
  name: string,
  directory: string,
  dataDirectory: string,
  port: number,
  args: readonly string[],
  owner: typeof nobody | undefined,
): MariadbServer {
  const socket = join(directory, `${name}.sock`);
  let running: RunningProcess | undefined;
  const signalAll = (signal: NodeJS.Signals): void => {
    // The directory may be a link; a process knows where it really is.
    if (existsSync(dataDirectory))
      for (const each of processesIn(realpathSync(dataDirectory))) killExactly(each, signal);
  };
  const place = mariadbPlace.parse({ host: socket, user: superuser });
  const connect = async (limitMs = waitMs): Promise<MariadbSession> =>
    MariadbSession.open(place, systemClock, async () => '', { signal: new AbortController().signal, limitMs });
  const gone = async (): Promise<void> => {
    await running?.exited;
    running = undefined;
  };
  return {
    name,
    socket,
    port,
    dataDirectory,
    connect,
    async ask(sql) {
      await using session = await connect();
      return await session.query(sql);
    },
    async kill() {
      signalAll('SIGKILL');
      await gone();
    },
    freeze: () => signalAll('SIGSTOP'),
    thaw: () => signalAll('SIGCONT'),
    async halt() {
      running?.kill('SIGTERM');
      await gone();
    },
    async run(more) {
      const { stderr } = await systemExec.run({
        argv: [
          'mariadbd',
          '--no-defaults',
          `--datadir=${dataDirectory}`,
          '--skip-networking',
          `--socket=${socket}`,
          await ownTemporary(directory, owner),
          ...small,
          ...args,
          ...more,
        ],
        cwd: dataDirectory,
        timeoutMs: waitMs,
        ...owner,
      });
      return stderr;
    },
    async start(more = []) {
      if (running !== undefined) throw new Error(`${name} runs already`);
      const temporary = await ownTemporary(directory, owner);
      const places = [`--datadir=${dataDirectory}`, `--socket=${socket}`, `--port=${port}`, temporary];
      const log = `--log-error=${join(directory, `${name}.log`)}`;
      const own = [...places, log, '--bind-address=127.0.0.1', `--pid-file=${join(directory, `${name}.pid`)}`];
      const child = systemExec.start({
        argv: ['mariadbd', '--no-defaults', ...own, ...small, ...args, ...more],
        env: { PATH: `${directory}:/usr/sbin:/usr/bin:/sbin:/bin` },
        cwd: dataDirectory,
        ...owner,
      });
      running = child;
      let ended = false;
      void child.exited.then(() => (ended = true));
      await until(`${name} takes logins`, async () => {
        if (ended) throw new Error(`${name} ended: ${await tailOf(join(directory, `${name}.log`))}`);
        try {
          await using session = await connect(5000);
          await session.query('SELECT 1');
          return true;
        } catch {
          // It has not come so far.
          return false;
        }
      });
    },
  };
}

async function tailOf(file: string): Promise<string> {
  return (await systemExec.run({ argv: ['tail', '-n', '20', file], timeoutMs: waitMs })).stdout;
}
