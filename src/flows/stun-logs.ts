import { glob, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { StillpointError, codeOf, messageOf } from '../model/errors.ts';
import { StunScanner, type ScannedLog } from '../model/parse-stun.ts';
import { stunsOf } from '../model/stun-causes.ts';
import { forecastStuns, type StunForecast, type StunReport } from '../model/stun.ts';
import { textLines } from '../platform/text-lines.ts';

interface Log extends ScannedLog {
  readonly file: string;
  readonly period: NonNullable<ScannedLog['period']>;
}

export interface ReadStuns {
  readonly signal: AbortSignal;
  /** For progress. `files`: how many were begun. */
  onBytes?(done: { readonly bytesDone: number; readonly bytesTotal: number; readonly files: number }): void;
}

/** Everything that these logs tell, by machine. Throws `usage` for a file that is not there, cannot be read or is no such log. */
export async function readStunLogs(files: readonly string[], options: ReadStuns): Promise<readonly StunReport[]> {
  const seen = await Promise.all(files.map(statOf));
  const bytesTotal = seen.reduce((sum, { size }) => sum + size, 0);
  const logs: Log[] = [];
  let bytesDone = 0;
  for (const { file, writtenMs } of seen) {
    const onBytes = (count: number): void => {
      bytesDone += count;
      options.onBytes?.({ bytesDone, bytesTotal: Math.max(bytesDone, bytesTotal), files: logs.length + 1 });
    };
    logs.push(await readLog(file, writtenMs, options.signal, onBytes));
  }
  return reportsOf(logs);
}

/**
 * What a cluster's member is to be reckoned with at the next cut. `stunMs`: the bound, if there is one; `stunLogs`: paths, or patterns.
 * Throws `config-invalid` with the file: a log that is not there may be the one with the longest stun.
 */
export async function expectedStuns(
  { stunMs, stunLogs = [] }: { readonly stunMs: number | undefined; readonly stunLogs?: readonly string[] },
  signal: AbortSignal,
): Promise<StunForecast> {
  try {
    const files = await Promise.all(stunLogs.map(matching));
    return forecastStuns(await readStunLogs([...new Set(files.flat())], { signal }), stunMs);
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'usage') throw error;
    throw new StillpointError('config-invalid', `hold.stun.logs: ${error.message}`, {
      hint: `${error.hint ?? ''}; or give a bound alone: hold.stun: 2s`,
      cause: error,
    });
  }
}

/** Predecessors of a log get other numbers from time to time. */
async function matching(path: string): Promise<readonly string[]> {
  if (!path.includes('*')) return [path];
  const found: string[] = [];
  for await (const file of glob(path)) found.push(file);
  found.sort();
  if (found.length > 0) return found;
  throw new StillpointError('usage', `no file is like ${path}`, {
    hint: "give vmware.log files; a virtual machine's lie in its folder on the datastore",
  });
}

async function statOf(
  file: string,
): Promise<{ readonly file: string; readonly size: number; readonly writtenMs: number }> {
  try {
    const found = await stat(file);
    if (found.isDirectory())
      throw new StillpointError('usage', `${file} is a folder`, {
        hint: `name the logs in it: ${join(file, 'vmware*.log')}`,
      });
    return { file, size: found.size, writtenMs: found.mtimeMs };
  } catch (error) {
    throw error instanceof StillpointError ? error : unreadable(file, error);
  }
}

async function readLog(
  file: string,
  writtenMs: number,
  signal: AbortSignal,
  onBytes: (count: number) => void,
): Promise<Log> {
  const scanner = new StunScanner();
  try {
    for await (const lines of textLines(file, { signal, onBytes })) for (const line of lines) scanner.push(line);
  } catch (error) {
    if (signal.aborted) throw error;
    throw unreadable(file, error);
  }
  const { period, ...scanned } = scanner.result(writtenMs);
  if (period === undefined)
    throw new StillpointError(
      'usage',
      `${file} is no vmware.log: none of its ${scanned.lines} lines looks like one of a virtual machine's log`,
      {
        hint: "give the files vmware.log and vmware-N.log, or the same packed by gzip, from the virtual machine's folder",
      },
    );
  return { file, period, ...scanned };
}

function unreadable(file: string, error: unknown): StillpointError {
  const missing = codeOf(error) === 'ENOENT';
  return new StillpointError(
    'usage',
    missing ? `there is no file ${file}` : `${file} cannot be read: ${messageOf(error)}`,
    {
      hint: missing
        ? "give vmware.log files; a virtual machine's lie in its folder on the datastore"
        : 'check its permissions, or copy it again if it is damaged',
      cause: error,
    },
  );
}

/** `vmware.log` and its rotated predecessors in one folder are one machine's; a file of any other name stands for itself. */
export function machineOf(file: string): string {
  const rotated = /^(.*vmware)(?:-\d+)?\.log(?:\.gz)?$/i.exec(basename(file));
  return join(dirname(file), rotated === null ? basename(file) : `${rotated[1]}.log`);
}

function reportsOf(logs: readonly Log[]): readonly StunReport[] {
  const machines = Map.groupBy(logs, ({ file }) => resolve(machineOf(file)));
  return [...machines.values()].map((all) => {
    // By time: higher numbers are newer under ESXi and older under Workstation, and a shell sorts 10 before 2.
    const sorted = all.toSorted((a, b) => a.period.fromMs - b.period.fromMs);
    return {
      machine: machineOf(all[0]?.file ?? ''),
      files: sorted.map(({ file }) => file),
      fromMs: Math.min(...sorted.map(({ period }) => period.fromMs)),
      toMs: Math.max(...sorted.map(({ period }) => period.toMs)),
      yearGuessed: sorted.some(({ yearGuessed }) => yearGuessed),
      torn: sorted.reduce((sum, { torn }) => sum + torn, 0),
      stuns: stunsOf(sorted),
    };
  });
}
