import { readdirSync, readFileSync } from 'node:fs';

/** Processes of other programs whose command line names the directory. */
export function processesNaming(directory: string): readonly number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return line.startsWith('qemu') && line.includes(`${directory}/`);
      } catch {
        // It ended.
        return false;
      }
    });
}
