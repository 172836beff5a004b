import { readRecord } from '../flows/record.ts';
import type { Evidence } from '../model/evidence.ts';
import { flightRecordSvg } from '../model/flight-svg.ts';
import { skewOf } from '../model/together.ts';
import type { Answer, Context } from './command.ts';
import { flightLines } from './flight-text.ts';
import { duration, pairs } from './format.ts';
import { pointLines } from './point-text.ts';
import { pointOf } from './select.ts';
import { writeSvg } from './write-svg.ts';

/** The point with its evidence, whose signature is proved on the way. */
export async function showCommand(context: Context, id: string, options: { readonly svg?: string }): Promise<Answer> {
  const session = await context.session();
  const point = await pointOf(session, id);
  const { evidence } = await readRecord(await session.environment.repository(), point.repositorySnapshot);
  if (options.svg !== undefined) await writeSvg(options.svg, flightRecordSvg(evidence));
  return {
    document: { outcome: 'complete', point, evidence, svg: options.svg ?? null },
    lines: [
      ...pointLines(point, context.paint),
      '',
      'evidence, signed with the key of the repository',
      ...pairs(evidenceOf(evidence)),
      '',
      ...flightLines(evidence),
      ...(options.svg === undefined ? [] : ['', `the flight record is in ${options.svg}`]),
    ],
  };
}

function evidenceOf(evidence: Evidence): Parameters<typeof pairs>[0] {
  const { hold, split, together } = evidence;
  if (together !== undefined) {
    const skew = skewOf(together);
    return [
      [
        'parts',
        together.parts.map(
          ({ name, host, workload, clock }) =>
            `${name}: ${workload} on ${host}${clock === undefined ? '' : `, its clock ${Math.round(clock.aheadMs)} ms ahead, ±${Math.ceil(clock.roundTripMs / 2)} ms`}`,
        ),
      ],
      ['cut', evidence.cut.how],
      ['skew', skew === undefined ? undefined : `no two parts were cut further apart than ${duration(skew)}`],
    ];
  }
  return [
    ['engine', `${evidence.engine.name} ${evidence.engine.version}`.trimEnd()],
    ['members', evidence.members.map(({ when, seen }) => `${when}: ${seen.role} ${seen.member}, epoch ${seen.epoch}`)],
    ['frozen', hold?.frozen.said],
    ['asked', hold === null ? undefined : (hold.askedBeforeThaw?.said ?? 'never, before the thaw')],
    ['thawed', hold === null ? undefined : `${hold.thawed.said} (by ${hold.thawed.by})`],
    ['cut', `${evidence.cut.atomicity}: ${evidence.cut.how}`],
    ['required', evidence.required.map((path) => `${path.role} ${path.path}`)],
    ['left out', evidence.leftOut.map((each) => `${each.under}/${each.relative}: ${each.why}`)],
    ['journal', hold === null || hold.journalCollected.length === 0 ? undefined : hold.journalCollected.join(', ')],
    [
      'mirror',
      split === undefined
        ? undefined
        : [
            `${split.before.standby} was isolated and its machine ${split.machine} off while ${split.volume} at ${split.device} was cut`,
            `snapshot ${split.snapshot.id}, ${split.snapshot.state}`,
            `one copy and no failover for ${duration(split.oneCopyMs)}`,
          ],
    ],
    [
      'canary',
      evidence.canary === undefined ? undefined : `${evidence.canary.acknowledged} acknowledged before the cut`,
    ],
  ];
}
