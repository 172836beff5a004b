import { readdirSync, readFileSync } from 'node:fs';

interface Known {
  readonly pid: number;
  readonly startTime: string;
  readonly command: string;
}

/**
 * Remembers every descendant of this process that was ever seen, so that one that outlives its parents is still found: a guard left
 * behind by a test belongs to init by then. Linux only; elsewhere it sees nothing.
 */
export class Descendants {
  readonly #known = new Map<number, Known>();

  /** Call it a few times a second: a process is missed only if it and its parent both come and go between two looks. */
  look(): void {
    const processes = readProcesses();
    const now = new Map(processes.map((each) => [each.pid, each.startTime]));
    // By pid alone a stranger would be taken in that was given the pid of one of ours, with all of its children.
    const isOurs = (pid: number): boolean => now.has(pid) && this.#known.get(pid)?.startTime === now.get(pid);
    let found = true;
    while (found) {
      found = false;
      for (const { pid, parent, startTime, command } of processes) {
        if (this.#known.get(pid)?.startTime === startTime) continue;
        if (parent !== process.pid && !isOurs(parent)) continue;
        this.#known.set(pid, { pid, startTime, command });
        found = true;
      }
    }
  }

  /** Those that still live. A pid that was given away again is not one of them: its start time differs. */
  alive(): readonly Known[] {
    const now = new Map(readProcesses().map((each) => [each.pid, each.startTime]));
    return [...this.#known.values()].filter((each) => now.get(each.pid) === each.startTime);
  }
}

function readProcesses(): readonly (Known & { readonly parent: number })[] {
  return listPids().flatMap((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      // The name in parentheses may itself hold blanks and parentheses; state, parent and start time stand behind the last one.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const [state, parent, startTime] = [fields[0], Number(fields[1]), fields[19] ?? ''];
      if (state === 'Z') return [];
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      return [{ pid, parent, startTime, command }];
    } catch {
      return []; // ended while it was being read
    }
  });
}

function listPids(): readonly number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return []; // no /proc
  }
}
