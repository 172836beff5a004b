/**
 * Guests under User-Mode Linux (`linux.uml`, Debian package user-mode-linux): a Linux kernel as an ordinary program, on this machine's own
 * root (read-only), with sparse files for disks. It has what a container's kernel lacks: LVM, md and their failures.
 */
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { existsSync, readdirSync, readFileSync, statfsSync } from 'node:fs';
import { freemem, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../src/model/errors.ts';
import { systemClock, within } from '../../src/platform/clock.ts';
import { systemExec } from '../../src/platform/exec.ts';
import { programImage } from './program.ts';
import type { JobParameters, Json } from './scenario.ts';

export interface Disk {
  readonly name: string;
  readonly bytes: number;
}

export interface Job {
  readonly scenario: string;
  readonly parameters: JobParameters;
}

export interface MachineOptions {
  readonly disks: readonly Disk[];
  readonly memMiB: number;
  /** Leaves the machine's directory behind when it is disposed of. */
  readonly keep?: boolean;
  /** Ends whatever guest runs. */
  readonly signal?: AbortSignal;
}

export interface BootOptions {
  readonly timeoutMs: number;
}

/** How a guest ended: by itself, by `cutPower`, or because its time was over. */
export type End = 'off' | 'cut' | 'late' | 'cancelled';

export interface Outcome {
  readonly end: End;
  /** What the scenario returned. Undefined if it did not come to its end, or failed. */
  readonly result: Json | undefined;
  /** The scenario's failure, or what else went wrong. Undefined for success; after a power cut a missing result is none. */
  readonly error: string | undefined;
  /** From power-on until nothing of the guest was left. */
  readonly ms: number;
  /** The guest's own log, all boots of the machine. */
  readonly log: string;
}

export interface RunningGuest {
  /** The process group of the guest. */
  readonly pid: number;
  readonly ended: Promise<Outcome>;
  /** Kills the whole guest at once, as a power cut does: what it had not written to its disks is lost. */
  cutPower(): Promise<Outcome>;
  /** Waits for a file in the share, as a sign from the guest. False if the guest ends or `ms` pass before. */
  sign(name: string, ms: number): Promise<boolean>;
}

/** Disks and a share that survive the guests booted on them. */
export interface Machine extends AsyncDisposable {
  readonly directory: string;
  /** A directory of the host that the guest sees as `/run/lab/share`. A power cut does not touch what was synced there. */
  readonly share: string;
  start(job: Job, options: BootOptions): Promise<RunningGuest>;
  boot(job: Job, options: BootOptions): Promise<Outcome>;
  /** The command line that boots it by hand, with a shell on the terminal. */
  shellCommand(): string;
}

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const init = join(root, 'test/lab/guest/init.sh');
const modules = '/usr/lib/uml/modules';
const programs = ['linux.uml', 'lvm', 'dmsetup', 'mdadm', 'thin_delta', 'mkfs.xfs', 'mkfs.ext4', 'fsfreeze'] as const;
const packages = 'user-mode-linux lvm2 mdadm thin-provisioning-tools xfsprogs e2fsprogs util-linux';
const graceMs = 10_000;

/** Why guests cannot run here; undefined if they can. */
export async function whyNoLab(more: readonly string[] = []): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'needs Linux';
  if (process.getuid?.() !== 0) return 'needs root: the guest runs on the root file system of this machine';
  for (const program of [...programs, ...more]) {
    if ((await systemExec.which(program)) === undefined) return `needs ${program} (Debian packages ${packages})`;
  }
  if (!existsSync(modules)) return `needs the modules of linux.uml in ${modules}`;
  return /\s/.test(root) ? `needs a path without blanks: ${root} goes into a kernel command line` : undefined;
}

/** Memory-backed where there is plenty: a guest flushes often, and its flushes become those of the file below. */
function placeFor(bytes: number): string {
  const roomy = 4 * 1024 ** 3 + bytes;
  try {
    const { bavail, bsize } = statfsSync('/dev/shm');
    if (bavail * bsize > roomy && freemem() > roomy && !mountedNoexec('/dev/shm')) return '/dev/shm';
  } catch {
    // No such directory here.
  }
  return tmpdir();
}

/** The guest's memory is a file that it maps as code. */
function mountedNoexec(directory: string): boolean {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === directory && /\bnoexec\b/.test(line.split(' ')[3] ?? ''));
}

