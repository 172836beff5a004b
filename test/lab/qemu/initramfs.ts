import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { systemExec } from '../../../src/platform/exec.ts';

const timeoutMs = 60_000;
const modules = ['virtio_pci', 'virtio_blk', 'virtio_console', 'xfs'];
const programs = ['qemu-system-x86_64', 'qemu-img', 'mkfs.xfs', 'cpio', 'modprobe', 'nbdinfo', 'ldd'];
const agent = '/usr/sbin/qemu-ga';
const packages =
  'qemu-system-x86 qemu-utils qemu-guest-agent libnbd-bin linux-image-cloud-amd64 busybox-static cpio xfsprogs kmod';

/** Why no virtual machine can be booted here; undefined if one can. */
export async function whyNoMachine(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'needs root: mounts disks of a virtual machine';
  if (process.arch !== 'x64') return 'needs x86-64: boots that kernel';
  for (const program of programs) {
    if ((await systemExec.which(program)) === undefined) return `needs ${program} (Debian packages ${packages})`;
  }
  for (const file of [agent, '/bin/busybox', '/dev/fuse']) {
    if (!existsSync(file)) return `needs ${file} (Debian packages ${packages})`;
  }
  return (await kernelVersion()) === undefined
    ? `needs a cloud kernel in /boot (Debian packages ${packages})`
    : undefined;
}

async function kernelVersion(): Promise<string | undefined> {
  const found = await readdir('/boot').catch(() => []);
  const versions = found.filter((name) => name.startsWith('vmlinuz-') && name.endsWith('-cloud-amd64'));
  return versions
    .map((name) => name.slice('vmlinuz-'.length))
    .filter((version) => existsSync(join('/lib/modules', version)))
    .sort()
    .at(-1);
}

export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string;
}

/** A root file system in memory: busybox, the guest agent, and the modules that a virtio machine with xfs needs. */
export async function buildInitramfs(into: string): Promise<BootFiles> {
  const version = await kernelVersion();
  if (version === undefined) throw new Error('no cloud kernel in /boot');
  const root = await mkdtemp(join(tmpdir(), 'stillpoint-initramfs-'));
  try {
    for (const directory of ['bin', 'dev', 'proc', 'sys', 'run', 'tmp', 'a', 'b', 'modules', 'etc']) {
      await mkdir(join(root, directory));
    }
    await copyFile('/bin/busybox', join(root, 'bin/busybox'));
    for (const tool of [
      'sh',
      'mount',
      'insmod',
      'mkdir',
      'cat',
      'dd',
      'printf',
      'sync',
      'ln',
      'touch',
      'test',
      'sleep',
      'rm',
    ]) {
      await symlink('busybox', join(root, 'bin', tool));
    }
    await copyWithLibraries(agent, root);
    const { stdout } = await systemExec.check({
      argv: ['modprobe', '-S', version, '-a', '--show-depends', ...modules],
      timeoutMs,
    });
    const order = [...new Set([...stdout.matchAll(/^insmod (\S+)/gm)].map(([, file]) => file ?? ''))];
    for (const file of order) await copyFile(file, join(root, 'modules', basename(file)));
    await writeScript(join(root, 'init'), initScript(order.map((file) => basename(file))));
    await writeScript(join(root, 'etc/hook'), hookScript);
    await writeScript(join(root, 'etc/writer'), writerScript);
    const initrd = join(into, 'initrd');
    const pack = 'cd "$1" && find . -print0 | cpio --null --create --format=newc --quiet > "$2"';
    await systemExec.check({ argv: ['sh', '-c', pack, 'pack', root, initrd], timeoutMs });
    return { kernel: `/boot/vmlinuz-${version}`, initrd };
  } finally {
    await rm(root, { recursive: true });
  }
}

async function copyWithLibraries(program: string, root: string): Promise<void> {
  const { stdout } = await systemExec.check({ argv: ['ldd', program], timeoutMs });
  const libraries = [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, file]) => file ?? '');
  for (const file of [program, ...libraries]) {
    const to = join(root, file);
    await mkdir(dirname(to), { recursive: true });
    await copyFile(file, to);
  }
}

async function writeScript(path: string, text: string): Promise<void> {
  await writeFile(path, text);
  await chmod(path, 0o755);
}

function initScript(files: readonly string[]): string {
  return `#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev; mount -t tmpfs tmpfs /run
${files.map((file) => `insmod /modules/${file}`).join('\n')}
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do ln -s "/dev/\${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"; done
mount -t xfs /dev/vda /a && mount -t xfs /dev/vdb /b || echo 'LAB: no disks'
/etc/writer &
echo 'LAB: up'
while :; do
  ${agent} -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/agent.pid -F/etc/hook -l /run/agent.log
  sleep 1
done
`;
}

/** Vetoes the freeze when it is told to. Nothing that it writes to may be frozen. */
const hookScript = `#!/bin/sh
echo "LAB: hook $1" > /dev/console
test "$1" = freeze && test -e /run/veto && exit 9
exit 0
`;

/** Numbers, each synced on the first disk before it is written on the second. */
const writerScript = `#!/bin/sh
n=0
while :; do
  n=$((n + 1))
  for file in /a/n /b/n; do printf '%016d' $n | dd of=$file conv=notrunc,fsync 2>/dev/null; done
done
`;
