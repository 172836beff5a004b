import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { identify, type ProcessIdentity } from '../../../platform/process.ts';

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

/** Environments of running mumps processes. */
export function* mumpsEnvironments(): Generator<{
  readonly pid: number;
  readonly variables: Readonly<Record<string, string>>;
}> {
  for (const entry of list('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    try {
      if (!/^(mumps|yottadb)\n?$/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'))) continue;
      const pairs = readFileSync(`/proc/${pid}/environ`, 'utf8')
        .split('\0')
        .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)] as const)
        .filter(([name]) => name !== '');
      yield { pid, variables: Object.fromEntries(pairs) };
    } catch {
      // The process ended, or belongs to somebody else.
    }
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
