import { groupBackup } from '../flows/barrier.ts';
import type { HostGroup } from '../flows/barrier-group.ts';
import { ExitCode, StillpointError } from '../model/errors.ts';
import type { Level } from '../model/point.ts';
import type { Answer, Context } from './command.ts';
import { drillGroupCommand } from './group.ts';
import { pointLines } from './point-text.ts';

export async function groupBackupCommand(
  context: Context,
  group: HostGroup,
  options: { readonly method?: string; readonly level?: Level; readonly drill?: boolean },
): Promise<Answer> {
  if (options.method !== undefined && options.method !== 'snapshot') {
    throw new StillpointError('method-unsupported', `a group is made by snapshot, not by ${options.method}`, {
      hint: 'leave --method out; parts may be backed up for themselves by other methods on their hosts',
    });
  }
  const session = await context.session();
  const { point, outcome, findings } = await groupBackup(group, session.environment, {
    level: options.level,
    signal: context.signal,
  });
  if (options.drill === true) {
    const drilled = await drillGroupCommand(context, { group, point });
    return {
      ...drilled,
      document: { ...drilled.document, findings },
      lines: [...pointLines(point, context.paint), '', ...drilled.lines],
    };
  }
  return {
    document: { outcome, point, findings },
    lines: [
      `${context.paint(outcome === 'complete' ? 'green' : 'yellow', outcome)}: a point of ${group.parts.length} parts, ${point.verdict}`,
      ...pointLines(point, context.paint),
    ],
    exit: outcome === 'degraded' ? ExitCode.degraded : ExitCode.done,
  };
}
