import type { QmpCommand } from './qmp.ts';

export type Argv = readonly [string, ...string[]];

/** An empty overlay; what lies below it is said when it is opened. */
export function createOverlay(path: string, bytes: number): Argv {
  return ['qemu-img', 'create', '-q', '-f', 'qcow2', path, String(bytes)];
}

/** Blocks behind the end of the file: the overlay grows into them and needs none of those that are free then. */
export function reserveSpace(path: string, bytes: number): Argv {
  return ['fallocate', '--keep-size', '--length', String(bytes), path];
}

export function syncFileSystem(mountPoint: string): Argv {
  return ['sync', '-f', mountPoint];
}

/** A writable loop device, although it is mounted read-only: the log is replayed into the throw-away overlay. Prints its name. */
export function attachLoop(file: string, offset: number, bytes: number): Argv {
  return ['losetup', '--find', '--show', '--offset', String(offset), '--sizelimit', String(bytes), file];
}

/** Of a device in use this makes one that goes with its last user. */
export function detachLoop(device: string): Argv {
  return ['losetup', '--detach', device];
}

/** `nouuid`: the original is mounted as well. */
export function mountCopy(device: string, fileSystem: string, at: string): Argv {
  const options = ['ro', 'nosuid', 'nodev', ...(fileSystem === 'xfs' ? ['nouuid'] : [])];
  return ['mount', '-t', fileSystem, '-o', options.join(','), device, at];
}

export function unmount(at: string): Argv {
  return ['umount', at];
}

/** Out of the way at once, whoever still uses it. */
export function unmountLazily(at: string): Argv {
  return ['umount', '-l', at];
}

export interface CopyDisk {
  /** Name of the export at the NBD server. */
  readonly nbd: string;
  readonly overlay: string;
  /** Empty file over which the disk appears. */
  readonly file: string;
}

/** A process of its own that shows disks of a snapshot as files, each with a throw-away overlay. Returns when they are there. */
export function showCopies(socket: string, disks: readonly CopyDisk[]): Argv {
  const options = disks.flatMap(({ nbd, overlay, file }, index) => [
    '--blockdev',
    JSON.stringify({
      driver: 'qcow2',
      'node-name': `top${index}`,
      file: { driver: 'file', filename: overlay },
      backing: { driver: 'nbd', 'read-only': true, export: nbd, server: { type: 'unix', path: socket } },
    }),
    '--export',
    JSON.stringify({ type: 'fuse', id: `copy${index}`, 'node-name': `top${index}`, mountpoint: file, writable: true }),
  ]);
  return ['qemu-storage-daemon', '--daemonize', ...options];
}

/** Makes the process that shows a file write down what its overlay holds. */
export function syncFile(file: string): Argv {
  return ['sync', file];
}

/** What an overlay holds itself. `--force-share`: its process has it open, but nothing is written to it any more. */
export function mapOverlay(overlay: string): Argv {
  return ['qemu-img', 'map', '--force-share', '--output=json', '-f', 'qcow2', overlay];
}

export function mapBitmap(socket: string, nbd: string, bitmap: string): Argv {
  const uri = `nbd+unix:///${nbd}?socket=${encodeURIComponent(socket)}`;
  return ['nbdinfo', `--map=qemu:dirty-bitmap:${bitmap}`, '--json', uri];
}

export const queries = {
  nodes: { execute: 'query-named-block-nodes', arguments: { flat: true } },
  devices: { execute: 'query-block' },
  jobs: { execute: 'query-jobs' },
  exports: { execute: 'query-block-exports' },
  /** Not promised to stay by QEMU; nothing else tells what lies below a filter node. */
  graph: { execute: 'x-debug-query-block-graph' },
} as const satisfies Record<string, QmpCommand>;

export function serialOf(device: string): QmpCommand {
  return { execute: 'qom-get', arguments: { path: device, property: 'serial' } };
}

/** What one disk's part of a cut is called. Names of nodes have at most 31 characters. */
export interface CutDisk {
  readonly node: string;
  readonly overlay: string;
  /** Name of fleece, job, bitmap and export. */
  readonly name: string;
}

/**
 * `backing` is the node itself and not what lies on top of it, and the node is added just before the cut: QEMU moves links of nodes that
 * were there before to the filter of the cut, and a second cut of the same disk is refused then.
 */
export function addFleece({ node, overlay, name }: CutDisk): QmpCommand {
  const file = { driver: 'file', filename: overlay, 'node-name': `${name}f` };
  return { execute: 'blockdev-add', arguments: { driver: 'qcow2', 'node-name': name, file, backing: node } };
}

/**
 * All or nothing. Each backup drains its disk when its turn comes, and no disk goes on before the last one has its filter. A bitmap
 * begins before its backup: it may name a block too many, never one too few.
 */
export function cutTogether(disks: readonly CutDisk[]): QmpCommand {
  const actions = disks.flatMap(({ node, name }) => [
    { type: 'block-dirty-bitmap-add', data: { node, name } },
    {
      type: 'blockdev-backup',
      data: { 'job-id': name, device: node, target: name, sync: 'none', 'filter-node-name': `${name}w` },
    },
  ]);
  return { execute: 'transaction', arguments: { actions } };
}

export function cancelJob(id: string): QmpCommand {
  return { execute: 'block-job-cancel', arguments: { device: id, force: true } };
}

export function removeNode(name: string): QmpCommand {
  return { execute: 'blockdev-del', arguments: { 'node-name': name } };
}

export function removeBitmap(node: string, name: string): QmpCommand {
  return { execute: 'block-dirty-bitmap-remove', arguments: { node, name } };
}

/** A copy that no longer changes, of a bitmap that does. */
export function copyBitmap(node: string, from: string, to: string): QmpCommand {
  const actions = [
    { type: 'block-dirty-bitmap-add', data: { node, name: to, disabled: true } },
    { type: 'block-dirty-bitmap-merge', data: { node, target: to, bitmaps: [from] } },
  ];
  return { execute: 'transaction', arguments: { actions } };
}

export function startNbd(socket: string): QmpCommand {
  return { execute: 'nbd-server-start', arguments: { addr: { type: 'unix', data: { path: socket } } } };
}

export const stopNbd: QmpCommand = { execute: 'nbd-server-stop' };

/** Bitmaps are looked up in the node and in what lies below it. */
export function addExport(id: string, node: string, bitmaps: readonly string[] = []): QmpCommand {
  const more = bitmaps.length === 0 ? {} : { bitmaps };
  return { execute: 'block-export-add', arguments: { type: 'nbd', id, name: id, 'node-name': node, ...more } };
}

/** `hard`: clients that are still there lose it. */
export function removeExport(id: string): QmpCommand {
  return { execute: 'block-export-del', arguments: { id, mode: 'hard' } };
}
