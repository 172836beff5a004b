import assert from 'node:assert/strict';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { localHost } from '../../../src/adapters/host/local/host.ts';
import { findingsOf, layerOf, layersOf } from '../../../src/model/stack.ts';
import type { LayerType, StorageStack } from '../../../src/model/storage.ts';
import { systemExec, type Command, type CommandResult, type Exec } from '../../../src/platform/exec.ts';
import type { Guest } from '../guest/guest.ts';
import {
  inventory,
  differences,
  makeArray,
  makeFileSystem,
  makeGroup,
  makePool,
  makeThick,
  makeThin,
} from '../guest/storage.ts';
import type { Scenario } from '../scenario.ts';

const mib = 1024 ** 2;
const signal = new AbortController().signal;

interface Seen {
  readonly layers: readonly string[];
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
  readonly details: Readonly<Partial<Record<LayerType, Readonly<Record<string, string>>>>>;
}

interface Result {
  readonly seen: Readonly<Record<string, Seen>>;
  readonly left: readonly string[];
  readonly command: { readonly exitCode: number | null; readonly json: string; readonly text: string };
}

/** Every command with what it printed, into the share: from these the transcripts of the unit tests are made. */
function recording(into: Map<string, Pick<CommandResult, 'exitCode' | 'stdout' | 'stderr'>>): Exec {
  const note = (command: Command, { exitCode, stdout, stderr }: CommandResult): void => {
    into.set(command.argv.join(' '), { exitCode, stdout, stderr });
  };
  return {
    ...systemExec,
    async run(command) {
      const result = await systemExec.run(command);
      note(command, result);
      return result;
    },
    async check(command) {
      const result = await systemExec.check(command);
      note(command, result);
      return result;
    },
  };
}

function summary(stack: StorageStack): Seen {
  const said = (severity: string): readonly string[] =>
    findingsOf(stack).flatMap((finding) => (finding.severity === severity ? [finding.said] : []));
  const types: readonly LayerType[] = ['filesystem', 'lv', 'thin-pool', 'vg', 'pv', 'md', 'disk', 'loop'];
  return {
    layers: layersOf(stack).map(({ type, name }) => `${type} ${name}`),
    errors: said('error'),
    warnings: said('warning'),
    details: Object.fromEntries(types.map((type) => [type, layerOf(stack, type)?.details ?? {}])),
  };
}

async function build(guest: Guest): Promise<void> {
  const array = await makeArray(0, 'raid10', [0, 1, 2, 3]);
  await makeGroup('vg0', [array, guest.disk(4), guest.disk(5)]);
  await makeFileSystem('xfs', await makeThick('vg0', 'my-data', 320), 'thick');
  await makePool('vg0', 'pool', 64, 4);
  await makeFileSystem('ext4', await makeThin('vg0', 'pool', 'thin', 128), 'thin');
  await guest.check([
    'lvcreate',
    '-y',
    '--type',
    'raid1',
    '-m1',
    '--nosync',
    '-L',
    '32M',
    '-n',
    'pair',
    'vg0',
    guest.disk(4),
    guest.disk(5),
  ]);
  await makeFileSystem('ext4', '/dev/vg0/pair', 'pair');
}

/** An encrypted file system on a partition, and one on a disk with two paths (here two disks, as long as nobody writes to the second). */
async function buildOthers(guest: Guest): Promise<void> {
  // One entry of a partition table as DOS knew it: Linux, from 1 MiB, 300 MiB long.
  const table = Buffer.alloc(512);
  table.writeUInt8(0x83, 0x1c2);
  table.writeUInt32LE(2048, 0x1c6);
  table.writeUInt32LE(300 * 2048, 0x1ca);
  table.writeUInt16LE(0xaa55, 510);
  await writeFile(guest.disk(6), table);
  await guest.check(['blockdev', '--rereadpt', guest.disk(6)]);
  const key = '00112233445566778899aabbccddeeff'.repeat(2);
  const crypt = `0 ${300 * 2048} crypt aes-xts-plain64 ${key} 0 ${guest.disk(6)}1 0`;
  await guest.check(['dmsetup', 'create', 'secret', '--uuid', 'CRYPT-PLAIN-secret', '--table', crypt]);
  const path = (index: number): string => `round-robin 0 1 1 ${guest.disk(index)} 1`;
  const paths = `0 ${300 * 2048} multipath 0 0 2 1 ${path(7)} ${path(8)}`;
  await guest.check(['dmsetup', 'create', 'paths', '--uuid', 'mpath-lab', '--table', paths]);
  await guest.check(['dmsetup', 'mknodes']);
  await makeFileSystem('ext4', '/dev/mapper/secret', 'crypt');
  await makeFileSystem('ext4', '/dev/mapper/paths', 'multipath');
}

