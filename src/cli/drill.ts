import { drill } from '../flows/drill.ts';
import type { Answer, Context } from './command.ts';
import { drillFailure } from './drill-failure.ts';
import { drillGroupCommand, groupPointOf } from './group.ts';
import { drillLines } from './point-text.ts';
import { chooseRecovery } from './select.ts';

export async function drillCommand(context: Context, what: string): Promise<Answer> {
  const session = await context.session();
  const whole = await groupPointOf(session, what);
  if (whole !== undefined) return await drillGroupCommand(context, whole);
  const { plan, workload } = await chooseRecovery(session, what);
  const { point } = plan;
  const result = await drill(workload, session.environment, {
    plan,
    directory: session.drillDirectoryOf(workload.name),
    signal: context.signal,
  });
  const failure = drillFailure(point, result);
  return {
    document: {
      outcome: failure === undefined ? 'complete' : 'failed',
      point: { ...point, drill: result },
      drill: result,
    },
    lines: drillLines(point, result, context.paint),
    ...(failure === undefined ? {} : { error: failure }),
  };
}
