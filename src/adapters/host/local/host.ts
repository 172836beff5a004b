import { realpath, stat, statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { StorageLayer, StorageStack } from '../../../model/storage.ts';
import type { Exec } from '../../../platform/exec.ts';
import { isWithin, pathExists } from '../../../platform/files.ts';
import type { Host } from '../../../ports/host.ts';
import { blockLayers, findMount } from './commands.ts';
import { mountOption, parseFindmnt, parseLsblk, type Mount } from './parse.ts';

const timeoutMs = 15_000;

/** Inode number of the root of every btrfs subvolume (BTRFS_FIRST_FREE_OBJECTID). */
const subvolumeRootInode = 256;

/** The machine that this process runs on. */
export function localHost(exec: Exec): Host {
  return {
    name: hostname(),
    exec,

    pathHere: (path) => Promise.resolve(path),

    async stackOf(path, signal) {
      const real = await realPathOf(path);
      const argv = findMount(real);
      const mount = parseFindmnt((await exec.check({ argv, timeoutMs, signal })).stdout, argv.join(' '));
      const devices = mount.source.startsWith('/dev/')
        ? await deviceLayers(exec, mount.source, signal)
        : [otherLayer(mount.source, {})];
      const fileSystem = fileSystemLayer(mount, devices);
      const stack: StorageStack = {
        path: real,
        mountPoint: mount.target,
        device: mount.source,
        fileSystem: mount.fileSystem,
        top: mountLayer(
          mount,
          mount.fileSystem === 'btrfs' ? await subvolumeLayer(real, mount, fileSystem) : fileSystem,
        ),
      };
      return stack;
    },

    async freeBytes(path) {
      let existing = path;
      while (!(await pathExists(existing)) && existing !== dirname(existing)) existing = dirname(existing);
      // What is free for everybody: root's reserve is what keeps the machine alive when a disk runs full.
      const { bavail, bsize } = await statfs(existing);
      return bavail * bsize;
    },
  };
}

async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    throw new StillpointError(
      'io',
      codeOf(error) === 'ENOENT' ? `${path} is missing` : `${path} cannot be looked up: ${messageOf(error)}`,
      { hint: 'check that the path is right and its file system is mounted', cause: error },
    );
  }
}

function mountLayer(mount: Mount, below: StorageLayer): StorageLayer {
  return {
    id: `mount:${mount.target}`,
    type: 'mount',
    name: mount.target,
    details: { options: mount.options, root: mount.root },
    findings: [],
    below: [below],
  };
}

function fileSystemLayer(mount: Mount, below: readonly StorageLayer[]): StorageLayer {
  return {
    id: `filesystem:${mount.source}`,
    type: 'filesystem',
    name: mount.fileSystem,
    details: mount.uuid === null ? {} : { uuid: mount.uuid },
    findings: [],
    below,
  };
}

function otherLayer(name: string, details: StorageLayer['details']): StorageLayer {
  return { id: `other:${name}`, type: 'other', name, details, findings: [], below: [] };
}

/**
 * The subvolume that holds the path. `root` is the directory in which it can be seen whole; absent when the mount shows only a part of
 * it (a bind mount of a directory), because then nothing can snapshot it from here. The name is its place in the file system.
 */
async function subvolumeLayer(path: string, mount: Mount, below: StorageLayer): Promise<StorageLayer> {
  const layer = (name: string, details: StorageLayer['details']): StorageLayer => ({
    id: `subvolume:${mount.source}:${name}`,
    type: 'subvolume',
    name,
    details,
    findings: [],
    below: [below],
  });
  for (let directory = path; isWithin(directory, mount.target); directory = dirname(directory)) {
    if ((await stat(directory)).ino === subvolumeRootInode) {
      const inside = `${mount.root}/${directory.slice(mount.target.length)}`.replaceAll(/\/+/g, '/');
      const name = inside.length > 1 ? inside.replace(/\/$/, '') : inside;
      return layer(name, { root: directory });
    }
    if (directory === '/') break;
  }
  return layer(mountOption(mount.options, 'subvol') ?? mount.root, {});
}

async function deviceLayers(exec: Exec, device: string, signal: AbortSignal): Promise<readonly StorageLayer[]> {
  const argv = blockLayers(device);
  const result = await exec.run({ argv, timeoutMs, signal });
  if (result.exitCode === 0) return parseLsblk(result.stdout, argv.join(' '));
  // A container sees the mount but often not the device below it; the file system above can be cut all the same.
  return [otherLayer(device, { lsblk: result.stderr.trim() })];
}
