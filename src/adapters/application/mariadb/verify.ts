import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import { drillOwner, exists, giveTo, openWay, ownDirectory, type Owner } from '../../../platform/copy-files.ts';
import { endServer } from '../../../platform/end-server.ts';
import type { RunningProcess } from '../../../platform/exec.ts';
import type { Copy } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import { adopt, dataDirectoryOf, holds } from './adopt.ts';
import { copyLog, copySocket, serverArgv, versionArgv } from './commands.ts';
import type { CopyServer } from './commands.ts';
import type { MariadbConfig } from './config.ts';
import { Connection } from './connection.ts';
import { complaintsIn, lastWords, parseVersion } from './parse.ts';
import { questions } from './questions.ts';

const pollMs = 50;
/** A clean shutdown writes the pages of a small buffer pool; then the server is stopped the hard way. */
const stopMs = 60_000;
const noSecret = (): Promise<string> => Promise.reject(new Error('a copy asks for no password'));

export function finding(severity: Finding['severity'], check: string, said: string): Finding {
  return { severity, check, said };
}

/**
 * Starts the copy as a server of its own that can reach nothing else, lets it recover, asks its tables, and stops it whatever happens,
 * also when the caller stops listening. What is wrong with the copy is a finding; what keeps the drill from being held is thrown.
 */
export async function* verify(
  copy: Copy,
  signal: AbortSignal,
  config: MariadbConfig,
  platform: Platform,
): AsyncGenerator<Finding> {
  const data = copy.at(dataDirectoryOf(copy));
  const program = await programFor(copy, config, platform);
  await adopt(copy);
  const owner = drillOwner(copy.facts);
  refuseSameUser(copy, owner);
  const places = copy.required.filter(({ role }) => role !== 'configuration').map(({ path }) => copy.at(path));
  const closeWay = await openWay([...places, copy.scratch], owner);
  try {
    await ownDirectory(copy.scratch, owner);
    if (owner !== undefined) for (const place of [copy.scratch, ...places]) await giveTo(place, owner);
    const server: CopyServer = { program, dataDirectory: data, scratch: copy.scratch, settings: settingsOf(copy) };
    yield* runServer(server, owner, signal, config, platform);
    yield* await logFindings(copy.scratch);
  } finally {
    await closeWay();
  }
}

/**
 * InnoDB's redo log names tablespaces outside the data directory by their absolute path, and recovery opens them there. Only a user who
 * may not open the original's files keeps it from them.
 */
function refuseSameUser(copy: Copy, owner: Owner | undefined): void {
  const outside = copy.required.find(({ role }) => role === 'tablespace');
  if (owner !== undefined || outside === undefined || copy.at(outside.path) === outside.path) return;
  throw new StillpointError(
    'drill-failed',
    `the copy has tables in ${outside.path}: its recovery could open the original's`,
    { hint: 'run the drill as root, which starts the copy as a user of its own' },
  );
}

/** A `mariadbd` of the copy's own series: a later one would upgrade the files, an earlier one cannot read them. */
async function programFor(copy: Copy, config: MariadbConfig, platform: Platform): Promise<string> {
  const wanted = parseVersion(copy.facts['version'] ?? '');
  const named = [config.program, copy.facts['program'], await platform.exec.which('mariadbd')];
  const seen: string[] = [];
  for (const program of new Set(named)) {
    if (program === undefined || program === '' || !(await exists(program))) continue;
    const { stdout } = await platform.exec.run({ argv: versionArgv(program), timeoutMs: 10_000 });
    const found = parseVersion(stdout);
    const same = found?.major === wanted?.major && found?.minor === wanted?.minor;
    if (found?.isMariadb === true && (wanted === undefined || same)) return program;
    seen.push(`${program} (${found?.text ?? stdout.trim()})`);
  }
  const series = wanted === undefined ? '' : ` ${wanted.major}.${wanted.minor}`;
  const rest = seen.length === 0 ? '' : `; found only ${seen.join(', ')}`;
  throw new StillpointError('drill-failed', `there is no mariadbd${series} to start the copy with${rest}`, {
    hint: 'install mariadb-server-core of that series, or set application.mariadb.program',
  });
}

