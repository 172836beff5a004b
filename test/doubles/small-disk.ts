import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemExec as exec } from '../../src/platform/exec.ts';

/** A tmpfs of its own, for tests of a full disk. Undefined where this process may not mount. */
export async function smallDisk(
  bytes: number,
): Promise<({ readonly directory: string } & AsyncDisposable) | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-disk-'));
  const argv = ['mount', '-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'stillpoint-test', directory] as const;
  const mounted = await exec.run({ argv, timeoutMs: 20_000 });
  if (mounted.exitCode !== 0) {
    await rmdir(directory);
    return undefined;
  }
  return {
    directory,
    async [Symbol.asyncDispose]() {
      await exec.check({ argv: ['umount', directory], timeoutMs: 20_000 });
      await rmdir(directory);
    },
  };
}
