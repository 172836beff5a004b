import { basename } from 'node:path';
import { parseDuration } from '../config/units.ts';
import { readStunLogs } from '../flows/stun-logs.ts';
import { StillpointError } from '../model/errors.ts';
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

/** Needs no configuration. Exit code 4 if a stun was not below the margin. */
export async function stunCommand(
  context: StunContext,
  files: readonly string[],
  options: StunOptions,
): Promise<Answer> {
  const qosMs = qosOf(options.qos);
  const beganMs = systemClock.monoMs();
  const reports = await readStunLogs(files, {
    signal: context.signal,
    onBytes: (done) => {
      if (systemClock.monoMs() - beganMs > quietMs) context.reporter.progress('read', done);
    },
  });
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
