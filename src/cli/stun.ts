import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { parseDuration } from '../config/units.ts';
import { StillpointError, codeOf, messageOf } from '../model/errors.ts';
import { StunScanner, type ScannedLog } from '../model/parse-stun.ts';
import { stunsOf } from '../model/stun-causes.ts';
import { stunSvg } from '../model/stun-svg.ts';
import {
  causeNames,
  overMargin,
  summarizeStuns,
  type Stun,
  type StunFigures,
  type StunReport,
  type StunSummary,
} from '../model/stun.ts';
import { systemClock } from '../platform/clock.ts';
import { textLines } from '../platform/text-lines.ts';
import type { Answer, CliReporter, Context } from './command.ts';
import { duration, localTime, pairs, table, type Paint } from './format.ts';
import { writeSvg } from './write-svg.ts';

export interface StunOptions {
  /** The time after which a failover begins. */
  readonly qos: string;
  readonly svg?: string;
}

/** No configuration, no services. */
interface StunContext extends Pick<Context, 'signal' | 'paint'> {
  readonly reporter: Pick<CliReporter, 'progress'>;
}

/** Logs that take less show no progress. */
const quietMs = 1000;
/** Rows of text for each machine; the document has all stuns. */
const mostRows = 40;

interface Log extends ScannedLog {
  readonly file: string;
  readonly period: NonNullable<ScannedLog['period']>;
}

/** Needs no configuration. Exit code 4 if a stun was not below the margin. */
export async function stunCommand(
  context: StunContext,
  files: readonly string[],
  options: StunOptions,
): Promise<Answer> {
  const qosMs = qosOf(options.qos);
  const logs = await readLogs(files, context);
  const reports = reportsOf(logs);
  const summary = summarizeStuns(reports, qosMs);
  if (options.svg !== undefined) await writeSvg(options.svg, stunSvg(reports, qosMs));
  return {
    document: {
      outcome: summary.total.over === 0 ? 'complete' : 'failed',
      qosMs,
      marginMs: summary.marginMs,
      total: figuresDocument(summary.total),
      causes: summary.causes.map(({ cause, ...figures }) => ({ cause, ...figuresDocument(figures) })),
      machines: reports.map((report) => reportDocument(report, summary.marginMs)),
      svg: options.svg ?? null,
    },
    lines: [
      ...reports.flatMap((report) => [...reportLines(report, summary.marginMs, context.paint), '']),
      ...summaryLines(summary, qosMs, context.paint),
      ...(options.svg === undefined ? [] : ['', `the picture is in ${options.svg}`]),
    ],
    ...(summary.total.over === 0 ? {} : { error: riskOf(summary, qosMs) }),
  };
}

function qosOf(text: string): number {
  const parsed = parseDuration(text);
  if ('value' in parsed && parsed.value > 0) return parsed.value;
  const problem = 'value' in parsed ? 'must be longer than nothing' : parsed.problem;
  throw new StillpointError('usage', `--qos ${problem}`, {
    hint: 'give the time after which a failover begins, for example --qos 8s',
  });
}

