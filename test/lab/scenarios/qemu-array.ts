import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { qemu } from '../../../src/adapters/snapshot/qemu/provider.ts';
import type { RequiredPath } from '../../../src/model/storage.ts';
import { realPlatform } from '../../doubles/platform.ts';
import type { Guest } from '../guest/guest.ts';
import { differences, inventory, makeFileSystem, makeGroup, makeThick } from '../guest/storage.ts';
import type { Scenario } from '../scenario.ts';
import { leftovers } from '../qemu/leftovers.ts';

interface Result {
  readonly content: readonly string[];
  readonly cutMs: number;
  readonly openMs: number;
  readonly left: readonly string[];
}

const stateDirectory = '/tmp/stillpoint-state';
const qmp = '/tmp/qmp.sock';
const files = ['/tmp/disk0', '/tmp/disk1'];
const { signal } = new AbortController();

/** The guest's disks, shown to itself by a storage daemon. */
async function disksOfDaemon(guest: Guest): Promise<readonly string[]> {
  const loaded = await guest.run(['modprobe', 'fuse']);
  if (loaded.exitCode !== 0) await guest.check(['modprobe', '-d', '/run/lab/modules', 'fuse']);
  for (const file of files) await writeFile(file, '');
  const disks = files.flatMap((file, index) => [
    '--blockdev',
    `driver=raw,node-name=data${index},file.driver=host_device,file.filename=${guest.disk(index)}`,
    '--export',
    `type=fuse,id=data${index},node-name=data${index},mountpoint=${file},writable=on`,
  ]);
  const monitor = ['--chardev', `socket,id=monitor,path=${qmp},server=on,wait=off`, '--monitor', 'chardev=monitor'];
  await guest.check(['qemu-storage-daemon', '--daemonize', ...disks, ...monitor]);
  const loops: string[] = [];
  for (const file of files) loops.push((await guest.check(['losetup', '--find', '--show', file])).trim());
  return loops;
}

export const scenario: Scenario = {
  name: 'qemu-array',
  about:
    'QEMU: an xfs on a volume group over a striped array is cut from below in one transaction and put together from the copies',
  disks: [
    { name: 'a', bytes: 640 * 1024 ** 2 },
    { name: 'b', bytes: 640 * 1024 ** 2 },
  ],
  memMiB: 768,
  timeoutMs: 5 * 60_000,
  full: true,
  programs: ['qemu-storage-daemon', 'qemu-img'],
  async run(guest) {
    const loops = await disksOfDaemon(guest);
    const create = [
      'mdadm',
      '--create',
      '/dev/md0',
      '--run',
      '--level=0',
      '--raid-devices=2',
      '--metadata=1.2',
    ] as const;
    await guest.check([...create, ...loops]);
    await makeGroup('vg0', ['/dev/md0']);
    const mountPoint = await makeFileSystem('xfs', await makeThick('vg0', 'data', 400), 'data');
    const file = join(mountPoint, 'file');
    await writeFile(file, Buffer.alloc(4_000_000, 'a'));
    const before = await inventory();

    const disks = { [files[0] ?? '']: 'data0', [files[1] ?? '']: 'data1' };
    const provider = () => qemu.create({ qmp, disks, reserve: 0.05 }, realPlatform(stateDirectory));
    const path: RequiredPath = {
      path: mountPoint,
      role: 'data',
      name: 'data',
      kind: 'directory',
      companions: [],
      leftOut: [],
    };
    const group = await provider().prepare(await provider().locate([path], signal), signal);
    assert.equal(group.length, 1, 'the path is claimed');
    const cut = await guest.timed('cut', () => provider().cut(group, 'stillpoint-array', signal));
    await writeFile(file, Buffer.alloc(4_000_000, 'b'));
    await guest.check(['sync', '-f', mountPoint]);
    const [ref] = cut.value.cuts.map(({ snapshot }) => snapshot);
    assert.ok(ref !== undefined);
    const content: string[] = [];
    const opened = await guest.timed('open', () => provider().open(ref));
    {
      await using snapshot = opened.value;
      const bytes = await readFile(snapshot.at(file) ?? '');
      content.push(bytes.equals(Buffer.alloc(4_000_000, 'a')) ? 'as cut' : 'other');
      assert.equal(await snapshot.changedSince?.(ref, signal), undefined);
      await snapshot.proveWhole?.();
    }
    // Opened again and left open, as by a process that was killed: the deletion closes it.
    const left = await provider().open(ref);
    content.push((await readFile(left.at(file) ?? '')).equals(Buffer.alloc(4_000_000, 'a')) ? 'as cut' : 'other');
    await provider().delete(ref);
    const remaining = [
      ...differences(before, await inventory()),
      ...(await leftovers(qmp, join(stateDirectory, 'qemu'))),
    ];
    content.push((await readFile(file)).equals(Buffer.alloc(4_000_000, 'b')) ? 'original' : 'other');
    return { content, cutMs: Math.round(cut.ms), openMs: Math.round(opened.ms), left: remaining } satisfies Result;
  },
  assess(json) {
    const result = json as unknown as Result;
    assert.deepEqual(result.content, ['as cut', 'as cut', 'original']);
    assert.deepEqual(result.left, []);
  },
};
