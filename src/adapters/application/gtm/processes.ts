import { readdirSync, readFileSync } from 'node:fs';

/** Environments of running mumps processes. */
export function* mumpsEnvironments(): Generator<{
  readonly pid: number;
  readonly variables: Readonly<Record<string, string>>;
}> {
  for (const entry of readdirSync('/proc')) {
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
