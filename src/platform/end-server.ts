import { StillpointError } from '../model/errors.ts';
import { within, type Clock } from './clock.ts';
import type { RunningProcess } from './exec.ts';

/**
 * Ends the server of a copy: each signal in turn, with the time that it is given, in ms. True: it ended in order, with exit code 0. Throws
 * `undo-failed` when none of them ended it. Takes no cancellation.
 */
export async function endServer(
  process: RunningProcess,
  exited: RunningProcess['exited'],
  ways: readonly (readonly [signal: NodeJS.Signals, ms: number])[],
  clock: Clock,
): Promise<boolean> {
  for (const [how, ms] of ways) {
    process.kill(how);
    const ended = await within(clock, ms, exited, () => undefined);
    if (ended !== undefined) return ended.exitCode === 0;
  }
  throw new StillpointError('undo-failed', `the server of the copy, process ${process.pid}, cannot be ended`, {
    hint: `it is blocked in the kernel; end it when its disk answers again: kill -9 ${process.pid}`,
  });
}