/** Every setting that names a place, with the copy's; and those without which the files cannot be read. */
function settingsOf(copy: Copy): Readonly<Record<string, string>> {
  const { facts } = copy;
  const data = dataDirectoryOf(copy);
  const settings: Record<string, string> = {};
  for (const name of ['innodb_page_size', 'innodb_undo_tablespaces', 'lower_case_table_names', 'server_id']) {
    const value = facts[name] ?? '';
    if (value !== '') settings[name.replaceAll('_', '-')] = value;
  }
  const places = { 'innodb-log-group-home-dir': 'redo', 'innodb-undo-directory': 'undo', 'aria-log-dir-path': 'aria' };
  for (const [setting, fact] of Object.entries(places)) {
    const original = facts[fact] ?? '';
    if (original !== '' && original !== data) settings[setting] = copy.at(original);
  }
  const system: readonly { path: string; rest: string }[] = JSON.parse(facts['systemFiles'] ?? '[]');
  if (system.length > 0) {
    settings['innodb-data-home-dir'] = '';
    settings['innodb-data-file-path'] = system.map(({ path, rest }) => `${copy.at(path)}:${rest}`).join(';');
  }
  const base = facts['logBinBasename'] ?? '';
  const index = facts['logBinIndex'] ?? '';
  // Recovery decides by the binary log which prepared transactions were committed.
  if (base !== '' && holds(copy, dirname(base)) && holds(copy, index)) {
    settings['log-bin'] = copy.at(base);
    settings['log-bin-index'] = copy.at(index);
  }
  return settings;
}

async function* runServer(
  server: CopyServer,
  owner: Owner | undefined,
  signal: AbortSignal,
  config: MariadbConfig,
  platform: Platform,
): AsyncGenerator<Finding> {
  signal.throwIfAborted();
  const startedMs = platform.clock.monoMs();
  const process = platform.exec.start({ argv: serverArgv(server), cwd: '/', ...owner });
  const exit = { done: false };
  const exited = process.exited.then((how) => {
    exit.done = true;
    return how;
  });
  // A drill that is cancelled must not wait for an answer of the server, nor for its pages.
  const onAbort = (): void => process.kill('SIGKILL');
  signal.addEventListener('abort', onAbort, { once: true });
  let clean = false;
  try {
    const connection = await whenReady(server, exit, signal, platform);
    if (connection === undefined) {
      yield finding('error', 'start', `the copy did not start: ${await wordsOf(server, process)}`);
      clean = true;
      return;
    }
    const seconds = ((platform.clock.monoMs() - startedMs) / 1000).toFixed(1);
    try {
      const [row] = await connection.query('SELECT VERSION() AS version, @@GLOBAL.gtid_binlog_pos AS gtid');
      const gtid = row?.['gtid'] ? `, GTID ${row['gtid']}` : '';
      yield finding('info', 'start', `started and recovered in ${seconds} s: ${row?.['version'] ?? ''}${gtid}`);
      yield* questions(connection, config);
    } catch (cause) {
      signal.throwIfAborted();
      yield finding('error', 'start', `the copy stopped answering: ${messageOf(cause)}`);
    } finally {
      await connection.close();
    }
    signal.throwIfAborted();
  } finally {
    signal.removeEventListener('abort', onAbort);
    clean = (await stop(process, exit, exited, signal, platform)) || clean;
  }
  if (!clean) yield finding('error', 'stop', `the copy did not stop cleanly: ${await wordsOf(server, process)}`);
}

async function wordsOf(server: CopyServer, process: RunningProcess): Promise<string> {
  const log = await logOf(server.scratch);
  return lastWords(log === '' ? process.stderrTail() : log) || 'its log is empty';
}

async function logOf(scratch: string): Promise<string> {
  try {
    return await readFile(copyLog(scratch), 'utf8');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return '';
    throw cause;
  }
}

async function logFindings(scratch: string): Promise<readonly Finding[]> {
  return complaintsIn(await logOf(scratch)).map((line) => finding('error', 'error-log', line));
}

async function whenReady(
  server: CopyServer,
  exit: { readonly done: boolean },
  signal: AbortSignal,
  platform: Platform,
): Promise<Connection | undefined> {
  const place = { host: copySocket(server.scratch), port: 3306, user: 'root' };
  for (;;) {
    signal.throwIfAborted();
    try {
      return await Connection.open(place, platform.clock, noSecret, { signal, statementMs: 0 });
    } catch (cause) {
      signal.throwIfAborted();
      // No socket so far: recovery takes as long as it takes. Any other refusal is an answer.
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
    [signal.aborted ? 'SIGKILL' : 'SIGTERM', stopMs],
    ['SIGKILL', 10_000],
  ] as const;
  return await endServer(process, exited, ways, platform.clock);
}