async function readLogs(files: readonly string[], context: StunContext): Promise<readonly Log[]> {
  const seen = await Promise.all(files.map(statOf));
  const bytesTotal = seen.reduce((sum, { size }) => sum + size, 0);
  const beganMs = systemClock.monoMs();
  const logs: Log[] = [];
  let bytesDone = 0;
  for (const { file, writtenMs } of seen) {
    const onBytes = (count: number): void => {
      bytesDone += count;
      if (systemClock.monoMs() - beganMs > quietMs)
        context.reporter.progress('read', {
          bytesDone,
          bytesTotal: Math.max(bytesDone, bytesTotal),
          files: logs.length + 1,
        });
    };
    logs.push(await readLog(file, writtenMs, context.signal, onBytes));
  }
  return logs;
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

function riskOf({ total, causes, marginMs }: StunSummary, qosMs: number): StillpointError {
  const worst = causes.filter(({ over }) => over > 0).map(({ cause, over }) => `${causeNames[cause]} ${over}`);
  return new StillpointError(
    'failover-risk',
    `${total.over} of ${total.count} stuns ${total.over === 1 ? 'was' : 'were'} not below the failover margin of ${duration(marginMs)}: ${worst.join(', ')}`,
    {
      hint: 'snapshot without memory, consolidate when little is written, or raise the detection time; docs/guide/stun.md tells more',
      details: { over: total.over, longestMs: total.longestMs, marginMs, qosMs },
    },
  );
}

function reportLines(report: StunReport, marginMs: number, paint: Paint): readonly string[] {
  const { stuns, torn } = report;
  const longest = new Set(stuns.toSorted((a, b) => b.durationMs - a.durationMs).slice(0, mostRows));
  const shown = stuns.filter((stun) => longest.has(stun));
  const notes = [
    ...(stuns.length > shown.length ? [`the ${shown.length} longest of ${stuns.length} stuns; --json has all`] : []),
    ...(stuns.length === 0
      ? ['no stun in these logs: the machine never stood still, or the logs of that time are gone']
      : []),
    ...(report.yearGuessed ? ['these logs bear no year: it was taken from when each file was last written'] : []),
  ];
  return [
    paint('bold', report.machine),
    ...pairs([
      ['files', report.files.length === 1 && report.files[0] === report.machine ? undefined : report.files],
      ['from', localTime(iso(report.fromMs))],
      ['to', localTime(iso(report.toMs))],
    ]),
    ...(shown.length === 0 ? [] : ['', ...stunTable(shown, marginMs, paint)]),
    ...notes.map((note) => `  ${paint('dim', note)}`),
    ...(torn === 0 ? [] : [`  ${paint('yellow', 'warning')}  ${tornSaid(torn)}`]),
  ];
}

function tornSaid(torn: number): string {
  return torn === 1
    ? '1 damaged line speaks of a stun without telling how long it was; it is not counted'
    : `${torn} damaged lines speak of a stun without telling how long it was; they are not counted`;
}

function stunTable(stuns: readonly Stun[], marginMs: number, paint: Paint): readonly string[] {
  const over = 'over';
  return table(
    ['ran again', 'stun', 'of margin', '', 'cause', 'snapshot', 'where'],
    stuns.map((stun) => [
      localTime(iso(stun.atMs)),
      duration(stun.durationMs),
      // Rounded down, so that only what is over the margin shows 100 %.
      marginMs === 0 ? '-' : `${Math.floor((stun.durationMs * 100) / marginMs)} %`,
      overMargin(stun, marginMs) ? over : '',
      causeNames[stun.cause],
      stun.snapshot ?? '',
      `${basename(stun.file)}:${stun.line}`,
    ]),
    (cell, column) => (column === 3 && cell === over ? paint('red', cell) : cell),
    new Set([1, 2]),
  ).map((line) => `  ${line}`);
}

function summaryLines({ total, causes, marginMs }: StunSummary, qosMs: number, paint: Paint): readonly string[] {
  const row = (name: string, figures: StunFigures): readonly string[] => [
    name,
    `${figures.count}`,
    ...[figures.longestMs, figures.p50Ms, figures.p99Ms].map((ms) => (ms === undefined ? '-' : duration(ms))),
    `${figures.over}`,
  ];
  const rows = [...causes.map((figures) => row(causeNames[figures.cause], figures)), row('all', total)];
  return [
    `failover margin ${duration(marginMs)}: half of a detection time of ${duration(qosMs)}, less a lost packet`,
    ...table(
      ['cause', 'stuns', 'longest', 'p50', 'p99', 'over margin'],
      rows,
      (cell, column) => (column === 5 && /[1-9]/.test(cell) ? paint('red', cell) : cell),
      new Set([1, 2, 3, 4, 5]),
    ).map((line) => `  ${line}`),
  ];
}

function figuresDocument({ count, longestMs, p50Ms, p99Ms, over }: StunFigures): Readonly<Record<string, unknown>> {
  return { count, longestMs: longestMs ?? null, p50Ms: p50Ms ?? null, p99Ms: p99Ms ?? null, over };
}

function reportDocument(report: StunReport, marginMs: number): Readonly<Record<string, unknown>> {
  const { machine, files, fromMs, toMs, yearGuessed, torn, stuns } = report;
  return {
    machine,
    files,
    from: iso(fromMs),
    to: iso(toMs),
    yearGuessed,
    torn,
    stuns: stuns.map((stun) => ({
      at: iso(stun.atMs),
      durationMs: stun.durationMs,
      over: overMargin(stun, marginMs),
      cause: stun.cause,
      snapshot: stun.snapshot ?? null,
      file: stun.file,
      line: stun.line,
    })),
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
