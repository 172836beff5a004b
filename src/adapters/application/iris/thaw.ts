import type { CommandSpan } from '../../../model/hold.ts';
import { thawExpression } from './commands.ts';
import type { Control } from './control.ts';
import { askSuspended } from './freeze.ts';
import { type FreezeLog, parseFreezeLog } from './parse-freeze-log.ts';
import { parseMessages, signsIn } from '../../../platform/parse-iris-messages.ts';

export interface InstanceThaw {
  readonly thawed: boolean;
  /** True only if the log shows one freeze, one thaw and nothing between them. */
  readonly held: boolean;
  readonly said: string;
  readonly spans: readonly CommandSpan[];
}

/** What to thaw. Without a log the proof is the engine's answer alone. */
export interface ThawTarget {
  readonly name: string;
  readonly log: string | undefined;
  readonly console?: { readonly path: string; readonly from: number } | undefined;
}

const logMs = 1_500;
const settleMs = 500;
/** A thaw takes about a second; the second call is shorter, since the last resort needs time too. */
const attemptsMs = [4_000, 1_500] as const;

/**
 * ExternalThaw at once: it needs no login, while every question does and may hang on a blocked instance. Then the proof. If there is none: again,
 * then `stat -W`, which needs no session at all. Never throws, and ends within about `mostMs`.
 */
export async function thawInstance(control: Control, target: ThawTarget, mostMs: number): Promise<InstanceThaw> {
  const { clock } = control.platform;
  const deadline = clock.monoMs() + mostMs;
  const left = (): number => Math.max(500, deadline - clock.monoMs());
  const spans: CommandSpan[] = [];
  const said: string[] = [];
  for (const attemptMs of attemptsMs) {
    const expression = thawExpression(target.log ?? '');
    const called = await control.method(target.name, expression, Math.min(attemptMs, left()), { login: 'none' });
    spans.push(called.span);
    said.push(called.said);
    const proof = await prove(control, target, called.exit === 'yes', Math.min(logMs, left()), spans);
    if (proof.thawed) return { ...proof, said: proof.said, spans };
    said.push(proof.said);
  }
  const last = await control.stat(target.name, Math.min(1_500, left()), '-W');
  said.push(last === undefined ? 'stat -W could not be called' : `stat -W exited with ${last.exitCode ?? 'a signal'}`);
  const asked = await askSuspended(control, target.name, Math.min(1_500, left()));
  spans.push(asked.span);
  said.push(asked.said);
  const thawed = asked.exit === 'no';
  return { thawed, held: false, said: `${target.name}: ${said.join('; ')}`, spans };
}

async function prove(
  control: Control,
  target: ThawTarget,
  confirmed: boolean,
  timeoutMs: number,
  spans: CommandSpan[],
): Promise<{ readonly thawed: boolean; readonly held: boolean; readonly said: string }> {
  const { name } = target;
  const [text, signs] = await Promise.all([
    target.log === undefined ? undefined : control.read(target.log, 0, timeoutMs),
    readSigns(control, target, timeoutMs),
  ]);
  const log = text === undefined ? undefined : parseFreezeLog(text);
  // A freeze that has begun and not ended may still be at work, and would come after this thaw.
  const settled = log !== undefined && (log.suspended > 0 || !log.begun);
  if (log?.state === 'resumed' && settled) {
    const broken = breakIn(log, signs);
    return { thawed: true, held: broken === undefined, said: `${name}: ${broken ?? 'System resumed'}` };
  }
  if (!confirmed) return { thawed: false, held: false, said: `no proof of a thaw of ${name}` };
  for (const wait of settled ? [0] : [0, settleMs]) {
    if (wait > 0) await control.platform.clock.sleep(wait);
    const asked = await askSuspended(control, name, timeoutMs);
    spans.push(asked.span);
    if (asked.exit !== 'no') return { thawed: false, held: false, said: asked.said };
  }
  return { thawed: true, held: false, said: `${name}: asked, it says that it is not suspended` };
}

/** Why the files may have changed while the snapshots were cut; undefined when nothing speaks for it. */
function breakIn(log: FreezeLog, signs: ReturnType<typeof signsIn> | undefined): string | undefined {
  if (log.alreadyResumed) return 'Already resumed: the freeze had ended before the thaw';
  if (log.suspended !== 1) return `the log tells of ${log.suspended} freezes`;
  if (log.resumed !== 1) return `the log tells of ${log.resumed} thaws`;
  if (signs === undefined) return undefined;
  if (signs.suspended > 1 || signs.resumed > 1) return 'somebody else froze or thawed it meanwhile';
  if (signs.takeover !== undefined) return `the mirror took over here meanwhile: ${signs.takeover}`;
  const [foreign] = signs.foreign;
  return foreign === undefined ? undefined : `the engine logged meanwhile: ${foreign}`;
}

async function readSigns(
  control: Control,
  target: ThawTarget,
  timeoutMs: number,
): Promise<ReturnType<typeof signsIn> | undefined> {
  const { console } = target;
  if (console === undefined) return undefined;
  const text = await control.read(console.path, console.from, timeoutMs);
  return text === undefined ? undefined : signsIn(parseMessages(text).entries);
}
