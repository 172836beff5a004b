import { estimateLevels } from '../flows/estimate.ts';
import type { Answer, Context } from './command.ts';
import { bytes, localTime, table } from './format.ts';
import { pointsOf, workloadOf } from './select.ts';

/** What the next backups of the engine's own kind would write, beside what the last ones really wrote. */
export async function estimateCommand(context: Context, name: string): Promise<Answer> {
  const session = await context.session();
  const points = await pointsOf(session, name);
  const estimate = await estimateLevels(workloadOf(session, name), session.environment, points, context.signal);
  const rows = estimate.levels.map((each) => [
    each.level,
    each.bytes === null ? '' : bytes(each.bytes),
    each.last === null ? 'none so far' : `${bytes(each.last.bytes)} (${localTime(each.last.at)})`,
    each.said,
  ]);
  return {
    document: { outcome: 'complete', ...estimate },
    lines: [
      `sizes of the next backups of ${name}`,
      ...table(['level', 'estimated', 'last one', 'by'], rows, undefined, new Set([1])),
    ],
  };
}
