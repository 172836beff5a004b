import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { bootId } from './clock.ts';

/** A process that can be told from a later one with the same pid. Start in clock ticks since boot: proc(5), stat field 22. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
  readonly bootId: string;
}

/** Undefined when there is no such process (or only its zombie). */
export function identify(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    // No such directory: the process is gone, which is the answer.
    return undefined;
  }
  // The command name may hold blanks and parentheses; the fields that count follow the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTicks = fields[19];
  if (startTicks === undefined || state === 'Z' || state === 'X') return undefined;
  return { pid, startTicks, bootId: bootId() };
}

export function isAlive(identity: ProcessIdentity): boolean {
  const now = identify(identity.pid);
  return now !== undefined && now.startTicks === identity.startTicks && now.bootId === identity.bootId;
}

export function self(): ProcessIdentity {
  const identity = identify(process.pid);
  if (identity === undefined) throw new Error('/proc does not show this process');
  return identity;
}

/** Kills exactly this process: never a later one that got its pid. False when it was gone already. */
export function killExactly(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch {
    // It ended between the look and the signal.
    return false;
  }
}

/** Processes of this machine whose working directory is `directory` or below it. Those that this user may not look at are left out. */
export function processesIn(directory: string): readonly ProcessIdentity[] {
  const found: ProcessIdentity[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const at = readlinkSync(`/proc/${name}/cwd`);
      if (at !== directory && !at.startsWith(`${directory}/`)) continue;
    } catch {
      // Gone since the directory was read, or somebody else's.
      continue;
    }
    const identity = identify(Number(name));
    if (identity !== undefined) found.push(identity);
  }
  return found;
}

/** What other processes have open, by reading links only. Processes of other users are invisible unless we are root. */
export function* openFilesOfOthers(): Generator<{ readonly pid: number; readonly files: readonly string[] }> {
  for (const entry of list('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const files: string[] = [];
    for (const fd of list(`/proc/${pid}/fd`)) {
      try {
        files.push(readlinkSync(`/proc/${pid}/fd/${fd}`));
      } catch {
        // Closed since it was listed.
      }
    }
    if (files.length > 0) yield { pid, files };
  }
}

/** Living processes with this variable in their environment. Processes of other users are invisible unless we are root. */
export function processesMarked(variable: string, value: string): readonly ProcessIdentity[] {
  return list('/proc').flatMap((entry) => {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) return [];
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${variable}=${value}`)) return [];
    } catch {
      // The process ended, or belongs to somebody else.
      return [];
    }
    const identity = identify(pid);
    return identity === undefined ? [] : [identity];
  });
}

/**
 * Ends this process for certain, when all its work is done. `process.exit` waits for threads of the JavaScript engine, which now and
 * then wait for it (nodejs/node#54918): a finished command then never ends. Replacing the program by one that only exits leaves nothing
 * to wait for. Returns if that cannot be done here; the caller exits in the ordinary way then.
 */
export function endForCertain(code: number): void {
  // What listens to the end (children that must not outlive us) is not called by execve(2).
  process.emit('exit', code);
  flushCompileCache();
  try {
    process.execve?.('/bin/sh', ['sh', '-c', `exit ${code}`], {});
  } catch {
    // No such program, or not allowed here: the ordinary exit is nearly always good.
  }
}

function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    // The process ended, or belongs to somebody else.
    return [];
  }
}
