import ora, { type Ora } from 'ora';
import type { Finding } from '../model/point.ts';
import type { Clock } from '../platform/clock.ts';
import type { Progress } from '../repository/api.ts';
import type { CliReporter } from './command.ts';
import { bytes, duration, painter, type Paint } from './format.ts';

/** Without a terminal a line of progress is worth printing this seldom. */
const plainEveryMs = 5_000;
const terminalEveryMs = 100;

/**
 * Between the freeze and the end of the thaw nothing is written: standard error may lie on the very disk that is frozen (docs/design/rules.md, 1).
 * What happens in that time is kept and shown after it.
 */
class HoldGate {
  readonly #kept: (() => void)[] = [];
  #closed = false;

  /** Undoing begins with the thaw (`undoFirst`): the first undo of another step comes after it. */
  onStep(name: string, phase: 'begin' | 'done' | 'undo'): void {
    if (phase === 'begin' && name === 'freeze') this.#closed = true;
    if ((phase === 'done' && name === 'thaw') || (phase === 'undo' && name !== 'freeze')) this.open();
  }

  do(work: () => void): void {
    if (this.#closed) this.#kept.push(work);
    else work();
  }

  open(): void {
    this.#closed = false;
    for (const work of this.#kept.splice(0)) work();
  }

  get closed(): boolean {
    return this.#closed;
  }
}

/** Rate since the first report, and the time that is left at that rate. */
class Pace {
  readonly #began = new Map<string, { readonly ms: number; readonly bytes: number }>();

  of(what: string, progress: Progress, nowMs: number): { readonly perSecond: number; readonly leftMs: number | null } {
    const began = this.#began.get(what) ?? { ms: nowMs, bytes: progress.bytesDone };
    this.#began.set(what, began);
    const elapsed = nowMs - began.ms;
    const perSecond = elapsed <= 0 ? 0 : ((progress.bytesDone - began.bytes) * 1000) / elapsed;
    const left = Math.max(0, progress.bytesTotal - progress.bytesDone);
    return { perSecond, leftMs: perSecond > 0 ? (left * 1000) / perSecond : null };
  }
}

/** What is printed on the way; commands that tell it in their answer leave it out here. */
export interface Shows {
  readonly steps: boolean;
  readonly findings: boolean;
}

/** Steps with their durations, warnings, and one line of progress that is rewritten on a terminal: on standard error, but for `say`. */
export class TextReporter implements CliReporter {
  readonly #stream: NodeJS.WriteStream;
  readonly #out: NodeJS.WriteStream;
  readonly #clock: Clock;
  readonly #shows: Shows;
  readonly #paint: Paint;
  readonly #gate = new HoldGate();
  readonly #pace = new Pace();
  readonly #began = new Map<string, number>();
  readonly #terminal: boolean;
  /** What is at work side by side: each part of a group has a line. */
  readonly #lines = new Map<string, string>();
  #line: Ora | undefined;
  #shownMs = 0;

  constructor(stream: NodeJS.WriteStream, out: NodeJS.WriteStream, clock: Clock, shows: Shows) {
    this.#shows = shows;
    this.#stream = stream;
    this.#out = out;
    this.#clock = clock;
    this.#paint = painter(stream);
    this.#terminal = hasWidth(stream);
    // Waiting counts from here, so that short work stays without a progress line in a log.
    this.#shownMs = clock.monoMs();
  }

  step(name: string, phase: 'begin' | 'done' | 'undo'): void {
    const now = this.#clock.monoMs();
    if (phase === 'begin') this.#began.set(name, now);
    if (phase === 'begin' && name === 'freeze') this.#clear();
    this.#gate.onStep(name, phase);
    const tookMs = now - (this.#began.get(name) ?? now);
    if (phase !== 'begin') this.#clear();
    if (phase === 'done' && this.#shows.steps)
      this.#gate.do(() => this.#write(`  ${this.#paint('green', 'done')}  ${name.padEnd(10)} ${duration(tookMs)}`));
    if (phase === 'undo') this.#gate.do(() => this.#write(`  ${this.#paint('yellow', 'undo')}  ${name}`));
    if (phase === 'begin') {
      this.#lines.clear();
      this.#show(name);
    }
  }

  progress(what: string, progress: Progress): void {
    const now = this.#clock.monoMs();
    // Every report counts for the rate, printed or not.
    const { perSecond, leftMs } = this.#pace.of(what, progress, now);
    if (this.#gate.closed || now - this.#shownMs < (this.#terminal ? terminalEveryMs : plainEveryMs)) return;
    this.#shownMs = now;
    const percent = progress.bytesTotal === 0 ? 100 : Math.floor((progress.bytesDone * 100) / progress.bytesTotal);
    const text =
      `${what}  ${percent} %, ${bytes(progress.bytesDone)} of ${bytes(progress.bytesTotal)}${progress.files === 0 ? '' : ` in ${progress.files} files`}` +
      (leftMs === null ? '' : `, ${bytes(perSecond)}/s, ${duration(leftMs)} left`);
    this.#lines.set(what, text);
    if (this.#terminal) this.#show([...this.#lines.values()].join('\n'));
    else this.#write(`  ${text}`);
  }

  finding(finding: Finding): void {
    if (!this.#shows.findings || finding.severity === 'info') return;
    this.#gate.do(() => this.#write(`  ${findingLine(finding, this.#paint)}`));
  }

  note(said: string): void {
    this.#gate.do(() => this.#write(`        ${this.#paint('dim', said)}`));
  }

  say(text: string): void {
    this.#gate.do(() => this.#write(text, this.#out));
  }

  end(): void {
    this.#gate.open();
    this.#clear();
  }

  #show(text: string): void {
    if (!this.#terminal || this.#gate.closed || !hasWidth(this.#stream)) return;
    // Cursor and keyboard are left alone: nothing has to be put back when a signal ends the program.
    this.#line ??= ora({ stream: this.#stream, hideCursor: false, discardStdin: false });
    this.#line.text = text;
    if (!this.#line.isSpinning) this.#line.start();
  }

  #clear(): void {
    this.#line?.stop();
  }

  #write(line: string, stream: NodeJS.WriteStream = this.#stream): void {
    const spinning = this.#line?.isSpinning === true;
    this.#clear();
    stream.write(`${line}\n`);
    if (spinning) this.#line?.start();
  }
}

/** A terminal may say that it has no columns (under script(1)); ora would then clear lines without end. */
function hasWidth(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && stream.columns > 0;
}

/** The same as JSON lines, for programs. */
export class JsonReporter implements CliReporter {
  readonly #stream: NodeJS.WritableStream;
  readonly #clock: Clock;
  readonly #gate = new HoldGate();
  readonly #pace = new Pace();
  #shownMs = 0;

  constructor(stream: NodeJS.WritableStream, clock: Clock) {
    this.#stream = stream;
    this.#clock = clock;
  }

  step(name: string, phase: 'begin' | 'done' | 'undo'): void {
    this.#gate.onStep(name, phase);
    this.#emit('step', { name, phase });
  }

  progress(what: string, progress: Progress): void {
    const now = this.#clock.monoMs();
    const { perSecond, leftMs } = this.#pace.of(what, progress, now);
    if (now - this.#shownMs < 1_000 && progress.bytesDone < progress.bytesTotal) return;
    this.#shownMs = now;
    this.#emit('progress', {
      what,
      ...progress,
      bytesPerSecond: Math.round(perSecond),
      leftMs: leftMs === null ? null : Math.round(leftMs),
    });
  }

  finding(finding: Finding): void {
    this.#emit('finding', { ...finding });
  }

  note(said: string): void {
    this.#emit('note', { said });
  }

  say(text: string, details: Readonly<Record<string, unknown>> = {}): void {
    this.#emit('message', { text, ...details });
  }

  end(): void {
    this.#gate.open();
  }

  #emit(event: string, body: Readonly<Record<string, unknown>>): void {
    const line = JSON.stringify({ event, at: this.#clock.now().wall, ...body });
    this.#gate.do(() => this.#stream.write(`${line}\n`));
  }
}

export function findingLine(finding: Finding, paint: Paint): string {
  const colours = { info: 'dim', warning: 'yellow', error: 'red' } as const;
  return `${paint(colours[finding.severity], finding.severity.padEnd(7))}  ${finding.check}: ${finding.said}`;
}
