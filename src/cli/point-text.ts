import type { DrillResult, Finding, Point, Verdict } from '../model/point.ts';
import { bytes, duration, localTime, pairs, type Paint } from './format.ts';
import { findingLine } from './reporter.ts';

export function verdictColour(verdict: Verdict): 'green' | 'yellow' | 'red' {
  if (verdict === 'application-consistent') return 'green';
  return verdict === 'crash-consistent' ? 'yellow' : 'red';
}

/** What people want to know of a point, without its evidence. */
export function pointLines(point: Point, paint: Paint): readonly string[] {
  const { hold, journal } = point;
  return [
    `point ${paint('bold', point.id)} of ${point.workload}`,
    ...pairs([
      [
        'verdict',
        [
          paint(verdictColour(point.verdict), point.verdict),
          ...point.reasons.map((each) => `${each.rule}: ${each.said}`),
        ],
      ],
      ['cut', localTime(point.cutAt)],
      ...(point.parts === undefined
        ? ([
            ['level', `${point.level}${point.parent === null ? '' : ` on ${point.parent}`}`],
            ['member', `${point.role} ${point.member}, epoch ${point.epoch}`],
          ] as const)
        : ([
            [
              'parts',
              point.parts.map(
                (part) => `${part.name}: ${part.point} of ${part.workload} on ${part.host}, ${part.verdict}`,
              ),
            ],
          ] as const)),
      ['part of', point.partOf],
      [
        'hold',
        hold === null
          ? point.method === 'mirror-split'
            ? 'none: the group was stopped while the mirror was taken apart'
            : point.marks === null
              ? 'none: cut without one'
              : `none: the engine copied itself (${point.method})`
          : `${duration(hold.heldMs)} of a budget of ${duration(hold.budgetMs)}, own overhead ${duration(hold.overheadMs)}, ${hold.heldThroughout ? 'held throughout' : 'did not last'}`,
      ],
      [
        'volumes',
        point.volumes.map(
          ({ provider, paths, snapshot }) =>
            `${provider}: ${paths.join(', ')}${snapshot === undefined ? '' : `, snapshot ${snapshot}`}`,
        ),
      ],
      ['journal', journal === null ? undefined : `up to ${journal.file} at ${journal.position}`],
      [
        'bytes',
        `${bytes(point.bytes.logical)} in all, ${bytes(point.bytes.read)} read, ${bytes(point.bytes.changed)} new, ${bytes(point.bytes.stored)} stored`,
      ],
      ['repository', `snapshot ${point.repositorySnapshot.slice(0, 8)}`],
      ['drill', drillText(point.drill)],
    ]),
  ];
}

export function drillText(drill: DrillResult): string {
  if (drill.outcome === 'none') return 'none so far';
  const rto = drill.rtoMs === null ? '' : `, usable after ${duration(drill.rtoMs)}`;
  return `${drill.outcome}${drill.at === null ? '' : ` at ${localTime(drill.at)}`}${rto}`;
}

export function drillLines(point: Pick<Point, 'id'>, drill: DrillResult, paint: Paint): readonly string[] {
  const colour = drill.outcome === 'passed' ? 'green' : 'red';
  return [
    `drill of ${paint('bold', point.id)} ${paint(colour, drill.outcome)}${drill.rtoMs === null ? '' : `, usable after ${duration(drill.rtoMs)}`}`,
    ...findingLines(drill.findings, paint),
  ];
}

export function findingLines(findings: readonly Finding[], paint: Paint): readonly string[] {
  return findings.map((finding) => `  ${findingLine(finding, paint)}`);
}
