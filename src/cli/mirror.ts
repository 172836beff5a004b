import { resolve } from 'node:path';
import { mirrorStatus, seedMember, watchMirror, type MirrorStatus } from '../flows/mirror.ts';
import { parseDuration } from '../config/units.ts';
import type { AlarmEvent } from '../model/cluster-alarms.ts';
import { clusterSvg, lagText } from '../model/cluster-svg.ts';
import { prometheusText, type Metric } from '../model/cluster-metrics.ts';
import type { ClusterView, Health } from '../model/cluster.ts';
import { ExitCode, messageOf, StillpointError } from '../model/errors.ts';
import { marginOf } from '../model/failover-margin.ts';
import { writeDurably } from '../platform/files.ts';
import type { Answer, Context } from './command.ts';
import { bytes, duration, pairs, table, type Paint } from './format.ts';
import { chooseRecovery, workloadOf } from './select.ts';
import { writeSvg } from './write-svg.ts';

const colours: Readonly<Record<Health, Parameters<Paint>[0]>> = {
  healthy: 'green',
  trouble: 'yellow',
  unknown: 'yellow',
  down: 'red',
};

/** Alarms among the answer are exit code 3: it was told, and something is not as it should be. */
export async function mirrorStatusCommand(
  context: Context,
  name: string,
  options: { readonly svg?: string },
): Promise<Answer> {
  const session = await context.session();
  const status = await mirrorStatus(workloadOf(session, name), session.environment, context.signal);
  if (options.svg !== undefined) await writeSvg(options.svg, clusterSvg(status.view));
  return {
    document: { outcome: status.alarms.length === 0 ? 'complete' : 'degraded', ...status, svg: options.svg ?? null },
    lines: [
      ...statusLines(status, context.paint),
      ...(options.svg === undefined ? [] : ['', `the picture is in ${options.svg}`]),
    ],
    exit: status.alarms.length === 0 ? ExitCode.done : ExitCode.degraded,
  };
}

export interface SeedOptions {
  readonly member: string;
  readonly target?: string;
}

/** A new or rebuilt member from a point: restored, made ready to start, and the next command printed. */
export async function mirrorSeedCommand(context: Context, what: string, options: SeedOptions): Promise<Answer> {
  const session = await context.session();
  const { plan, workload } = await chooseRecovery(session, what, undefined);
  const { member } = options;
  const target = { kind: 'directory', path: resolve(options.target ?? `${plan.point.workload}-${member}`) } as const;
  const { restore, seeded } = await seedMember(workload, session.environment, {
    ...{ member, plan, target },
    signal: context.signal,
  });
  return {
    document: { outcome: 'complete', point: plan.point, member, restore, seeded },
    lines: [
      `${context.paint('green', 'seeded')} ${member} from ${plan.point.id}: ${bytes(restore.bytes)} in ${restore.files} files, ${duration(restore.tookMs)}`,
      ...pairs([...restore.paths.map((path) => [path.name, path.at] as const), ['then', seeded.said]]),
      '',
      `start it: ${seeded.next}`,
    ],
  };
}

function statusLines(
  { view, choice, margins, predictedHoldMs, stunMs, alarms }: MirrorStatus,
  paint: Paint,
): readonly string[] {
  const rows = view.members.map((member) => {
    const margin = margins.find((each) => each.member === member.name)?.margin;
    return [
      member.name,
      member.role,
      member.health,
      member.reported,
      member.transfer === undefined ? '' : lagText(member.transfer),
      member.apply === undefined ? '' : lagText(member.apply),
      member.leadsQuorum === true ? 'leads' : member.leadsQuorum === false ? '' : 'unknown',
      member.name === choice.member ? 'would be chosen' : margin === undefined ? 'not from here' : '',
    ];
  });
  const { quorum, failover } = view;
  const refused = margins.flatMap(({ member, margin }) => margin.risks.map(({ said }) => `${member}: ${said}`));
  return [
    `${view.manager} ${paint('bold', view.name)}, epoch ${view.epoch}`,
    '',
    ...table(['member', 'role', 'health', 'said', 'received', 'applied', 'quorum', 'backup'], rows, (cell, column) => {
      const health = cell.trim();
      return column === 2 && isHealth(health) ? paint(colours[health], cell) : cell;
    }),
    '',
    ...pairs([
      [
        'failover',
        `${failover.automatic ? 'by itself' : 'by a person'}: ${failover.said}${failover.heldOff === true ? '; held off now' : ''}`,
      ],
      ['margin', marginText(view, predictedHoldMs, stunMs)],
      ['quorum', quorum.kind === 'none' ? undefined : `${quorum.kind}, ${quorum.health}: ${quorum.said}`],
      [
        'passed over',
        choice.considered.flatMap(({ member, objections }) => objections.map(({ said }) => `${member}: ${said}`)),
      ],
      ['refused', refused],
    ]),
    ...alarms.map(
      ({ severity, code, said }) =>
        `${paint(severity === 'error' ? 'red' : 'yellow', severity.padEnd(7))}  ${code}: ${said}`,
    ),
  ];
}

function isHealth(word: string): word is Health {
  return Object.hasOwn(colours, word);
}

function marginText({ failover }: ClusterView, holdMs: number, stunMs: number | undefined): string | undefined {
  if (!failover.automatic) return undefined;
  if (failover.detectionMs === undefined) return 'not known: nobody tells after how long a failover begins';
  return `${duration(marginOf(failover.detectionMs))} of ${duration(failover.detectionMs)}; a backup takes ${duration(holdMs)} of hold and ${stunMs === undefined ? 'nobody knows how much' : duration(stunMs)} of stun`;
}

export interface WatchOptions {
  readonly every?: string;
  readonly metrics?: string;
}

/** Says each alarm once when it begins and once when it ends, until it is cancelled. */
export async function mirrorWatchCommand(context: Context, name: string, options: WatchOptions): Promise<Answer> {
  const every = parseDuration(options.every ?? '10s');
  if (!('value' in every)) {
    throw new StillpointError('usage', `--every ${every.problem}`, { hint: 'for example --every 10s' });
  }
  const session = await context.session();
  let events = 0;
  const { metrics: file } = options;
  const { looks, metrics } = await watchMirror(workloadOf(session, name), session.environment, {
    everyMs: every.value,
    signal: context.signal,
    onEvent: (event) => {
      events += 1;
      context.reporter.say(eventLine(event, context.paint), { alarm: event.kind, ...event.alarm });
    },
    ...(file === undefined ? {} : { onMetrics: (figures) => writeMetrics(file, figures) }),
  });
  return {
    document: { outcome: 'complete', looks, events, metrics },
    lines: [`ended after ${looks} looks and ${events} events`],
  };
}

/** Whole or not at all: the collector may read at any moment. */
async function writeMetrics(file: string, metrics: readonly Metric[]): Promise<void> {
  try {
    await writeDurably(resolve(file), prometheusText(metrics), 0o644);
  } catch (error) {
    throw new StillpointError('io', `metrics cannot be written to ${file}: ${messageOf(error)}`, {
      hint: "give a file that ends in .prom in the textfile collector's folder",
      cause: error,
    });
  }
}

function eventLine({ kind, alarm }: AlarmEvent, paint: Paint): string {
  const colour = kind === 'cleared' ? 'green' : alarm.severity === 'error' ? 'red' : 'yellow';
  return `${paint(colour, kind.padEnd(8))}  ${alarm.code}: ${alarm.said}`;
}
