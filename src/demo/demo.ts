import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { DemoOptions, DemoReport, Session } from '../cli/command.ts';
import { bytes, duration } from '../cli/format.ts';
import { drillLines, findingLines, pointLines } from '../cli/point-text.ts';
import { backup, type BackupResult } from '../flows/backup.ts';
import { drill } from '../flows/drill.ts';
import type { Reporter, Workload } from '../flows/environment.ts';
import { restore, type RestoreResult } from '../flows/restore.ts';
import { restoreAsIs } from '../model/recovery.ts';
import { StillpointError } from '../model/errors.ts';
import { systemClock } from '../platform/clock.ts';
import { systemExec, type RunningProcess } from '../platform/exec.ts';
import type { Host } from '../ports/host.ts';
import { startPostgres, whyNoPostgres, type EmbeddedPostgres } from './embedded-postgres.ts';
import { makePlace } from './storage.ts';

/** What the story needs of the composition root. */
export interface DemoTools {
  compose(options: { readonly configFile: string; readonly reporter: Reporter }): Promise<Session>;
  readonly host: Host;
}

const workloadName = 'demo';
/** Rows that were there before the writer began: what an incremental need not read again. */
const accounts = 150_000;
/** Files that changed within 2 s before a cut are read again by the next point; the demo waits that out to show the usual case. */
const settleMs = 2_500;

interface Acknowledged {
  readonly id: number;
  readonly monoMs: number;
}

/** The whole story, through the same flows as the commands. Whatever happens, nothing of it stays behind unless `keep` is set. */
export async function demo(options: DemoOptions, tools: DemoTools): Promise<DemoReport> {
  const why = await whyNoPostgres();
  if (why !== undefined) {
    throw new StillpointError('command-failed', `the demo cannot start its database: ${why}`, {
      hint: 'run `npm ci` on Linux on x64 or arm64; optional dependencies must not be left out',
    });
  }
  const undo = new AsyncDisposableStack();
  try {
    return await new Demo(options, tools, undo).tell();
  } finally {
    options.reporter.end();
    await undo.disposeAsync();
  }
}

class Demo {
  readonly #options: DemoOptions;
  readonly #tools: DemoTools;
  readonly #undo: AsyncDisposableStack;
  readonly #beganMs = systemClock.monoMs();
  readonly #times: Record<string, number> = {};

  constructor(options: DemoOptions, tools: DemoTools, undo: AsyncDisposableStack) {
    this.#options = options;
    this.#tools = tools;
    this.#undo = undo;
  }

  async tell(): Promise<DemoReport> {
    const home = await this.#makeHome();
    const configFile = join(home, 'stillpoint.yaml');
    const database = await this.#timed('database', () => this.#startDatabase(home, configFile));
    const session = this.#undo.adopt(await this.#openSession(configFile), (each) => each.close());
    const workload = session.workloads.get(workloadName);
    if (workload === undefined) throw new Error('the demo does not find its own workload');
    const place = database.why;
    const writer = await this.#startWriter(database.server, home);

    const full = await this.#backUp('full', workload, session);
    await this.#pause(settleMs);
    const last = await this.#backUp('incremental', workload, session);
    await this.#drillPoint(last, workload, session);

    const acknowledged = await this.#destroy(database.server, writer, home, last);
    const restored = await this.#restorePoint(home, last, workload, session);
    const found = await this.#timed('start', () => this.#look(database.server, restored, home, acknowledged));
    const lost = acknowledged.length - found;
    this.#times['total'] = Math.round(systemClock.monoMs() - this.#beganMs);
    this.#conclude(acknowledged.length, found, lost, home);
    return {
      method: [...new Set(last.point.volumes.map((volume) => volume.provider))].join(', '),
      why: place,
      points: [full.point, last.point],
      acknowledged: acknowledged.length,
      restored: found,
      lost,
      times: this.#times,
      directory: this.#options.keep ? home : null,
    };
  }

