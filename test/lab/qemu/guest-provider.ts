import { join } from 'node:path';
import type { Config } from '../../../src/adapters/snapshot/qemu/config.ts';
import { qemu } from '../../../src/adapters/snapshot/qemu/provider.ts';
import type { RequiredPath, StorageStack } from '../../../src/model/storage.ts';
import type { Exec } from '../../../src/platform/exec.ts';
import type { Platform } from '../../../src/ports/module.ts';
import type { SnapshotProvider } from '../../../src/ports/snapshot-provider.ts';
import { realPlatform } from '../../doubles/platform.ts';
import type { VirtualMachine } from './machine.ts';

/**
 * The provider on the host of a virtual machine, for paths inside of it: storage stacks are those that the guest would tell, and file systems
 * are synced in the guest. Everything else is real.
 */
export function guestProvider(machine: VirtualMachine, stateDirectory: string, more: Config = {}): SnapshotProvider {
  const real = realPlatform(stateDirectory);
  const exec: Exec = {
    ...real.exec,
    async check(command) {
      const [program, option, mountPoint] = command.argv;
      if (program !== 'sync' || option !== '-f' || mountPoint === undefined) return await real.exec.check(command);
      await machine.shell('sync');
      return await real.exec.check({ argv: ['true'], timeoutMs: command.timeoutMs });
    },
  };
  const platform: Platform = {
    ...real,
    exec,
    host: {
      ...real.host,
      exec,
      async stackOf(path, signal) {
        const disk = machine.disks.find(({ mountPoint }) => path.startsWith(mountPoint));
        return disk === undefined ? await real.host.stackOf(path, signal) : guestStack(path, disk);
      },
    },
  };
  return qemu.create({ qmp: machine.qmp, overlayDirectory: join(stateDirectory, 'qemu'), ...more }, platform);
}

function guestStack(path: string, { mountPoint, serial }: VirtualMachine['disks'][number]): StorageStack {
  const device = `/dev/vd${mountPoint.slice(1)}`;
  const layer = { findings: [], details: {} };
  return {
    path,
    mountPoint,
    device,
    fileSystem: 'xfs',
    top: {
      ...layer,
      id: `mount:${mountPoint}`,
      type: 'mount',
      name: mountPoint,
      details: { root: '/' },
      below: [
        {
          ...layer,
          id: `filesystem:${device}`,
          type: 'filesystem',
          name: 'xfs',
          below: [{ ...layer, id: `block:${device}`, type: 'disk', name: device, details: { serial }, below: [] }],
        },
      ],
    },
  };
}

export function guestPaths(machine: VirtualMachine): readonly RequiredPath[] {
  return machine.disks.map(({ mountPoint }) => ({
    path: mountPoint,
    role: 'data',
    name: mountPoint.slice(1),
    kind: 'directory',
    companions: [],
    leftOut: [],
  }));
}
