import { messageOf, StillpointError } from '../model/errors.ts';
import type { FastRestore, FastState } from '../ports/machines.ts';
import { alarm, failureOf, tell, type SplitTools } from './mirror-split-drive.ts';

export interface FastWanted {
  readonly snapshot: string;
  readonly zones: readonly string[];
}

/** Throws `method-unsupported`. */
export function fastOf({ machines }: SplitTools): FastRestore {
  if (machines.fast !== undefined) return machines.fast;
  throw new StillpointError('method-unsupported', `${machines.kind} has no fast restore`, {
    hint: 'leave mirrorSplit.fastRestore of the workload out',
  });
}

/** Zones in which it is off: only those are ours to switch on, and off again. */
export async function fastIsOffIn(tools: SplitTools, { snapshot, zones }: FastWanted): Promise<readonly string[]> {
  const states = await fastOf(tools).states(snapshot);
  return zones.filter((zone) => (states[zone] ?? 'off') === 'off');
}

/** Until it is on in all zones. `ours`: where we switch it on. */
export async function switchFastOn(
  tools: SplitTools,
  { snapshot, zones }: FastWanted,
  ours: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { clock } = tools.environment;
  const fast = fastOf(tools);
  const failure = ours.length === 0 ? undefined : await failureOf(fast.enable(snapshot, ours));
  const untilMs = clock.monoMs() + tools.limits.fast;
  const sinceMs = clock.monoMs();
  let toldMs = sinceMs;
  tell(tools, `waiting: fast restore of ${snapshot} is switched on in ${zones.join(' and ')}`);
  for (;;) {
    const states: Readonly<Record<string, FastState>> = await fast.states(snapshot).catch(() => ({}));
    const missing = zones.filter((zone) => states[zone] !== 'on');
    if (missing.length === 0) return;
    const waitedMs = clock.monoMs() - sinceMs;
    const isRefused = failure !== undefined && waitedMs >= tools.limits.act && missing.some((zone) => !states[zone]);
    if (clock.monoMs() >= untilMs || isRefused) {
      const why = failure === undefined ? '' : `: ${messageOf(failure)}`;
      throw new StillpointError(
        'command-failed',
        `fast restore of ${snapshot} is not on in ${missing.join(', ')}${why}`,
        {
          hint: 'give mirrorSplit.fast more time (an hour for each TiB), or leave mirrorSplit.fastRestore out',
          cause: failure,
        },
      );
    }
    if (clock.monoMs() - toldMs >= tellMs) {
      toldMs = clock.monoMs();
      const seconds = `${Math.round(waitedMs / 1000)} s of at most ${Math.round(tools.limits.fast / 1000)} s`;
      tell(tools, `waiting: fast restore is not on yet in ${missing.join(' and ')}, for ${seconds}`);
    }
    await clock.sleep(tools.limits.poll, signal);
  }
}

const tellMs = 60_000;

/** Proved: it is billed for as long as it is on. Takes no cancellation. Throws `undo-failed`. */
export async function switchFastOff(tools: SplitTools, { snapshot, zones }: FastWanted): Promise<void> {
  const { clock } = tools.environment;
  const fast = fastOf(tools);
  const untilMs = clock.monoMs() + tools.limits.act;
  for (;;) {
    let why = '';
    try {
      const states = await fast.states(snapshot);
      const left = zones.filter((zone) => (states[zone] ?? 'off') !== 'off');
      if (left.length === 0) return;
      await fast.disable(snapshot, left);
    } catch (error) {
      why = `: ${messageOf(error)}`;
    }
    if (clock.monoMs() >= untilMs)
      throw await alarm(
        tools,
        `fast restore of ${snapshot} may still be on in ${zones.join(' and ')}, and billed${why}`,
        'see that the machines can be asked, then `stillpoint recover`',
      );
    await clock.sleep(tools.limits.poll);
  }
}
