import { freezeByHand, statusOf, thawByHand } from '../flows/by-hand.ts';
import { ExitCode } from '../model/errors.ts';
import type { Answer, Context } from './command.ts';
import { duration, localTime } from './format.ts';
import { workloadOf } from './select.ts';

export async function freezeCommand(context: Context, name: string): Promise<Answer> {
  const session = await context.session();
  const frozen = await freezeByHand(workloadOf(session, name), session.environment, context.signal);
  return {
    document: {
      outcome: 'complete',
      workload: name,
      hold: { runId: frozen.runId, frozenAt: frozen.frozenAt.wall, budgetMs: frozen.budgetMs, said: frozen.said },
    },
    lines: [
      `${name} is ${context.paint('cyan', 'frozen')}: ${frozen.said}`,
      `cut now, then run \`stillpoint thaw ${name}\`; it thaws by itself ${duration(frozen.budgetMs)} after the freeze`,
    ],
  };
}

/** A hold that ended before this thaw is `degraded`: whatever was cut in the meantime is not known to be consistent. */
export async function thawCommand(context: Context, name: string): Promise<Answer> {
  const session = await context.session();
  const thawed = await thawByHand(workloadOf(session, name), session.environment);
  const { report, heldThroughout } = thawed;
  const wasHeld = report !== null;
  return {
    document: {
      outcome: wasHeld && !heldThroughout ? 'degraded' : 'complete',
      workload: name,
      runId: thawed.runId,
      heldThroughout,
      handedOut: thawed.handedOut,
      thaw: report === null ? null : { thawedAt: report.answer.at.wall, by: report.by, said: report.answer.said },
    },
    lines: !wasHeld
      ? [`${name} was not frozen by us: nothing to thaw`]
      : heldThroughout
        ? [
            `${name} is thawed: ${report.answer.said}`,
            `the hold ${context.paint('green', 'lasted')} until now`,
            ...thawed.handedOut.map(({ file, belongsAt }) => `${file} belongs into the copy as ${belongsAt}`),
          ]
        : [
            `${name} is thawed: ${report.answer.said}`,
            `the hold ${context.paint('red', 'did not last')}: it was ended by the ${report.by} at ${localTime(report.answer.at.wall)}, so what was cut is not proved`,
          ],
    exit: wasHeld && !heldThroughout ? ExitCode.degraded : ExitCode.done,
  };
}

/** Exit 6 for a state that nobody can tell: an alarm, never "not frozen" (docs/design/rules.md, 3). */
export async function statusCommand(context: Context, name: string): Promise<Answer> {
  const session = await context.session();
  const status = await statusOf(workloadOf(session, name), session.environment);
  return {
    document: { outcome: 'complete', workload: name, status },
    lines: [
      `${name} is ${context.paint(status.state === 'thawed' ? 'green' : 'yellow', status.state)}: ${status.said}`,
      ...status.holds.map(
        (hold) =>
          `  hold ${hold.runId}: ${hold.phase}${hold.frozenAt === null ? '' : ` since ${localTime(hold.frozenAt)}`}` +
          (hold.leftMs === null ? '' : `, thaws by itself in ${duration(hold.leftMs)}`),
      ),
      ...(status.busy ? ['  a run of this workload is at work'] : []),
    ],
    exit: status.state === 'unknown' ? ExitCode.needsRecover : ExitCode.done,
  };
}
