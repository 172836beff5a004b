import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { snapshotProviderContract } from '../../../../test/contract/snapshot-provider.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { storageDaemon, type StorageDaemon } from '../../../../test/lab/qemu/storage-daemon.ts';
import type { Config } from './config.ts';
import { qemu } from './provider.ts';

export function configFor(daemon: StorageDaemon): Config {
  return { qmp: daemon.qmp, disks: Object.fromEntries(daemon.disks.map(({ file, node }) => [file, node])) };
}

for (const [fileSystem, format] of [
  ['xfs', 'raw'],
  ['ext4', 'qcow2'],
] as const) {
  snapshotProviderContract(`qemu with ${fileSystem} on ${format}`, async () => {
    const daemon = await storageDaemon({ fileSystem, format });
    if ('skip' in daemon) return daemon;
    const [disk] = daemon.disks;
    if (disk === undefined) throw new Error('no disk');
    const state = await mkdtemp(join(tmpdir(), 'stillpoint-qemu-'));
    return {
      directory: disk.mountPoint,
      create: () => qemu.create(configFor(daemon), realPlatform(state)),
      atomicity: 'one-instant',
      dispose: async () => {
        await daemon[Symbol.asyncDispose]();
        await rm(state, { recursive: true });
      },
    };
  });
}
