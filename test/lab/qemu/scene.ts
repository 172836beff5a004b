import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../../src/adapters/snapshot/qemu/config.ts';
import { qemu } from '../../../src/adapters/snapshot/qemu/provider.ts';
import type { RequiredPath } from '../../../src/model/storage.ts';
import type { Platform } from '../../../src/ports/module.ts';
import type { SnapshotProvider } from '../../../src/ports/snapshot-provider.ts';
import { realPlatform } from '../../doubles/platform.ts';
import { leftovers } from './leftovers.ts';
import { storageDaemon, type StorageDaemon, type StorageDaemonDisk } from './storage-daemon.ts';

/** A storage daemon with a provider that is configured for it. */
export interface QemuScene extends AsyncDisposable {
  readonly daemon: StorageDaemon;
  readonly platform: Platform;
  readonly config: Config;
  disk(index: number): StorageDaemonDisk;
  /** The whole disk as a required path, named `data0`... */
  path(index: number): RequiredPath;
  /** A new instance, as after a restart of the program. */
  create(more?: Config): SnapshotProvider;
  /** What snapshots left anywhere; the daemon is asked as long as it lives. */
  leftovers(dead?: 'dead'): Promise<readonly string[]>;
}

export async function qemuScene(
  options: Parameters<typeof storageDaemon>[0],
): Promise<QemuScene | { readonly skip: string }> {
  const daemon = await storageDaemon(options);
  if ('skip' in daemon) return daemon;
  const state = await mkdtemp(join(tmpdir(), 'stillpoint-qemu-'));
  const platform = realPlatform(state);
  const config: Config = {
    qmp: daemon.qmp,
    disks: Object.fromEntries(daemon.disks.map(({ file, node }) => [file, node])),
  };
  const disk = (index: number): StorageDaemonDisk => {
    const found = daemon.disks[index];
    if (found === undefined) throw new Error(`the scene has no disk ${index}`);
    return found;
  };
  return {
    daemon,
    platform,
    config,
    disk,
    path: (index) => ({
      path: disk(index).mountPoint,
      role: 'data',
      name: disk(index).node,
      kind: 'directory',
      companions: [],
      leftOut: [],
    }),
    create: (more = {}) => qemu.create({ ...config, ...more }, platform),
    leftovers: (dead) => leftovers(dead === undefined ? daemon.qmp : undefined, join(state, 'qemu')),
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      await rm(state, { recursive: true });
    },
  };
}
