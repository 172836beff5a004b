import { existsSync, readFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Moment } from '../../../model/time.ts';
import type { RunningProcess } from '../../../platform/exec.ts';
import { identify, killExactly, type ProcessIdentity } from '../../../platform/process.ts';
import type { Platform } from '../../../ports/module.ts';
import type { OnlineStream } from '../../../ports/online.ts';
import {
  type Channel,
  closeChannels,
  letEnd,
  openChannels,
  type PipePlan,
  sameFile,
  temporaryFor,
} from './backup-pipes.ts';
import { environmentOf, mupipArgv } from './commands.ts';
import { type BackupOutput, parseBackup, unchangedText } from './parse-backup.ts';
import { parseMessages } from './parse.ts';

/** mupip ends within milliseconds of a TERM. A KILL leaves shared memory behind that the next process must clear away. */
const stopMs = 5_000;
/** From the last stream's end to that of mupip: it only removes its temporary files then. */
const lastWordsMs = 60_000;
const stallMs = 10 * 60_000;
const watchMs = 30_000;
const everMs = 0x7fff_ffff;

/**
 * Ends mupip when its standard input closes while it is still there, which is what is left of us after a SIGKILL: a mupip whose reader is
 * gone would wait in its pipe for ever, and the engine would call every later backup a second one at the same time. `$$` is mupip's own
 * process id, by exec. Only that one gets the signal: the process that mupip forks for a pipe is a mupip too, and runs the database down
 * a second time when it is told to end (CRITSEMFAIL), under the feet of the living. $1: directory of temporary files, or empty.
 */
const watcher = `exec 3<&0 </dev/null
( read -r none <&3
  kill -TERM $$ || exit 0
  for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 $$ || break; sleep 0.5; done
  [ -z "$1" ] || rm -rf -- "$1"
  kill -KILL 0 ) >/dev/null 2>&1 &
exec 3<&- 4>&2; shift; exec "$@" 2>&1`;

export interface BackupPlan extends PipePlan {
  /** After `mupip backup`: level and since. */
  readonly qualifiers: readonly string[];
  readonly signal: AbortSignal;
  /** Where an unchanged region stands. */
  readonly unchangedAt: (region: string) => string;
}

/** What mupip said once it has ended. */
export interface BackupEnd {
  readonly output: BackupOutput;
  readonly text: string;
  readonly complaints: readonly string[];
  readonly exitedWell: boolean;
  readonly began: Moment;
  readonly endMs: number;
  /** When the first byte of any region was there: the state that the backup holds is older. */
  readonly fixed: Moment;
}

/**
 * One `mupip backup -bytestream` that writes each region through a shell's `cat` into a FIFO. mupip writes region by region in the
 * order of its list, starts each `cat` when that region's turn comes and waits for its end, so reading one stream after the other cannot
 * block, however slowly. mupip does not look at the exit code of `cat`: the file `<name>.whole` is made only when that was 0.
 */
export class BackupRun implements AsyncDisposable {
  readonly began: Moment;
  readonly #plan: BackupPlan;
  readonly #platform: Platform;
  readonly #channels: readonly Channel[];
  readonly #temporary: string;
  readonly #ownTemporary: boolean;
  readonly #child: RunningProcess;
  readonly #mupip: ProcessIdentity | undefined;
  readonly #ended: Promise<{ readonly exitedWell: boolean; readonly endMs: number }>;
  #exited = false;
  #text = '';
  #wakers: (() => void)[] = [];
  readonly #sockets = new Map<Channel, Socket>();
  #fixed: Moment | undefined;
  #stopped: string | undefined;

  static async start(plan: BackupPlan, platform: Platform): Promise<BackupRun> {
    const channels = await openChannels(plan, platform);
    const { temporary, own } = await temporaryFor(plan);
    try {
      return new BackupRun(plan, platform, channels, temporary, own);
    } catch (cause) {
      closeChannels(channels);
      if (own) await rm(temporary, { recursive: true, force: true });
      throw cause;
    }
  }

