import { StillpointError } from '../../../model/errors.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { Moment } from '../../../model/time.ts';
import { identify, killExactly } from '../../../platform/process.ts';
import type { RunningProcess } from '../../../platform/exec.ts';
import type { Platform } from '../../../ports/module.ts';
import { cutScript, type CutDevice, type Programs } from './script.ts';

/** To start three shells and to run both programs once. */
const armMs = 15_000;
/** Beyond the limit: the timer's own work, until the last of them has ended. */
const graceMs = 20_000;

export interface Done {
  readonly called: Moment;
  readonly fixed: Moment;
  readonly spans: readonly CommandSpan[];
}

/** Started and armed, but nothing is frozen yet. */
export interface Executor {
  /** Returns when everything is resumed and thawed again. Throws `cut-failed`; the processes behind it have undone what they did. */
  go(signal: AbortSignal): Promise<Done>;
  /** Ends it before `go`. */
  cancel(): Promise<void>;
}

/** The kernel refused to make a snapshot of this volume: its pool has the id already. */
export class IdTaken extends StillpointError {
  readonly volume: string;

  constructor(volume: string) {
    super('cut-failed', `the pool of ${volume} has the id of its snapshot already`, {
      hint: 'run the backup again: its new name gives another id',
    });
    this.volume = volume;
  }
}

const programNames = ['sh', 'setsid', 'sleep', 'dmsetup', 'fsfreeze'] as const;

/** Absolute paths of what the executor runs. Undefined, with the name of the first that is missing, if it cannot work here. */
export async function programsHere({ exec }: Pick<Platform, 'exec'>): Promise<Programs | { readonly missing: string }> {
  const found: string[] = [];
  for (const name of programNames) {
    const path = await exec.which(name);
    if (path === undefined) return { missing: name };
    found.push(path);
  }
  const [sh = '', setsid = '', sleep = '', dmsetup = '', fsfreeze = ''] = found;
  return { sh, setsid, sleep, dmsetup, fsfreeze };
}

/** Throws `cut-failed` if the watchdogs cannot be started. */
export async function arm(
  platform: Pick<Platform, 'exec' | 'clock'>,
  devices: readonly CutDevice[],
  programs: Programs,
  more: { readonly label: string; readonly limitMs: number },
): Promise<Executor> {
  const { exec, clock } = platform;
  const child = exec.start({ argv: cutScript(devices, programs, more), detached: true });
  const awake = stayAwake(platform, armMs + more.limitMs + 3 * graceMs);
  let group: number;
  try {
    const armed = await child.firstLine((line) => line.startsWith('armed '), armMs);
    group = Number(/^armed (\d+) \d+$/.exec(armed)?.[1]);
  } catch (error) {
    child.closeInput();
    awake();
    throw ended(child, error);
  }
  return {
    async cancel() {
      child.closeInput();
      await over(child, platform);
      awake();
    },
    async go(signal) {
      const executor = identify(group);
      // Its watcher undoes at once when it dies.
      const onAbort = (): void => {
        if (executor !== undefined) killExactly(executor, 'SIGKILL');
      };
      signal.addEventListener('abort', onAbort, { once: true });
      const called = clock.now();
      const steps: { readonly what: string; readonly at: Moment }[] = [];
      try {
        if (signal.aborted) throw new StillpointError('cut-failed', 'the cut was cancelled before it began');
        child.write('go\n');
        for (const what of ['frozen', 'suspended', 'cut', 'resumed', 'thawed']) {
          await step(child, what, more.limitMs + graceMs, platform);
          steps.push({ what, at: clock.now() });
        }
        return report(called, steps);
      } catch (error) {
        child.closeInput();
        if (!signal.aborted) throw ended(child, error);
        throw new StillpointError('cut-failed', 'the cut was cancelled; everything was resumed and thawed', {
          cause: error,
        });
      } finally {
        signal.removeEventListener('abort', onAbort);
        // The watcher is the last of them: when it has ended, nobody undoes or cuts any more.
        await over(child, platform);
        awake();
      }
    },
  };
}

/** A detached child does not keep this process alive while it is waited for. */
function stayAwake({ clock }: Pick<Platform, 'clock'>, ms: number): () => void {
  const enough = new AbortController();
  void clock.sleep(ms, enough.signal).catch(() => undefined);
  return () => enough.abort();
}

/** Not for ever: on a stuck disk a freeze ends when it likes. `release` then says what is proved. */
async function over(child: RunningProcess, { clock }: Pick<Platform, 'clock'>): Promise<void> {
  const enough = new AbortController();
  await Promise.race([child.exited, clock.sleep(graceMs, enough.signal).catch(() => undefined)]);
  enough.abort();
}

/** The whole program would stand in the message otherwise. */
function ended(child: RunningProcess, error: unknown): unknown {
  if (error instanceof StillpointError && error.code === 'cut-failed') return error;
  const said = lastLine(child.stderrTail());
  return new StillpointError(
    'cut-failed',
    `the executor of the cut ended before its time${said === '' ? '' : `: ${said}`}`,
    {
      hint: 'it was killed, or took longer than `limit`; everything was resumed and thawed',
      cause: error,
    },
  );
}

async function step(
  child: RunningProcess,
  what: string,
  timeoutMs: number,
  platform: Pick<Platform, 'clock'>,
): Promise<void> {
  const line = await child.firstLine(
    (each) => each.startsWith(`${what} at `) || each.startsWith('failed: '),
    timeoutMs,
  );
  const failed = /^failed: (.+) at [\d.]+$/.exec(line)?.[1];
  if (failed === undefined) return;
  // What the program said is in another pipe.
  await over(child, platform);
  const volume = /^snapshot (.+)$/.exec(failed)?.[1];
  if (volume !== undefined && /File exists/.test(child.stderrTail())) throw new IdTaken(volume);
  throw new StillpointError('cut-failed', `the cut failed at step \`${failed}\`: ${lastLine(child.stderrTail())}`, {
    hint: 'everything was resumed and thawed; `dmsetup status` of the pool and the kernel log tell more',
  });
}

function lastLine(text: string): string {
  return text.trim().split('\n').slice(-3).join('; ');
}

const said: Readonly<Record<string, string>> = {
  frozen: 'fsfreeze --freeze',
  suspended: 'dmsetup suspend --nolockfs',
  cut: 'dmsetup message create_snap',
  resumed: 'dmsetup resume',
  thawed: 'fsfreeze --unfreeze',
};

function report(called: Moment, steps: readonly { readonly what: string; readonly at: Moment }[]): Done {
  const spans = steps.map(({ what, at }, index): CommandSpan => {
    const before = index === 0 ? called : (steps[index - 1]?.at ?? called);
    return { party: 'provider', what: said[what] ?? what, startMs: before.monoMs, endMs: at.monoMs };
  });
  const fixed = steps.find(({ what }) => what === 'cut')?.at ?? called;
  return { called, fixed, spans };
}