  async #makeHome(): Promise<string> {
    const { directory, keep } = this.#options;
    const named = directory === undefined ? undefined : resolve(directory);
    if (named !== undefined && existsSync(named)) {
      throw new StillpointError('target-not-empty', `${named} is there already`, {
        hint: 'give a new directory, which the demo makes and takes away again',
      });
    }
    if (named !== undefined) await mkdir(named, { recursive: true });
    const home = named ?? (await mkdtemp(join(tmpdir(), 'stillpoint-demo-')));
    this.#undo.defer(async () => {
      if (!keep) await rm(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    });
    // The database's own user must reach its files below.
    await chmod(home, 0o711);
    return home;
  }

  async #startDatabase(
    home: string,
    configFile: string,
  ): Promise<{ readonly server: EmbeddedPostgres; readonly why: string }> {
    const { host } = this.#tools;
    const place = await makePlace(home, { exec: systemExec, host, signal: this.#options.signal }, this.#undo);
    const server = this.#undo.use(await startPostgres({ directory: join(place.directory, 'pg') }));
    await writeFile(configFile, stringify(this.#config(home, server)));
    const client = await server.connect();
    await client.query(`CREATE TABLE accounts AS
      SELECT id, md5(id::text) || md5((id + 1)::text) || md5((id + 2)::text) AS owner FROM generate_series(1, ${accounts}) AS id`);
    await client.query(
      'CREATE TABLE payments (id bigint PRIMARY KEY, account int NOT NULL, at timestamptz NOT NULL DEFAULT now())',
    );
    await client.query('CHECKPOINT');
    await client.end();
    this.#say(`PostgreSQL ${server.version} with ${accounts} accounts runs in ${place.directory}`);
    this.#say(`  ${place.why}`);
    return { server, why: place.why };
  }

  #config(home: string, server: EmbeddedPostgres): unknown {
    const { dataDirectory, socketDirectory, port, binDirectory } = server;
    const postgresql = { dataDirectory, host: socketDirectory, port, binDirectory, user: 'postgres', canary: true };
    return {
      repository: { store: { local: join(home, 'repository') }, passwordFile: join(home, 'repository.key') },
      stateDirectory: join(home, 'state'),
      workloads: { [workloadName]: { application: { postgresql }, storage: 'auto' } },
    };
  }

  async #openSession(configFile: string): Promise<Session> {
    const session = await this.#tools.compose({ configFile, reporter: this.#options.reporter });
    await session.initRepository({ generatePassword: true });
    return session;
  }

  async #startWriter(server: EmbeddedPostgres, home: string): Promise<RunningProcess> {
    const source = fileURLToPath(new URL('writer.ts', import.meta.url));
    const entry = existsSync(source) ? source : fileURLToPath(new URL('writer.js', import.meta.url));
    const argv = [process.execPath, entry, server.socketDirectory, String(server.port), logOf(home)] as const;
    const writer = systemExec.start({ argv });
    this.#undo.defer(async () => {
      writer.kill('SIGKILL');
      await writer.exited;
    });
    await writer.firstLine((line) => line === 'ready', 20_000);
    this.#say('a writer of its own commits payments one after the other and notes what was acknowledged');
    await this.#pause(settleMs);
    return writer;
  }

  async #backUp(level: 'full' | 'incremental', workload: Workload, session: Session): Promise<BackupResult> {
    const { signal, paint } = this.#options;
    this.#say('');
    this.#say(`$ stillpoint backup ${workloadName} --level ${level}`);
    const result = await this.#timed(level, () => backup(workload, session.environment, { level, signal }));
    for (const line of [...pointLines(result.point, paint), ...findingLines(result.findings, paint)]) this.#say(line);
    return result;
  }

  async #drillPoint(last: BackupResult, workload: Workload, session: Session): Promise<void> {
    const { signal, paint } = this.#options;
    this.#say('');
    this.#say(`$ stillpoint drill ${last.point.id}`);
    const result = await this.#timed('drill', () =>
      drill(workload, session.environment, { plan: restoreAsIs(last.point), directory: undefined, signal }),
    );
    for (const line of drillLines(last.point, result, paint)) this.#say(line);
    if (result.outcome === 'failed') {
      throw new StillpointError('drill-failed', 'the drill of the demo failed', {
        hint: 'run it again with --keep and look into the directory',
        details: { findings: result.findings },
      });
    }
  }

  /** What the writer had noted before the cut was called. Nobody else is asked. */
  async #destroy(
    server: EmbeddedPostgres,
    writer: RunningProcess,
    home: string,
    last: BackupResult,
  ): Promise<readonly Acknowledged[]> {
    this.#say('');
    this.#say(`$ kill -9 ${server.pid}; rm -rf ${server.dataDirectory}`);
    await server.kill();
    await writer.exited;
    await rm(server.dataDirectory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    const all = parseLog(await readFile(logOf(home), 'utf8'));
    const cutCalled = last.evidence.events.find((event) => event.what === 'cut called')?.at.monoMs;
    if (cutCalled === undefined) throw new Error('the evidence does not say when the cut was called');
    const before = all.filter((each) => each.monoMs < cutCalled);
    this.#say(
      `the database is gone; ${all.length} payments had been acknowledged, ${before.length} of them before the last cut`,
    );
    return before;
  }

  async #restorePoint(home: string, last: BackupResult, workload: Workload, session: Session): Promise<RestoreResult> {
    const path = join(home, 'restored');
    this.#say('');
    this.#say(`$ stillpoint restore ${workloadName} --target ${path}`);
    const target = { kind: 'directory', path } as const;
    const { signal } = this.#options;
    const result = await this.#timed('restore', () =>
      restore(workload, session.environment, { plan: restoreAsIs(last.point), target, signal }),
    );
    this.#say(`${bytes(result.bytes)} in ${result.files} files, ${duration(result.tookMs)}`);
    return result;
  }

  /** How many of the acknowledged rows the restored copy has. */
  async #look(
    server: EmbeddedPostgres,
    restored: RestoreResult,
    home: string,
    acknowledged: readonly Acknowledged[],
  ): Promise<number> {
    const data = restored.paths.find((path) => path.original === server.dataDirectory)?.at;
    if (data === undefined) throw new Error('the restore does not say where the data directory lies');
    const copy = await server.serveCopy(data, join(home, 'sockets'));
    this.#undo.defer(() => copy.halt());
    const client = await copy.connect();
    try {
      const { rows } = await client.query<{ id: string }>('SELECT id FROM payments');
      const there = new Set(rows.map((row) => Number(row.id)));
      return acknowledged.filter((each) => there.has(each.id)).length;
    } finally {
      await client.end();
    }
  }

  #conclude(acknowledged: number, found: number, lost: number, home: string): void {
    const { paint, keep } = this.#options;
    this.#say('');
    this.#say('the restored database answers; of the payments acknowledged before the cut');
    this.#say(`  acknowledged  ${acknowledged}`);
    this.#say(`  restored      ${found}`);
    this.#say(`  lost          ${paint(lost === 0 ? 'green' : 'red', String(lost))}`);
    this.#say(`all in ${duration(this.#times['total'] ?? 0)}`);
    if (!keep) return;
    const config = `--config ${join(home, 'stillpoint.yaml')}`;
    this.#say('');
    this.#say(`left in ${home}. The live database is gone; look at its points with`);
    this.#say(`  stillpoint points ${config}`);
    this.#say(`  stillpoint show POINT --svg flight.svg ${config}`);
    this.#say(`  stillpoint restore ${workloadName} --target DIR ${config}`);
    this.#say(`  restic -r ${join(home, 'repository')} --password-file ${join(home, 'repository.key')} snapshots`);
  }

  async #timed<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#options.signal.throwIfAborted();
    const began = systemClock.monoMs();
    const result = await work();
    this.#times[name] = Math.round(systemClock.monoMs() - began);
    return result;
  }

  /** Cancelling ends it; the cause is thrown by whatever comes next. */
  async #pause(ms: number): Promise<void> {
    await systemClock.sleep(ms, this.#options.signal).catch(() => undefined);
    this.#options.signal.throwIfAborted();
  }

  #say(text: string): void {
    this.#options.reporter.say(text);
  }
}

function logOf(home: string): string {
  return join(home, 'acknowledged.log');
}

/** A last line without its end was being written when the writer died. */
function parseLog(text: string): readonly Acknowledged[] {
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id, monoMs] = line.split(' ').map(Number);
      if (id === undefined || monoMs === undefined) throw new Error(`the writer noted "${line}"`);
      return { id, monoMs };
    });
}