export const scenario: Scenario = {
  name: 'stack',
  about:
    'the storage stack over RAID10, LVM thick, thin and raid1, a file behind a loop device; degraded, full, suspended, moving',
  disks: ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'].map((name) => ({ name, bytes: 400 * mib })),
  memMiB: 512,
  timeoutMs: 400_000,
  async run(guest) {
    const seen: Record<string, Seen> = {};
    await build(guest);
    const look = async (name: string, path: string): Promise<void> => {
      const commands = new Map<string, Pick<CommandResult, 'exitCode' | 'stdout' | 'stderr'>>();
      const { value } = await guest.timed(`stack ${name}`, () => localHost(recording(commands)).stackOf(path, signal));
      seen[name] = summary(value);
      const record = {
        path,
        commands: Object.fromEntries([...commands].toSorted(([a], [b]) => (a < b ? -1 : 1))),
        stack: value,
      };
      await writeFile(join(guest.share, `stack-${name}.json`), `${JSON.stringify(record, null, 1)}\n`);
    };
    const before = await inventory();
    await look('thick', '/mnt/thick');
    await look('thin', '/mnt/thin');
    await look('pair', '/mnt/pair');
    const left = differences(before, await inventory());
    await buildOthers(guest);
    await look('crypt', '/mnt/crypt');
    await look('multipath', '/mnt/multipath');
    await guest.check(['dmsetup', 'message', 'paths', '0', `fail_path ${guest.disk(8)}`]);
    await look('path-failed', '/mnt/multipath');
    const text = await guest.run(['/run/lab/project/bin/stillpoint', 'stack', '/mnt/thin'], { timeoutMs: 60_000 });
    const json = await guest.run(['/run/lab/project/bin/stillpoint', 'stack', '/mnt/thin', '--json'], {
      timeoutMs: 60_000,
    });

    // A file system in a file on the volume.
    await writeFile('/mnt/thick/image', '');
    await truncate('/mnt/thick/image', 64 * mib);
    const loop = (await guest.check(['losetup', '-f', '--show', '/mnt/thick/image'])).trim();
    await makeFileSystem('ext4', loop, 'inner');
    await look('loop', '/mnt/inner');
    await guest.check(['umount', '/mnt/inner']);
    await guest.check(['losetup', '-d', loop]);

    // A snapshot that overflows, and a pool that is nearly full.
    await guest.check(['lvcreate', '-y', '-s', '-L', '4M', '-n', 'small', 'vg0/my-data']);
    await guest.check(['dd', 'if=/dev/urandom', 'of=/mnt/thick/x', 'bs=1M', 'count=10', 'conv=fsync']);
    await guest.check(['dd', 'if=/dev/urandom', 'of=/mnt/thin/x', 'bs=1M', 'count=43', 'conv=fsync']);
    await look('snapshot-full', '/mnt/thick');
    await look('pool-full', '/mnt/thin');
    await guest.check(['lvremove', '-y', 'vg0/small']);

    // Suspended: LVM's tools would hang, and must not be asked. Resumed by another process, should this one hang.
    const resume = guest.run(['sh', '-c', 'sleep 20; dmsetup resume vg0-my--data']);
    await guest.check(['dmsetup', 'suspend', 'vg0-my--data']);
    await look('suspended', '/mnt/thick');
    await guest.check(['dmsetup', 'resume', 'vg0-my--data']);

    // A volume that is being moved off its disk.
    await guest.check(['lvcreate', '-y', '-Wn', '-L', '300M', '-n', 'mover', 'vg0', guest.disk(4)]);
    await makeFileSystem('ext4', '/dev/vg0/mover', 'mover');
    await guest.check(['pvmove', '-b', '-n', 'mover', guest.disk(4), guest.disk(5)]);
    // The copy in one percent of the time, so that it lasts until it was looked at.
    await writeFile('/sys/module/dm_mirror/parameters/raid1_resync_throttle', '1');
    await look('moving', '/mnt/mover');
    await writeFile('/sys/module/dm_mirror/parameters/raid1_resync_throttle', '100');
    await guest.run(['pvmove', '--abort']);

    // A disk of the array fails, is taken out, and comes back.
    await guest.check(['mdadm', '/dev/md0', '--fail', guest.disk(3)]);
    await look('degraded', '/mnt/thick');
    await guest.check(['mdadm', '/dev/md0', '--remove', guest.disk(3)]);
    await writeFile('/sys/block/md0/md/sync_speed_max', '500');
    await guest.check(['mdadm', '--zero-superblock', guest.disk(3)]);
    await guest.check(['mdadm', '/dev/md0', '--add', guest.disk(3)]);
    await look('recovering', '/mnt/thick');
    await resume;
    return {
      seen,
      left,
      command: { exitCode: json.exitCode, json: json.stdout, text: text.stdout + text.stderr },
    } as never;
  },
  assess(json) {
    const { seen, left, command } = json as unknown as Result;
    assert.deepEqual(left, []);
    const of = (name: string): Seen => seen[name] ?? assert.fail(`${name} was not looked at`);
    const disks = ['a', 'b', 'c', 'd'].map((letter) => `disk /dev/ubd${letter}`);
    const below = [
      'vg vg0',
      'pv /dev/md0',
      'md /dev/md0',
      ...disks,
      'pv /dev/ubde',
      'disk /dev/ubde',
      'pv /dev/ubdf',
      'disk /dev/ubdf',
    ];
    assert.deepEqual(of('thick').layers, ['mount /mnt/thick', 'filesystem xfs', 'lv vg0/my-data', ...below]);
    assert.deepEqual([of('thick').errors, of('thick').warnings], [[], []]);
    assert.deepEqual(of('thin').layers.slice(0, 6), [
      'mount /mnt/thin',
      'filesystem ext4',
      'lv vg0/thin',
      'thin-pool vg0/pool',
      'lv vg0/pool_tmeta',
      'vg vg0',
    ]);
    assert.ok(of('thin').layers.includes('lv vg0/pool_tdata'));
    assert.deepEqual([of('thin').errors, of('thin').warnings], [[], []]);
    assert.deepEqual([of('pair').errors, of('pair').warnings], [[], []]);
    assert.equal(of('pair').layers.filter((layer) => layer.startsWith('lv vg0/pair_r')).length, 4);

    const lv = of('thick').details.lv ?? {};
    assert.deepEqual(
      [lv['vg'], lv['lv'], lv['segtype'], lv['dm'], lv['size']],
      ['vg0', 'my-data', 'linear', 'vg0-my--data', String(320 * mib)],
    );
    assert.equal(of('thin').details.lv?.['pool'], 'pool');
    const pool = of('thin').details['thin-pool'] ?? {};
    assert.deepEqual([pool['dm'], pool['chunkBytes']], ['vg0-pool-tpool', '65536']);
    assert.match(`${pool['dataPercent']} ${pool['metadataPercent']}`, /^[\d.]+ [\d.]+$/);
    assert.equal(of('thick').details.vg?.['extentBytes'], String(4 * mib));
    const md = of('thick').details.md ?? {};
    assert.deepEqual([md['level'], md['metadata']], ['raid10', '1.2']);
    assert.match(md['uuid'] ?? '', /^([0-9a-f]{8}:){3}[0-9a-f]{8}$/);

    assert.deepEqual(of('loop').layers.slice(3, 6), ['mount /mnt/thick', 'filesystem xfs', 'lv vg0/my-data']);
    assert.equal(of('loop').details.loop?.['backingFile'], '/mnt/thick/image');

    assert.deepEqual(of('crypt').layers.slice(2), [
      'crypt /dev/mapper/secret',
      'partition /dev/ubdg1',
      'disk /dev/ubdg',
    ]);
    assert.deepEqual(of('multipath').layers.slice(2), ['other /dev/mapper/paths', 'disk /dev/ubdh', 'disk /dev/ubdi']);
    assert.deepEqual([...of('crypt').errors, ...of('multipath').errors, ...of('multipath').warnings], []);
    assert.match(of('path-failed').warnings.join('\n'), /1 of the 2 paths of \/dev\/mapper\/paths have failed/);

    // The origin is well although its snapshot is not.
    assert.deepEqual(of('snapshot-full').errors, []);
    assert.match(
      of('pool-full').warnings.concat(of('pool-full').errors).join('\n'),
      /data of thin pool vg0\/pool takes \d+/,
    );
    assert.match(of('suspended').errors.join('\n'), /vg0-my--data is suspended/);
    assert.match(of('suspended').warnings.join('\n'), /health of vg0\/my-data could not be asked: .*is suspended/);
    assert.match(of('moving').errors.join('\n'), /vg0\/pvmove0 is being moved/);
    assert.match(of('degraded').errors.join('\n'), /md0 is degraded: 1 of its 4 members/);
    assert.match(of('degraded').errors.join('\n'), /ubdd of \/dev\/md0 is faulty/);
    assert.match(of('recovering').errors.join('\n'), /recover is under way/);

    assert.equal(command.exitCode, 0, command.text);
    const document = JSON.parse(command.json) as { readonly schema: string; readonly stack: { readonly top: string } };
    assert.deepEqual([document.schema, document.stack.top], ['stillpoint/1', 'mount:/mnt/thin']);
    assert.match(command.text, /thin pool vg0\/pool/);
  },
};
