import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import { endServer } from '../../../platform/end-server.ts';
import type { RunningProcess } from '../../../platform/exec.ts';
import type { Copy } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import { adopt, dataDirectoryOf } from './adopt.ts';
import { checksumsArgv, copyFiles, copyPort, serverArgv, versionArgv } from './commands.ts';
import type { CopyServer } from './commands.ts';
import type { PostgresqlConfig } from './config.ts';
import { connect } from './connection.ts';
import type { Connection } from './connection.ts';
import {
  closeToOthers,
  drillOwner,
  exists,
  giveTo,
  openWay,
  ownDirectory,
  removeIfThere,
} from '../../../platform/copy-files.ts';
import type { Owner } from '../../../platform/copy-files.ts';
import { lastComplaint, majorOfProgram } from './parse.ts';
import { questions } from './questions.ts';
import { text } from './locate.ts';

const pollMs = 50;
/** A fast shutdown writes a checkpoint of 32 MB of buffers; then the server is stopped the hard way. */
const stopMs = 60_000;
const drainMs = 2000;
const noSecret = (): Promise<string> => Promise.reject(new Error('a copy asks for no password'));

function finding(severity: Finding['severity'], check: string, said: string): Finding {
  return { severity, check, said };
}

/**
 * Starts the copy as a server of its own that can reach nothing else, lets it recover, asks its databases, and stops it whatever
 * happens, also when the caller stops listening. What is wrong with the copy is a finding; what keeps the drill from being held
 * (no program of that version, a closed directory) is thrown.
 */
export async function* verify(
  copy: Copy,
  signal: AbortSignal,
  config: PostgresqlConfig,
  platform: Platform,
): AsyncGenerator<Finding> {
  const data = copy.at(dataDirectoryOf(copy));
  const major = Number((await readOr(join(data, 'PG_VERSION'), copy.facts['majorVersion'] ?? '')).trim());
  const binDirectory = await programsFor(major, copy, config, platform);
  await adopt(copy);
  const owner = drillOwner(copy.facts);
  const places = copy.required.filter((each) => each.role !== 'configuration').map((each) => copy.at(each.path));
  const closeWay = await openWay([...places, copy.scratch], owner);
  try {
    yield* await prepareFiles(data, places, copy.scratch, owner);
    const server: CopyServer = {
      binDirectory,
      dataDirectory: data,
      scratch: copy.scratch,
      major,
      maxPreparedTransactions: copy.facts['maxPreparedTransactions'] ?? '100',
      maxLocksPerTransaction: copy.facts['maxLocksPerTransaction'] ?? '256',
      maxConnections: copy.facts['maxConnections'] ?? '100',
    };
    const stopped = yield* runServer(server, owner, copy, signal, config, platform);
    if (stopped && copy.facts['dataChecksums'] === 'on') yield* checksums(server, owner, signal, platform);
  } finally {
    await closeWay();
  }
}

async function readOr(path: string, otherwise: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    // A copy without PG_VERSION does not start either; the server's own words about it are better than ours.
    return otherwise;
  }
}

/** The directory of a `postgres` of the copy's major version: another one cannot read its files. */
async function programsFor(major: number, copy: Copy, config: PostgresqlConfig, platform: Platform): Promise<string> {
  const named = [config.binDirectory, copy.facts['binDirectory'], `/usr/lib/postgresql/${major}/bin`];
  const seen: string[] = [];
  for (const directory of named) {
    if (directory === undefined || directory === '' || !(await exists(join(directory, 'postgres')))) continue;
    const { stdout } = await platform.exec.run({ argv: versionArgv(directory), timeoutMs: 10_000 });
    if (majorOfProgram(stdout) === major) return directory;
    seen.push(`${directory} (${stdout.trim()})`);
  }
  const rest = seen.length === 0 ? '' : `; found only ${seen.join(', ')}`;
  throw new StillpointError(
    'drill-failed',
    `there are no programs of PostgreSQL ${major} to start the copy with${rest}`,
    {
      hint: `install postgresql-${major}, or set application.postgresql.binDirectory to where its postgres lies`,
    },
  );
}

async function prepareFiles(
  data: string,
  places: readonly string[],
  scratch: string,
  owner: Owner | undefined,
): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  for (const [name, content] of Object.entries(copyFiles)) await writeFile(join(scratch, name), content);
  await ownDirectory(scratch, owner);
  if (owner !== undefined) {
    await giveTo(scratch, owner);
    for (const place of places) await giveTo(place, owner);
  }
  await closeToOthers(data);
  await removeIfThere(join(data, 'postmaster.pid'));
  for (const name of ['standby.signal', 'recovery.signal']) {
    if (await removeIfThere(join(data, name))) {
      found.push(finding('info', 'start', `${name} was removed from the copy, which recovers by itself in a drill`));
    }
  }
  return found;
}

