import { recover, type Recovered } from '../flows/recover.ts';
import type { Answer, Context } from './command.ts';
import { findingLines } from './point-text.ts';

export async function recoverCommand(context: Context, options: { readonly discard?: string }): Promise<Answer> {
  const session = await context.session();
  const result = await recover([...session.workloads.values()], session.environment, {
    discard: options.discard,
    groups: session.groups,
    signal: context.signal,
  });
  const [first, ...others] = result.failures;
  return {
    document: {
      outcome: first === undefined ? 'complete' : 'failed',
      runs: result.runs,
      pointsFound: result.pointsFound,
      snapshotsRemoved: result.snapshotsRemoved,
      locksRemoved: result.locksRemoved,
      findings: result.findings,
      failures: result.failures.map((failure) => ({
        code: failure.code,
        message: failure.message,
        hint: failure.hint ?? null,
      })),
    },
    lines: [
      ...recoveredLines(result),
      ...findingLines(result.findings, context.paint),
      ...others.map((failure) => `  ${context.paint('red', 'failed')}  ${failure.message}`),
    ],
    ...(first === undefined ? {} : { error: first }),
  };
}

const howOf = {
  finished: 'was finished',
  undone: 'was undone',
  open: 'is neither finished nor undone yet',
} as const;

function recoveredLines(result: Recovered): readonly string[] {
  const lines = result.runs.flatMap((run) => [
    `${run.flow} ${run.runId} of ${run.workload} ${howOf[run.how]}`,
    ...run.said.map((said) => `  ${said}`),
  ]);
  if (result.snapshotsRemoved > 0) lines.push(`${result.snapshotsRemoved} snapshots of dead runs were removed`);
  if (result.locksRemoved > 0) lines.push(`${result.locksRemoved} stale locks were removed from the repository`);
  if (result.pointsFound.length > 0) lines.push(`points found in the repository: ${result.pointsFound.join(', ')}`);
  return lines.length === 0 && result.failures.length === 0 ? ['nothing was left behind'] : lines;
}
