import type { Clock } from '../../../platform/clock.ts';
import { queries } from './commands.ts';
import { parseExports, parseJobs } from './parse.ts';
import type { Qmp } from './qmp.ts';

const endMs = 30_000;
const pollMs = 10;

export function exportIds(qmp: Qmp): () => Promise<readonly string[]> {
  return async () => parseExports(await qmp.execute(queries.exports)).map(({ id }) => id);
}

export function jobIds(qmp: Qmp): () => Promise<readonly string[]> {
  return async () => parseJobs(await qmp.execute(queries.jobs)).map(({ id }) => id);
}

/** Waits for what was told to end. Exports and jobs end some time after the command that ends them has returned. */
export async function untilNone(
  ask: () => Promise<readonly string[]>,
  mine: (id: string) => boolean,
  clock: Clock,
): Promise<void> {
  const end = clock.monoMs() + endMs;
  for (;;) {
    const left = (await ask()).filter(mine);
    if (left.length === 0) return;
    if (clock.monoMs() > end) throw new Error(`${left.join(', ')} did not end within ${endMs} ms`);
    await clock.sleep(pollMs);
  }
}
