import { messageOf } from '../model/errors.ts';
import type { Clock } from '../platform/clock.ts';
import { writeDurably } from '../platform/files.ts';
import { isAlive, killExactly } from '../platform/process.ts';
import type { Application } from '../ports/application.ts';
import { onLines, type HoldReport, type SentinelSpec } from './protocol.ts';

/** A guard that has not said `thawed` this long after its deadline is taken as hung. */
const graceMs = 400;
/** After a cold backup the engine's users are started, which takes longer than a thaw. */
const startGraceMs = 130_000;
const attempts = 60;

type SentinelWord = { readonly armed: number } | { readonly thawed: true };

/**
 * Watches one guard. Thaws through a new connection when the guard dies while the hold is armed, or does not thaw at its deadline: it is
 * killed then, which ends what is bound to its session. Resolves when nothing is left to watch.
 */
export async function runSentinel(
  watch: SentinelSpec,
  application: Application,
  clock: Clock,
  input: NodeJS.ReadableStream,
): Promise<void> {
  let armed = false;
  let cancel = (): void => undefined;
  const wakeUp = new Promise<'guard-gone' | 'overdue' | 'thawed'>((resolve) => {
    onLines(input, (line) => {
      const word = JSON.parse(line) as SentinelWord;
      if ('thawed' in word) {
        cancel();
        resolve('thawed');
      } else {
        armed = true;
        const grace = watch.spec.token.way === 'stop' ? startGraceMs : graceMs;
        cancel = clock.after(word.armed + grace - clock.monoMs(), () => resolve('overdue'));
      }
    });
    input.on('end', () => resolve('guard-gone'));
    input.on('error', () => resolve('guard-gone'));
  });
  // The timer does not keep the process alive and the pipe does; a broken pipe must not end us before the thaw.
  const keepAlive = clock.every(1000, () => undefined);
  const why = await wakeUp;
  cancel();
  keepAlive();
  if (!armed || why === 'thawed') return;
  await thawInstead(watch, application, clock, why);
}

async function thawInstead(
  watch: SentinelSpec,
  application: Application,
  clock: Clock,
  why: 'guard-gone' | 'overdue',
): Promise<void> {
  if (why === 'overdue') killExactly(watch.guard, 'SIGKILL');
  let waitMs = 50;
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const answer = await application.thaw(watch.spec.token);
    if (answer.thawed) {
      const report: HoldReport = { answer: { ...answer, heldThroughout: false }, by: 'sentinel' };
      try {
        await writeDurably(
          watch.spec.resultFile,
          JSON.stringify({ phase: 'thawed', token: watch.spec.token, report, guardAlive: isAlive(watch.guard) }),
        );
      } catch (error) {
        process.stderr.write(`sentinel: result not written: ${messageOf(error)}\n`);
      }
      return;
    }
    await clock.sleep(waitMs);
    waitMs = Math.min(waitMs * 2, 10_000);
  }
  process.exitCode = 6;
}
