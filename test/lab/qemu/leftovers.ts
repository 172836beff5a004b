import { readdir } from 'node:fs/promises';
import { systemClock } from '../../../src/platform/clock.ts';
import { mountPointsBelow, pathExists } from '../../../src/platform/files.ts';
import { processesIn } from '../../../src/platform/process.ts';
import { Qmp } from '../../../src/adapters/snapshot/qemu/qmp.ts';
import { loopsBelow } from './storage-daemon.ts';
import { processesNaming } from './processes.ts';

/** Everything of ours that is still there: in the process behind `qmp` (if it lives), in the kernel, and in the overlays' directory. */
export async function leftovers(qmp: string | undefined, directory: string): Promise<readonly string[]> {
  const found: string[] = [];
  if (qmp !== undefined) {
    using connection = await Qmp.connect(qmp, systemClock);
    for (const execute of ['query-named-block-nodes', 'query-jobs', 'query-block-exports']) {
      const text = JSON.stringify(await connection.execute({ execute }));
      // The names of our snapshots are made of a hash; images of the tests lie in directories that begin alike.
      for (const [name] of text.matchAll(/"stillpoint-[0-9a-f]{12}-[^"]*"/g)) found.push(`${execute}: ${name}`);
    }
  }
  if (await pathExists(directory)) {
    for (const mountPoint of await mountPointsBelow(directory)) found.push(`mounted: ${mountPoint}`);
    for (const name of await readdir(directory)) found.push(`file: ${name}`);
  }
  if (await loopsBelow(directory)) found.push('a loop device');
  for (const pid of processesNaming(directory)) found.push(`process ${pid}`);
  for (const { pid } of processesIn(directory)) found.push(`process ${pid} in it`);
  return found;
}
