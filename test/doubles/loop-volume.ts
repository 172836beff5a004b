import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemExec } from '../../src/platform/exec.ts';

const timeoutMs = 60_000;

/** A real file system of its own, on a sparse file. Disposing unmounts and removes it. */
export interface LoopVolume extends AsyncDisposable {
  readonly mountPoint: string;
  /** The file behind it; bigger than what it really takes. */
  readonly image: string;
}

/** mkfs.xfs refuses less than 300 MB. */
const recipe = {
  btrfs: { bytes: 256 * 1024 * 1024, mkfs: ['mkfs.btrfs', '-q'] },
  xfs: { bytes: 320 * 1024 * 1024, mkfs: ['mkfs.xfs', '-q'] },
  ext4: { bytes: 64 * 1024 * 1024, mkfs: ['mkfs.ext4', '-q'] },
} as const satisfies Record<string, { bytes: number; mkfs: readonly [string, ...string[]] }>;

export type LoopFileSystem = keyof typeof recipe;

async function unmount(mountPoint: string): Promise<void> {
  const quiet = await systemExec.run({ argv: ['umount', mountPoint], timeoutMs });
  // Still in use by what a failing test left open: out of the way now, gone when that ends.
  if (quiet.exitCode !== 0) await systemExec.check({ argv: ['umount', '-l', mountPoint], timeoutMs });
}

/**
 * mkfs.btrfs looks behind every loop device that is mounted on the machine, and gives up when another test's is detached in that moment
 * (ENXIO): it has done nothing then, and its next look does not find that device.
 */
async function make(argv: readonly [string, ...string[]]): Promise<void> {
  for (let looks = 1; ; looks++) {
    const made = await systemExec.run({ argv, timeoutMs });
    if (made.exitCode === 0) return;
    if (looks === 20 || !made.stderr.includes('cannot check mount status'))
      throw new Error(`${argv.join(' ')}: ${made.stderr}`);
  }
}

/**
 * Makes a loop-mounted file system in a temporary directory, or says why this machine cannot. `mount -o loop` marks the device to
 * vanish at unmount, so that a killed test leaves no more than a mount.
 */
export async function loopVolume(
  kind: LoopFileSystem,
  options: { readonly bytes?: number; readonly mkfs?: readonly string[] } = {},
): Promise<LoopVolume | { readonly skip: string }> {
  if (process.getuid?.() !== 0) return { skip: `needs root: mounts a ${kind} image` };
  const { bytes, mkfs } = recipe[kind];
  for (const program of [mkfs[0], 'mount', 'umount', 'losetup']) {
    if ((await systemExec.which(program)) === undefined) return { skip: `needs ${program}: makes a ${kind} image` };
  }
  const directory = await mkdtemp(join(tmpdir(), `stillpoint-${kind}-`));
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  const image = join(directory, 'image');
  const mountPoint = join(directory, 'mnt');
  await writeFile(image, '');
  await truncate(image, options.bytes ?? bytes);
  await mkdir(mountPoint);
  await make([...mkfs, ...(options.mkfs ?? []), image]);
  const mounted = await systemExec.run({ argv: ['mount', '-o', 'loop', image, mountPoint], timeoutMs });
  if (mounted.exitCode !== 0) {
    await remove();
    return { skip: `needs loop devices and ${kind} in the kernel: ${mounted.stderr.trim()}` };
  }
  return {
    mountPoint,
    image,
    async [Symbol.asyncDispose]() {
      await unmount(mountPoint);
      await remove();
    },
  };
}
