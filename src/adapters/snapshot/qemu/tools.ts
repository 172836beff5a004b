import { StillpointError } from '../../../model/errors.ts';
import { processesMarked, type ProcessIdentity } from '../../../platform/process.ts';
import type { Platform } from '../../../ports/module.ts';

/** In the environment of each tool that makes something: what it works for. Servers that go on do not carry it. */
const mark = 'STILLPOINT_QEMU_TOOL';
const toolMs = 60_000;
const pollMs = 20;

/** What every call of such a tool has in common. `worksFor`: a path that the snapshot's removal knows. */
export function toolFor(worksFor: string): {
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
} {
  return { env: { [mark]: worksFor }, timeoutMs: toolMs };
}

export function toolsAtWork(worksFor: string): readonly ProcessIdentity[] {
  return processesMarked(mark, worksFor);
}

/**
 * Waits for the tools of a run that was killed: what one of them makes after the removal would stay for good. A tool is never cut off:
 * half a loop device or mount is harder to find than a whole one.
 */
export async function toolsEnded(worksFor: string, { clock }: Platform): Promise<void> {
  const end = clock.monoMs() + toolMs;
  for (let [tool] = toolsAtWork(worksFor); tool !== undefined; [tool] = toolsAtWork(worksFor)) {
    if (clock.monoMs() > end) {
      const what = `process ${tool.pid}, a tool of a run that died, still works for ${worksFor}`;
      throw new StillpointError('undo-failed', what, {
        hint: 'look at what it waits for, end it, and run `stillpoint recover` again',
      });
    }
    await clock.sleep(pollMs);
  }
}
