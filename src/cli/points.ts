import type { Answer, Context } from './command.ts';
import { bytes, localTime, table } from './format.ts';
import { verdictColour } from './point-text.ts';
import { pointsOf, workloadOf } from './select.ts';

export async function pointsCommand(context: Context, name: string | undefined): Promise<Answer> {
  const session = await context.session();
  // A workload that left the configuration may still have points.
  const points = await pointsOf(session, name);
  if (name !== undefined && points.length === 0 && !session.groups.has(name)) workloadOf(session, name);
  const rows = points.map((point) => [
    point.id,
    point.workload,
    localTime(point.cutAt),
    point.level,
    point.verdict,
    bytes(point.bytes.logical),
    bytes(point.bytes.stored),
    point.drill.outcome,
  ]);
  const paint = (cell: string, column: number): string => {
    const verdict = points.find((point) => point.verdict === cell.trim())?.verdict;
    if (column === 4 && verdict !== undefined) return context.paint(verdictColour(verdict), cell);
    if (column === 7 && cell.trim() === 'failed') return context.paint('red', cell);
    return cell;
  };
  const head = ['point', 'workload', 'cut', 'level', 'verdict', 'size', 'stored', 'drill'];
  return {
    document: { outcome: 'complete', points },
    lines:
      points.length === 0
        ? [`no points so far; \`stillpoint backup ${name ?? 'WORKLOAD'}\` makes one`]
        : table(head, rows, paint, new Set([5, 6])),
  };
}
