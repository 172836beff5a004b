import { mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Exec } from '../platform/exec.ts';
import type { Host } from '../ports/host.ts';

/** Where the demo's database lies, and why it can be cut there as it can. */
export interface Place {
  readonly directory: string;
  readonly why: string;
}

const timeoutMs = 30_000;
/** Sparse: it takes what is written into it. mkfs.xfs needs 300 MB. */
const imageBytes = 1024 ** 3;

/**
 * Prefers what the folder's own file system can do; else, as root, a file system of its own on a loop image; else plain files, which are
 * copied during the hold. What it makes is undone by `undo`.
 */
export async function makePlace(
  home: string,
  tools: { readonly exec: Exec; readonly host: Host; readonly signal: AbortSignal },
  undo: AsyncDisposableStack,
): Promise<Place> {
  const { exec, host, signal } = tools;
  const root = process.getuid?.() === 0;
  const { fileSystem } = await host.stackOf(home, signal);
  if (fileSystem === 'btrfs' && root) {
    const subvolume = join(home, 'volume');
    if (await works(exec, ['btrfs', 'subvolume', 'create', subvolume])) {
      undo.defer(async () => {
        await exec.run({ argv: ['btrfs', 'subvolume', 'delete', subvolume], timeoutMs });
      });
      return { directory: subvolume, why: `${home} is on btrfs: the snapshot is a btrfs subvolume snapshot` };
    }
  }
  const directory = join(home, 'volume');
  await mkdir(directory, { mode: 0o711 });
  if (await canReflink(exec, home)) {
    return {
      directory,
      why: `${home} is on ${fileSystem}, which can reflink: the snapshot shares blocks file by file`,
    };
  }
  if (!root)
    return { directory, why: `${fileSystem} cannot reflink, and only root can mount an image: files are copied` };
  const image = await mountImage(exec, home, directory, undo);
  if (image !== undefined) return { directory: image.directory, why: image.why };
  return {
    directory,
    why: `${fileSystem} cannot reflink, and no btrfs or xfs image can be mounted here: files are copied`,
  };
}

async function works(exec: Exec, argv: readonly [string, ...string[]]): Promise<boolean> {
  if ((await exec.which(argv[0])) === undefined) return false;
  return (await exec.run({ argv, timeoutMs })).exitCode === 0;
}

async function canReflink(exec: Exec, home: string): Promise<boolean> {
  const [from, to] = [join(home, 'reflink-from'), join(home, 'reflink-to')];
  try {
    await writeFile(from, 'x'.repeat(8192));
    return await works(exec, ['cp', '--reflink=always', from, to]);
  } finally {
    await rm(from, { force: true });
    await rm(to, { force: true });
  }
}

async function mountImage(
  exec: Exec,
  home: string,
  at: string,
  undo: AsyncDisposableStack,
): Promise<Place | undefined> {
  const image = join(home, 'volume.img');
  for (const [name, mkfs] of [
    ['btrfs', ['mkfs.btrfs', '-q', '-f', image]],
    ['xfs', ['mkfs.xfs', '-q', '-f', '-m', 'reflink=1', image]],
  ] as const) {
    await writeFile(image, '');
    await truncate(image, imageBytes);
    // The loop device goes away with the mount.
    if (!(await works(exec, mkfs)) || !(await works(exec, ['mount', '-o', 'loop', image, at]))) continue;
    undo.defer(() => unmount(exec, at));
    const why = `an image with ${name} was mounted, since the folder's own file system has no snapshots`;
    if (name === 'xfs') return { directory: at, why };
    const subvolume = join(at, 'data');
    if (await works(exec, ['btrfs', 'subvolume', 'create', subvolume])) return { directory: subvolume, why };
  }
  await rm(image, { force: true });
  return undefined;
}

/** A process that is just ending may still hold a file. */
async function unmount(exec: Exec, at: string): Promise<void> {
  const quiet = await exec.run({ argv: ['umount', at], timeoutMs });
  if (quiet.exitCode !== 0) await exec.run({ argv: ['umount', '--lazy', at], timeoutMs });
}