/** True if the server was started and stopped cleanly. */
async function* runServer(
  server: CopyServer,
  owner: Owner | undefined,
  copy: Copy,
  signal: AbortSignal,
  config: PostgresqlConfig,
  platform: Platform,
): AsyncGenerator<Finding, boolean> {
  signal.throwIfAborted();
  const startedMs = platform.clock.monoMs();
  const process = platform.exec.start({ argv: serverArgv(server), cwd: '/', ...owner });
  const exit = { done: false };
  const exited = process.exited.then((how) => {
    exit.done = true;
    return how;
  });
  let clean = false;
  // A drill that is cancelled must not wait for an answer of the server, nor for its checkpoint.
  const onAbort = (): void => process.kill('SIGQUIT');
  signal.addEventListener('abort', onAbort, { once: true });
  const open = async (database: string): Promise<Connection> =>
    connect(
      {
        host: server.scratch,
        port: copyPort,
        user: copy.facts['superuser'] || config.user,
        database,
        password: undefined,
      },
      { applicationName: 'stillpoint drill', statementMs: 0, connectMs: 60_000, signal },
      platform.clock,
      noSecret,
    );
  try {
    const connection = await whenReady(open, exit, signal, platform);
    if (connection === undefined) {
      yield finding('error', 'start', `the copy did not start: ${await lastWords(process)}`);
      return false;
    }
    const seconds = ((platform.clock.monoMs() - startedMs) / 1000).toFixed(1);
    try {
      const [row] = await connection.query('SELECT pg_is_in_recovery() AS recovering, version() AS version');
      yield finding('info', 'start', `started and recovered in ${seconds} s: ${text(row, 'version')}`);
      yield* questions(connection, open, config);
    } catch (cause) {
      signal.throwIfAborted();
      yield finding('error', 'start', `the copy stopped answering: ${messageOf(cause)}`);
    } finally {
      await connection.close();
    }
    signal.throwIfAborted();
  } finally {
    signal.removeEventListener('abort', onAbort);
    clean = await stop(process, exit, exited, signal, platform);
  }
  if (!clean) {
    yield finding('error', 'stop', `the copy did not stop cleanly: ${await lastWords(process)}`);
  }
  return clean;
}

/** The server's exit can be known before its last lines have come through the pipe; waiting for a line that never comes waits for those. */
async function lastWords(process: RunningProcess): Promise<string> {
  await process.firstLine(() => false, drainMs).catch(() => undefined);
  return lastComplaint(process.stderrTail()) || 'its log is empty';
}

async function whenReady(
  open: (database: string) => Promise<Connection>,
  exit: { readonly done: boolean },
  signal: AbortSignal,
  platform: Platform,
): Promise<Connection | undefined> {
  for (;;) {
    signal.throwIfAborted();
    try {
      return await open('template1');
    } catch (cause) {
      signal.throwIfAborted();
      // No socket yet, or recovery is at work: both take as long as they take. Any other refusal is an answer.
      if (!(cause instanceof StillpointError) || cause.code !== 'database-unreachable') throw cause;
    }
    // Asked after the attempt: a server that ended in between is not tried for ever.
    if (exit.done) return undefined;
    await platform.clock.sleep(pollMs, signal);
  }
}

async function stop(
  process: RunningProcess,
  exit: { readonly done: boolean },
  exited: RunningProcess['exited'],
  signal: AbortSignal,
  platform: Platform,
): Promise<boolean> {
  if (exit.done) return false;
  const ways = [
    [signal.aborted ? 'SIGQUIT' : 'SIGINT', stopMs],
    ['SIGQUIT', 10_000],
    ['SIGKILL', 10_000],
  ] as const;
  return await endServer(process, exited, ways, platform.clock);
}

async function* checksums(
  server: CopyServer,
  owner: Owner | undefined,
  signal: AbortSignal,
  platform: Platform,
): AsyncGenerator<Finding> {
  const argv = checksumsArgv(server.binDirectory, server.dataDirectory);
  if (!(await exists(argv[0]))) {
    yield finding('info', 'checksums', `not checked: there is no ${argv[0]}`);
    return;
  }
  const result = await platform.exec.run({ argv, ...owner, timeoutMs: 24 * 3600_000, signal });
  signal.throwIfAborted();
  if (result.exitCode === 0) {
    yield finding('info', 'checksums', 'all pages have their checksum');
    return;
  }
  const lines = result.stderr.trim().split('\n');
  for (const line of lines.slice(0, 20)) yield finding('error', 'checksums', line);
  if (lines.length > 20) yield finding('error', 'checksums', `and ${lines.length - 20} more`);
}
