import { backup, type BackupResult } from '../flows/backup.ts';
import { drill } from '../flows/drill.ts';
import { ExitCode, StillpointError } from '../model/errors.ts';
import type { Level, Method, Point } from '../model/point.ts';
import { backupPartCommand } from './backup-barrier.ts';
import type { Answer, Context } from './command.ts';
import { groupBackupCommand } from './group-backup.ts';
import { drillFailure } from './drill-failure.ts';
import { drillLines, findingLines, pointLines } from './point-text.ts';
import { pointsOf, workloadOf } from './select.ts';
import { restoreAsIs } from '../model/recovery.ts';

export interface BackupOptions {
  readonly method?: string;
  readonly level?: Level;
  readonly drill?: boolean;
  /** As a part of a group, under the words of a coordinator on standard input. */
  readonly barrier?: boolean;
}

export async function backupCommand(context: Context, name: string, options: BackupOptions): Promise<Answer> {
  if (options.barrier === true) return await backupPartCommand(context, name);
  const session = await context.session();
  const group = session.groups.get(name);
  if (group !== undefined) return await groupBackupCommand(context, group, options);
  const workload = workloadOf(session, name);
  const method = methodOf(options.method) ?? workload.method;
  if (method === 'mirror-split' && options.drill === true) {
    throw new StillpointError(
      'usage',
      'a point of mirror-split is a disk of both servers, and cannot be drilled beside them',
      {
        hint: 'leave --drill out',
      },
    );
  }
  const result = await backup(workload, session.environment, {
    method,
    level: options.level,
    signal: context.signal,
  });
  if (options.drill !== true) return answer(context, result, result.point);
  const drilled = await drill(workload, session.environment, {
    plan: restoreAsIs(result.point, await pointsOf(session, name)),
    directory: session.drillDirectoryOf(name),
    signal: context.signal,
  });
  const point = { ...result.point, drill: drilled };
  const whole = answer(context, result, point);
  const failure = drillFailure(point, drilled);
  return {
    ...whole,
    lines: [...whole.lines, '', ...drillLines(point, drilled, context.paint)],
    ...(failure === undefined ? {} : { error: failure }),
  };
}

export const methods: readonly Method[] = ['snapshot', 'online', 'concurrent', 'cold', 'mirror-split'];

export function methodOf(text: string | undefined): Method | undefined {
  if (text === undefined) return undefined;
  const method = methods.find((each) => each === text);
  if (method !== undefined) return method;
  throw new StillpointError('usage', `there is no method ${text}`, { hint: `the methods are ${methods.join(', ')}` });
}

function answer(context: Context, result: BackupResult, point: Point): Answer {
  const degraded = result.outcome === 'degraded';
  return {
    document: { outcome: result.outcome, point, findings: result.findings },
    lines: [
      `${result.outcome === 'complete' ? context.paint('green', 'complete') : context.paint('yellow', result.outcome)}: ${whatWasMade(point)}`,
      ...pointLines(point, context.paint),
      // Warnings were told when they came.
      ...(point.method === 'mirror-split'
        ? findingLines(
            result.findings.filter(({ severity }) => severity === 'info'),
            context.paint,
          )
        : []),
    ],
    exit: degraded ? ExitCode.degraded : ExitCode.done,
  };
}

function whatWasMade(point: Point): string {
  return `a${point.level === 'incremental' ? 'n' : ''} ${point.level} point, ${point.verdict}`;
}
