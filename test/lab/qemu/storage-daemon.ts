import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemExec } from '../../../src/platform/exec.ts';
import { mountPointsBelow } from '../../../src/platform/files.ts';

const timeoutMs = 60_000;
const megabyte = 1024 * 1024;

/** mkfs.xfs refuses less than 300 MB. */
const recipe = {
  xfs: { bytes: 320 * megabyte, mkfs: ['mkfs.xfs', '-q'] },
  ext4: { bytes: 128 * megabyte, mkfs: ['mkfs.ext4', '-q', '-F'] },
} as const satisfies Record<string, { bytes: number; mkfs: readonly [string, ...string[]] }>;

export interface StorageDaemonDisk {
  readonly node: string;
  /** The disk as a file, below the loop device. */
  readonly file: string;
  readonly image: string;
  readonly mountPoint: string;
}

/** A real qemu-storage-daemon whose disks are mounted here, by FUSE and loop devices, so that it sees every write. */
export interface StorageDaemon extends AsyncDisposable {
  readonly directory: string;
  readonly qmp: string;
  readonly pid: number;
  readonly disks: readonly StorageDaemonDisk[];
  /** SIGKILL to it alone. */
  kill(): Promise<void>;
}

export async function storageDaemon(
  options: {
    readonly fileSystem?: keyof typeof recipe;
    readonly disks?: number;
    readonly format?: 'raw' | 'qcow2';
    /** Further mount options. */
    readonly mount?: string;
  } = {},
): Promise<StorageDaemon | { readonly skip: string }> {
  if (process.getuid?.() !== 0) return { skip: 'needs root: mounts disks of a qemu-storage-daemon' };
  const { bytes, mkfs } = recipe[options.fileSystem ?? 'xfs'];
  for (const program of ['qemu-storage-daemon', 'qemu-img', 'nbdinfo', mkfs[0], 'losetup']) {
    if ((await systemExec.which(program)) === undefined) return { skip: `needs ${program}` };
  }
  if (!existsSync('/dev/fuse')) return { skip: 'needs FUSE in the kernel' };

  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-qsd-'));
  const qmp = join(directory, 'qmp.sock');
  const format = options.format ?? 'raw';
  const more = options.mount === undefined ? [] : [options.mount];
  const disks = Array.from({ length: options.disks ?? 1 }, (_, index): StorageDaemonDisk => ({
    node: `data${index}`,
    file: join(directory, `disk${index}`),
    image: join(directory, `image${index}`),
    mountPoint: join(directory, `mnt${index}`),
  }));
  for (const { file, image, mountPoint } of disks) {
    await writeFile(file, '');
    await mkdir(mountPoint);
    if (format === 'raw') {
      await writeFile(image, '');
      await truncate(image, bytes);
    } else
      await systemExec.check({ argv: ['qemu-img', 'create', '-q', '-f', 'qcow2', image, String(bytes)], timeoutMs });
  }
  const daemon = systemExec.start({
    argv: ['qemu-storage-daemon', ...disks.flatMap((disk) => shown(disk, format)), ...monitor(qmp)],
  });
  const remove = async (): Promise<void> => {
    for (const { mountPoint } of disks) await unmount(mountPoint);
    for (let wait = 0; wait < 100 && (await loopsBelow(directory)); wait += 1) await sleep(50);
    daemon.kill('SIGTERM');
    await daemon.exited;
    for (const left of await mountPointsBelow(directory)) {
      await systemExec.run({ argv: ['umount', '-l', left], timeoutMs });
    }
    await rm(directory, { recursive: true, force: true });
  };
  try {
    for (let wait = 0; !existsSync(qmp); wait += 1) {
      if (wait > 200) throw new Error(`qemu-storage-daemon did not come up: ${daemon.stderrTail()}`);
      await sleep(25);
    }
    for (const { file, mountPoint } of disks) {
      await systemExec.check({ argv: [...mkfs, file], timeoutMs });
      await systemExec.check({ argv: ['mount', '-o', ['loop', ...more].join(','), file, mountPoint], timeoutMs });
    }
  } catch (error) {
    await remove();
    return { skip: `needs loop devices on FUSE exports: ${String(error)}` };
  }
  return {
    directory,
    qmp,
    pid: daemon.pid,
    disks,
    async kill() {
      daemon.kill('SIGKILL');
      await daemon.exited;
    },
    [Symbol.asyncDispose]: remove,
  };
}

function shown({ node, file, image }: StorageDaemonDisk, format: string): readonly string[] {
  return [
    '--blockdev',
    `${format},node-name=${node},file.driver=file,file.filename=${image}`,
    '--export',
    `fuse,id=${node},node-name=${node},mountpoint=${file},writable=on`,
  ];
}

/** Last: the socket is there when everything else is. */
function monitor(socket: string): readonly string[] {
  return ['--chardev', `socket,id=monitor,path=${socket},server=on,wait=off`, '--monitor', 'chardev=monitor'];
}

async function unmount(mountPoint: string): Promise<void> {
  if (!(await mountPointsBelow(join(mountPoint, '..'))).includes(mountPoint)) return;
  const quiet = await systemExec.run({ argv: ['umount', mountPoint], timeoutMs });
  if (quiet.exitCode !== 0) await systemExec.run({ argv: ['umount', '-l', mountPoint], timeoutMs });
}

/** Whether a loop device still lies on a file below the directory. */
export async function loopsBelow(directory: string): Promise<boolean> {
  const { stdout } = await systemExec.check({ argv: ['losetup', '-l', '-n', '-O', 'BACK-FILE'], timeoutMs });
  return stdout.split('\n').some((line) => line.startsWith(`${directory}/`));
}
