import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { guest as here, node, project } from '../guest/guest.ts';
import {
  differences,
  inventory,
  makeArray,
  makeFileSystem,
  makeGroup,
  makePool,
  makeThick,
  makeThin,
  volumes,
  writes,
} from '../guest/storage.ts';
import type { Scenario } from '../scenario.ts';

const mib = 1024 ** 2;
const tools = [
  ['lvm', 'version'],
  ['mdadm', '--version'],
  ['dmsetup', 'version'],
  ['thin_delta', '--version'],
  ['mkfs.xfs', '-V'],
] as const;

interface Result {
  readonly tools: Readonly<Record<string, string>>;
  readonly volumes: readonly string[];
  readonly writable: readonly boolean[];
  readonly snapshot: string;
  readonly left: readonly string[];
  readonly stillpoint: { readonly exitCode: number | null; readonly version: string };
  readonly ms: Readonly<Record<string, number>>;
}

async function versions(): Promise<Record<string, string>> {
  const found: Record<string, string> = { kernel: (await here.check(['uname', '-r'])).trim() };
  for (const argv of tools) {
    const { stdout, stderr } = await here.run(argv);
    found[argv[0]] = (stdout + stderr).trim().split('\n')[0]?.trim() ?? '';
  }
  return found;
}

export const scenario: Scenario = {
  name: 'selftest',
  about: 'the lab itself: RAID10, LVM thick and thin, xfs and ext4 on them, and Stillpoint starts inside',
  disks: ['a', 'b', 'c', 'd'].map((name) => ({ name, bytes: 1024 * mib })),
  memMiB: 512,
  timeoutMs: 90_000,
  async run(guest) {
    const ms: Record<string, number> = {};
    const built = await guest.timed('storage', async () => {
      const array = await makeArray(0, 'raid10', [0, 1, 2, 3]);
      await makeGroup('vg0', [array]);
      await makePool('vg0', 'pool', 512);
      const thick = await makeFileSystem('xfs', await makeThick('vg0', 'thick', 320), 'thick');
      const thin = await makeFileSystem('ext4', await makeThin('vg0', 'pool', 'thin', 320), 'thin');
      return [thick, thin];
    });
    ms['storage'] = built.ms;
    const before = await inventory();
    const [thick = ''] = built.value;
    await writeFile(join(thick, 'file'), 'before');
    await guest.check(['lvcreate', '-y', '-s', '-L', '32M', '-n', 'cut', 'vg0/thick']);
    await writeFile(join(thick, 'file'), 'after');
    const at = await guest.mountPoint('snapshot');
    await guest.check(['mount', '-o', 'ro,nouuid', '/dev/vg0/cut', at]);
    const snapshot = await readFile(join(at, 'file'), 'utf8');
    await guest.check(['umount', at]);
    await guest.check(['lvremove', '-y', 'vg0/cut']);
    const left = differences(before, await inventory());
    for (const name of ['start', 'start again']) {
      ms[name] = (await guest.timed(name, () => guest.check([node, join(project, 'src/main.ts'), '--version']))).ms;
    }
    const started = await guest.run([join(project, 'bin/stillpoint'), '--version']);
    return {
      tools: await versions(),
      volumes: (await volumes()).map((each) => `${each.lv_name} ${each.lv_attr}`),
      writable: await Promise.all(built.value.map((directory) => writes(directory))),
      snapshot,
      left,
      stillpoint: { exitCode: started.exitCode, version: started.stdout.trim() },
      ms,
    };
  },
  assess(json) {
    const result = json as unknown as Result;
    assert.deepEqual(result.writable, [true, true]);
    assert.equal(result.snapshot, 'before');
    assert.deepEqual(result.left, []);
    assert.equal(result.stillpoint.exitCode, 0);
    assert.match(result.stillpoint.version, /^\d+\.\d+\.\d+/);
    assert.equal(result.volumes.length, 3);
  },
};
