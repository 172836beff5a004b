import { StillpointError } from '../model/errors.ts';
import type { Answer, Context } from './command.ts';

export interface DemoCommandOptions {
  readonly directory?: string;
  readonly keep?: boolean;
}

/** The story is told while it happens; what is left for the end is the account of it. */
export async function demoCommand(context: Context, options: DemoCommandOptions): Promise<Answer> {
  const report = await context.services.demo({
    directory: options.directory,
    keep: options.keep === true,
    signal: context.signal,
    reporter: context.reporter,
    paint: context.paint,
  });
  const failure =
    report.lost === 0 && report.acknowledged > 0
      ? undefined
      : new StillpointError(
          'drill-failed',
          `${report.lost} of ${report.acknowledged} acknowledged rows are not in the restored database`,
          {
            hint: 'run it again with --keep and look into the directory',
          },
        );
  return {
    document: { outcome: failure === undefined ? 'complete' : 'failed', ...report },
    lines: [],
    ...(failure === undefined ? {} : { error: failure }),
  };
}