/** Makes the disks. Disposing removes everything, unless `keep`. */
export async function openMachine(options: MachineOptions): Promise<Machine> {
  if (options.disks.length > 15) throw new Error('15 disks at most: User-Mode Linux has 16, and one is the program');
  const total = options.disks.reduce((sum, disk) => sum + disk.bytes, 0);
  const place = placeFor(total);
  const program = await programImage(place);
  const directory = await mkdtemp(join(place, 'sp-lab-'));
  const share = join(directory, 'share');
  for (const each of ['share', 'uml', 'tmp']) await mkdir(join(directory, each));
  const images: string[] = [];
  for (const { name, bytes } of options.disks) {
    const image = join(directory, `${name}.img`);
    await writeFile(image, '');
    await truncate(image, bytes);
    images.push(image);
  }
  const running = new Set<RunningGuest>();
  const kernel = (extra: readonly string[]): readonly string[] => [
    `mem=${options.memMiB}M`,
    'rootfstype=hostfs',
    'rootflags=/',
    'ro',
    `init=${init}`,
    'quiet',
    `uml_dir=${directory}/uml`,
    'umid=guest',
    `LAB_SHARE=${share}`,
    ...images.map((image, index) => `ubd${String.fromCodePoint(97 + index)}=${image}`),
    // Read-only, so several guests may have it at once.
    `ubdpr=${program}`,
    'con=null',
    'ssl=null',
    ...extra,
  ];

  const start = async (job: Job, { timeoutMs }: BootOptions): Promise<RunningGuest> => {
    await rm(join(share, 'result.json'), { force: true });
    await writeFile(join(share, 'job.json'), JSON.stringify(job));
    const guest = await power(kernel([`LAB_LIMIT_S=${Math.ceil(timeoutMs / 1000) + 30}`, 'con0=null,fd:1']), {
      directory,
      share,
      timeoutMs,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    running.add(guest);
    void guest.ended.finally(() => running.delete(guest));
    return guest;
  };
  return {
    directory,
    share,
    start,
    boot: async (job, more) => await (await start(job, more)).ended,
    shellCommand: () => ['linux.uml', ...kernel(['LAB_SHELL=1', 'con0=fd:0,fd:1'])].join(' '),
    async [Symbol.asyncDispose]() {
      for (const guest of running) await guest.cutPower();
      if (options.keep !== true) await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Boots one guest and ends it at its end; see `openMachine` for several boots on the same disks. */
export async function bootGuest(
  options: MachineOptions & BootOptions & { readonly job: Job; readonly prepare?: (machine: Machine) => Promise<void> },
): Promise<Outcome> {
  await using machine = await openMachine(options);
  await options.prepare?.(machine);
  return await machine.boot(options.job, options);
}

/**
 * The guest's processes are processes here, traced by its kernel: should only the kernel die, they would go on as processes of this machine.
 * So all of them are one process group, which is killed by one signal, also when this process dies (its end of the pipe closes then).
 * TERM is what children get when their parent exits; the supervisor must outlive that.
 */
const supervisor = [
  `trap '' TERM; exec 3<&0; setsid "$@" </dev/null 2>&1 & guest=$!; echo $guest`,
  '{ cat <&3 >/dev/null; kill -s KILL -- -$guest; } &',
  'wait $guest; kill -s KILL -- -$guest; kill -s KILL 0',
].join('\n');

async function power(
  argv: readonly string[],
  {
    directory,
    share,
    timeoutMs,
    signal,
  }: Pick<Machine, 'directory' | 'share'> & BootOptions & Pick<MachineOptions, 'signal'>,
): Promise<RunningGuest> {
  const began = systemClock.monoMs();
  const child = systemExec.start({
    argv: ['/bin/sh', '-c', supervisor, 'guest', 'linux.uml', ...argv],
    cwd: directory,
    env: { TMPDIR: join(directory, 'tmp'), HOME: directory },
  });
  const group = Number(await child.firstLine((line) => /^\d+$/.test(line), graceMs));
  let end: End = 'off';
  let over = false;
  const stop = (why: End): void => {
    if (over) return;
    if (end === 'off') end = why;
    try {
      process.kill(-group, 'SIGKILL');
    } catch {
      // It ended by itself at this moment.
    }
  };
  const forget = systemClock.after(timeoutMs, () => stop('late'));
  const onAbort = (): void => stop('cancelled');
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted === true) onAbort();

  const ended = (async (): Promise<Outcome> => {
    await child.exited;
    over = true;
    forget();
    signal?.removeEventListener('abort', onAbort);
    const left = await groupGone(group);
    const ms = Math.round(systemClock.monoMs() - began);
    const log = await readOr(join(share, 'guest.log'));
    const found = parseResult(await readOr(join(share, 'result.json')));
    const error = left ?? failure(end, found, timeoutMs, log);
    return { end, result: found?.result, error, ms, log };
  })();
  return {
    pid: group,
    ended,
    cutPower: async () => {
      stop('cut');
      return await ended;
    },
    sign: async (name, ms) => {
      const until = systemClock.monoMs() + ms;
      while (systemClock.monoMs() < until) {
        if (existsSync(join(share, name))) return true;
        if (over) return false;
        await systemClock.sleep(20);
      }
      return false;
    },
  };
}

interface Found {
  readonly result?: Json;
  readonly error?: string;
}

function failure(end: End, found: Found | undefined, timeoutMs: number, log: string): string | undefined {
  if (found?.error !== undefined) return found.error;
  if (end === 'cut' || found?.result !== undefined) return undefined;
  const tail = log.trimEnd().split('\n').slice(-15).join('\n');
  if (end === 'late') return `the guest did not end within ${timeoutMs} ms; the end of its log:\n${tail}`;
  return end === 'cancelled' ? 'cancelled' : `the guest ended without a result; the end of its log:\n${tail}`;
}

function parseResult(text: string): Found | undefined {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as Found;
  } catch (error) {
    return { error: `the result cannot be read: ${messageOf(error)}` };
  }
}

async function readOr(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch {
    // Not written: the guest did not come that far.
    return '';
  }
}

/** A sentence about processes of the group that do not end, or undefined once none is left. */
async function groupGone(group: number): Promise<string | undefined> {
  const wait = async (): Promise<undefined> => {
    while (members(group).length > 0) await systemClock.sleep(10);
    return undefined;
  };
  return await within(systemClock, graceMs, wait(), () => {
    const left = members(group);
    return left.length === 0 ? undefined : `processes of the guest are still there: ${left.join(', ')}`;
  });
}

/** Living processes of this group. proc(5): the fields of stat behind the name are state, parent, group. */
export function members(group: number): readonly number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const [state, , its] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return Number(its) === group && state !== 'Z' && state !== 'X' ? [Number(name)] : [];
    } catch {
      // It ended in between.
      return [];
    }
  });
}