  private constructor(
    plan: BackupPlan,
    platform: Platform,
    channels: readonly Channel[],
    temporary: string,
    ownTemporary: boolean,
  ) {
    this.#plan = plan;
    this.#platform = platform;
    this.#channels = channels;
    this.#temporary = temporary;
    this.#ownTemporary = ownTemporary;
    this.began = platform.clock.now();
    const { place, owner } = plan.gtm;
    const targets = channels.map((each) => `"| cat > ${each.name} && : > ${each.name}.whole"`).join(',');
    const names = channels.map((each) => each.region.name).join(',');
    const mupip = mupipArgv(place.distribution, [
      'backup',
      '-bytestream',
      '-online',
      ...plan.qualifiers,
      names,
      targets,
    ]);
    this.#child = platform.exec.start({
      argv: ['/bin/sh', '-c', watcher, 'sh', ownTemporary ? temporary : '', ...mupip],
      env: { ...environmentOf(place), gtm_baktmpdir: temporary },
      // Relative names in it work for the engine's user too, who may not walk down to it. And the shell's quoting never meets a path.
      cwd: plan.scratch,
      ...owner,
      // Else the end of this process would send TERM to the whole group.
      detached: true,
    });
    this.#mupip = identify(this.#child.pid);
    this.#ended = this.#follow();
    plan.signal.addEventListener('abort', this.#onAbort, { once: true });
    if (plan.signal.aborted) this.#onAbort();
  }

  readonly #onAbort = (): void => {
    void this.#stop('it was cancelled');
  };

  get pid(): number {
    return this.#child.pid;
  }

  streams(): readonly OnlineStream[] {
    return this.#channels.map((channel) => ({
      name: `${channel.region.name.replaceAll(/[^A-Za-z0-9_-]/g, '_')}.bytestream`,
      open: () => Readable.from(this.#read(channel), { objectMode: false }),
    }));
  }

  /** Collects what mupip prints, line by line, until it has ended. */
  async #follow(): Promise<{ readonly exitedWell: boolean; readonly endMs: number }> {
    const lines = (async () => {
      for (;;) {
        try {
          this.#text += `${await this.#child.firstLine(() => true, everMs)}\n`;
        } catch {
          return; // It has ended, and so have its lines.
        }
        this.#wake();
      }
    })();
    const { exitCode } = await this.#child.exited;
    const endMs = this.#platform.clock.monoMs();
    await lines;
    this.#exited = true;
    this.#wake();
    return { exitedWell: exitCode === 0, endMs };
  }

  #wake(): void {
    for (const channel of this.#channels) if (this.#exited || this.#doneWith(channel) !== undefined) letEnd(channel);
    for (const waker of this.#wakers.splice(0)) waker();
  }

  #doneWith(channel: Channel): BackupOutput['regions'][number] | undefined {
    return parseBackup(this.#text).regions.find((each) => sameFile(each.file, channel.region.file));
  }

  async *#read(channel: Channel): AsyncGenerator<Buffer> {
    const fd = channel.readFd;
    if (fd === undefined) throw this.#failure(channel, 'its stream was opened twice, or after the end');
    channel.readFd = undefined;
    const socket = new Socket({ fd, readable: true, writable: false });
    this.#sockets.set(channel, socket);
    const state = { waiting: true };
    const unwatch = this.#watchProgress(state);
    let bytes = 0;
    try {
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        this.#fixed ??= this.#platform.clock.now();
        state.waiting = false;
        bytes += chunk.length;
        yield chunk;
        state.waiting = true;
      }
    } finally {
      unwatch();
      socket.destroy();
      this.#sockets.delete(channel);
    }
    const done = await this.#settled(channel);
    if (done === undefined) throw this.#failure(channel, 'mupip backup ended before the region was done');
    if (done.range === undefined && bytes === 0) {
      this.#fixed ??= this.#platform.clock.now();
      yield Buffer.from(unchangedText(channel.region.name, this.#plan.unchangedAt(channel.region.name)));
      return;
    }
    if (!(await this.#isWhole(channel))) throw this.#failure(channel, 'the pipe from mupip backup broke');
  }

  async #settled(channel: Channel): Promise<BackupOutput['regions'][number] | undefined> {
    for (;;) {
      const done = this.#doneWith(channel);
      if (done !== undefined || this.#exited) return done;
      await new Promise<void>((resolve) => this.#wakers.push(resolve));
    }
  }

  /** mupip waits for its shell before it says that the region is done, so the mark is there; a busy machine gets a second more. */
  async #isWhole(channel: Channel): Promise<boolean> {
    const mark = join(this.#plan.scratch, `${channel.name}.whole`);
    for (let waited = 0; waited < 1_000; waited += 20) {
      if (existsSync(mark)) return true;
      await this.#platform.clock.sleep(20);
    }
    return false;
  }

  /** Ends a mupip that neither writes nor reads while we wait for it. One that scans a large database without writing reads. */
  #watchProgress(state: { readonly waiting: boolean }): () => void {
    const { clock } = this.#platform;
    let last = '';
    let sinceMs = clock.monoMs();
    return clock.every(watchMs, () => {
      const now = charactersRead(this.#child.pid);
      if (!state.waiting || now !== last) sinceMs = clock.monoMs();
      last = now;
      if (clock.monoMs() - sinceMs > stallMs) void this.#stop(`it did nothing for ${stallMs / 60_000} min`);
    });
  }

  #failure(channel: Channel, said: string): StillpointError {
    const complaints = this.#complaints();
    // Some of its reasons are no messages of the usual form: "Process 4711 encountered the following error".
    const last = this.#text.trim().split('\n').slice(-4);
    const why = [said, ...(this.#stopped === undefined ? [] : [this.#stopped]), ...complaints, ...last].join('; ');
    return new StillpointError('command-failed', `the backup of region ${channel.region.name} is not whole: ${why}`, {
      hint: 'see the operator log of GT.M; a second backup at the same time is refused by the engine',
    });
  }

  #complaints(): readonly string[] {
    const bad = parseMessages(this.#text).filter((each) => /[WEF]/.test(each.severity));
    return bad.map((each) => `%GTM-${each.severity}-${each.mnemonic}, ${each.said}`);
  }

  /** Waits for mupip's own end. Throws `command-failed` if that does not come. */
  async end(): Promise<BackupEnd> {
    const { clock } = this.#platform;
    const enough = new AbortController();
    const late = clock.sleep(lastWordsMs, enough.signal).then(
      () => undefined,
      () => undefined,
    );
    const ended = await Promise.race([this.#ended, late]);
    enough.abort();
    if (ended === undefined) {
      throw new StillpointError(
        'command-failed',
        `mupip backup did not end within ${lastWordsMs} ms of its last byte`,
        {
          hint: 'see the operator log of GT.M',
        },
      );
    }
    return {
      output: parseBackup(this.#text),
      text: this.#text,
      complaints: [...this.#complaints(), ...(this.#stopped === undefined ? [] : [this.#stopped])],
      exitedWell: ended.exitedWell && this.#stopped === undefined,
      began: this.began,
      endMs: ended.endMs,
      fixed: this.#fixed ?? clock.now(),
    };
  }

  async #stop(why: string): Promise<void> {
    if (this.#exited) return;
    this.#stopped ??= why;
    const { clock } = this.#platform;
    // Without a reader `cat` ends, and with it what mupip has forked for it.
    closeChannels(this.#channels);
    for (const [channel, socket] of this.#sockets) socket.destroy(this.#failure(channel, why));
    if (this.#mupip !== undefined) killExactly(this.#mupip, 'SIGTERM');
    const gone = await Promise.race([this.#ended.then(() => true), clock.sleep(stopMs).then(() => false)]);
    if (gone) return;
    this.#child.kill('SIGKILL');
    await Promise.race([this.#ended, clock.sleep(stopMs)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#plan.signal.removeEventListener('abort', this.#onAbort);
    await this.#stop('it was ended');
    closeChannels(this.#channels);
    // For a mupip that took no signal so far: the watcher stays with it.
    this.#child.closeInput();
    await this.#removeTemporary();
    for (const { name } of this.#channels) {
      await rm(join(this.#plan.scratch, name), { force: true });
      await rm(join(this.#plan.scratch, `${name}.whole`), { force: true });
    }
  }

  /** mupip removes its files itself, unless it was killed. In a directory that is not ours, they are known by mupip's process id. */
  async #removeTemporary(): Promise<void> {
    if (this.#ownTemporary) {
      await rm(this.#temporary, { recursive: true, force: true });
      return;
    }
    const marks = this.#channels.map((each) => `${each.region.name}_${this.#child.pid.toString(16)}_`);
    try {
      for (const name of await readdir(this.#temporary)) {
        if (marks.some((each) => name.startsWith(each))) await rm(join(this.#temporary, name), { force: true });
      }
    } catch (cause) {
      this.#platform.log.warn('the temporary files of mupip backup were not looked for', { reason: messageOf(cause) });
    }
  }
}

function charactersRead(pid: number): string {
  try {
    return /^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1] ?? '';
  } catch {
    return 'gone';
  }
}
