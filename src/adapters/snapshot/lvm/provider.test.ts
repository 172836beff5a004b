import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import type { RequiredPath, SnapshotRef, StorageLayer, StorageStack, Volume } from '../../../model/storage.ts';
import { systemExec, type CommandResult, type Exec } from '../../../platform/exec.ts';
import type { Platform } from '../../../ports/module.ts';
import type { SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { lvmThick, lvmThin } from './provider.ts';

/**
 * What can be told without LVM, on recorded output. The contract suite and everything that a kernel has to answer run in a guest:
 * test/lab/scenarios/lvm*.ts.
 */
const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const snapshots = transcript('lvm-2.03.16-lvs-snapshots.json');
const signal = new AbortController().signal;
const root = process.geteuid?.() === 0;

type Answer = Partial<Pick<CommandResult, 'stdout' | 'stderr' | 'exitCode' | 'cancelled'>>;

interface Script {
  readonly platform: Platform;
  readonly asked: string[];
}

async function script(
  t: TestContext,
  answer: (argv: readonly string[]) => Answer,
  stack: Partial<StorageStack> = {},
): Promise<Script> {
  const asked: string[] = [];
  const run: Exec['run'] = async (command) => {
    asked.push(command.argv.join(' '));
    const { stdout = '', stderr = '', exitCode = 0, cancelled = false } = answer(command.argv);
    const { argv } = command;
    return await Promise.resolve({
      ...{ argv, stdout, stderr, exitCode, cancelled, killedBy: null, timedOut: false, startedMs: 1, endedMs: 2 },
    });
  };
  const exec: Exec = {
    ...systemExec,
    run,
    check: async (command) => {
      const result = await run(command);
      if (result.exitCode !== 0) throw new Error(result.stderr);
      return result;
    },
    which: (program) => Promise.resolve(`/sbin/${program}`),
  };
  const stateDirectory = await mkdtemp(join(tmpdir(), 'stillpoint-lvm-'));
  t.after(() => rm(stateDirectory, { recursive: true }));
  const real = realPlatform(stateDirectory);
  const host = {
    ...real.host,
    stackOf: (path: string) => Promise.resolve({ ...stackOn('t1'), path, ...stack }),
  };
  return { platform: { ...real, exec, host }, asked };
}

function layer(type: StorageLayer['type'], more: Partial<StorageLayer> = {}): StorageLayer {
  return { id: type, type, name: type, details: {}, findings: [], below: [], ...more };
}

function stackOn(lv: string, options = 'rw'): StorageStack {
  const device = `/dev/mapper/vg0-${lv}`;
  const fileSystem = layer('filesystem', { below: [layer('lv', { name: device })] });
  return {
    path: '/srv/db',
    mountPoint: '/srv',
    device,
    fileSystem: 'xfs',
    top: layer('mount', { details: { options, root: '/' }, below: [fileSystem] }),
  };
}

const required: RequiredPath = {
  path: '/srv/db',
  role: 'data',
  name: 'data',
  kind: 'directory',
  companions: [],
  leftOut: [],
};
const lvs =
  (output: string) =>
  (argv: readonly string[]): Answer =>
    argv[0] === 'lvs' ? { stdout: output } : {};

async function collect(items: AsyncIterable<SnapshotRef>): Promise<SnapshotRef[]> {
  const all: SnapshotRef[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The recorded volumes with one snapshot's name and tags made into those of `ref`. */
function withSnapshot(ref: SnapshotRef, change: Readonly<Record<string, string>> = {}): string {
  const read = JSON.parse(snapshots) as { report: { lv: Record<string, string>[] }[] };
  for (const one of read.report[0]?.lv ?? []) {
    if (one['lv_name'] !== 'stillpoint-20260102-030405-000001-0123456789') continue;
    one['lv_name'] = ref.at.split('/').at(-1) ?? '';
    one['lv_tags'] = `stillpoint,${ref.label}`;
    Object.assign(one, change);
  }
  return JSON.stringify(read);
}

async function thinSet(t: TestContext): Promise<{
  readonly create: (answer: (argv: readonly string[]) => Answer) => Promise<Script & { provider: SnapshotProvider }>;
  readonly group: readonly Volume[];
  readonly ref: SnapshotRef;
}> {
  const create = async (answer: (argv: readonly string[]) => Answer) => {
    const made = await script(t, answer);
    return { ...made, provider: lvmThin.create({}, made.platform) };
  };
  const { provider } = await create(lvs(snapshots));
  const group = await provider.locate([required], signal);
  const [ref] = provider.refs(group, 'stillpoint-20260102-030405-000007');
  assert.ok(ref !== undefined);
  return { create, group, ref };
}

describe('lvm', { skip: root ? false : 'needs root: no path is claimed without' }, () => {
  it('claims a file system that fills a volume of its own way, and nothing else', async (t) => {
    for (const [lv, kind] of [
      ['t1', 'lvm-thin'],
      ['d1', 'lvm-thick'],
    ] as const) {
      const { platform } = await script(t, lvs(snapshots), stackOn(lv));
      for (const provider of [lvmThin.create({}, platform), lvmThick.create({}, platform)]) {
        const found = await provider.locate([required], signal);
        assert.deepEqual(
          found.map(({ provider: by, details }) => [by, details['vg'], details['lv']]),
          provider.kind === kind ? [[kind, 'vg0', lv]] : [],
        );
      }
    }
  });

  it('claims no part of a file system, and none that is spread over several devices', async (t) => {
    const claimed = async (stack: Partial<StorageStack>, path: Partial<RequiredPath> = {}): Promise<number> => {
      const { platform } = await script(t, lvs(snapshots), stack);
      return (await lvmThin.create({}, platform).locate([{ ...required, ...path }], signal)).length;
    };
    assert.equal(await claimed({}), 1);
    assert.equal(await claimed({ fileSystem: 'btrfs' }), 0);
    assert.equal(await claimed(stackOn('t1', 'rw,logdev=/dev/sdz')), 0);
    assert.equal(await claimed(stackOn('unknown')), 0);
    const two = layer('filesystem', { below: [layer('lv'), layer('lv')] });
    assert.equal(await claimed({ top: layer('mount', { below: [two] }) }), 0);
    const loop = layer('filesystem', { below: [layer('loop', { below: [layer('lv')] })] });
    assert.equal(await claimed({ top: layer('mount', { below: [loop] }) }), 0);
    assert.equal(await claimed({}, { kind: 'file', companions: ['/elsewhere/x-wal'] }), 0);
    assert.equal(await claimed({}, { kind: 'file', companions: ['/srv/x-wal'] }), 1);
  });

  it('finds the volume by the UUID that the stack names, whatever its device is called', async (t) => {
    const uuid = (JSON.parse(snapshots) as { report: { lv: Record<string, string>[] }[] }).report[0]?.lv.find(
      (one) => one['lv_name'] === 't1',
    )?.['lv_uuid'];
    const lv = layer('lv', { details: { uuid: uuid ?? '' } });
    const top = layer('mount', { below: [layer('filesystem', { below: [lv] })] });
    const { platform } = await script(t, lvs(snapshots), { top, device: '/dev/dm-5' });
    assert.equal((await lvmThin.create({}, platform).locate([required], signal)).length, 1);
  });

  it('says that one volume is one instant and several are not', async (t) => {
    const { create, group } = await thinSet(t);
    const { provider } = await create(lvs(snapshots));
    assert.equal(provider.atomicity(group).atomicity, 'one-instant');
    assert.equal(provider.atomicity([...group, ...group]).atomicity, 'sequential');
  });

  it('warns of a pool that fills up, and calls a full or broken one an error', async (t) => {
    const { create, group } = await thinSet(t);
    const severities = async (change: Readonly<Record<string, string>>): Promise<readonly string[]> => {
      const read = JSON.parse(snapshots) as { report: { lv: Record<string, string>[] }[] };
      for (const one of read.report[0]?.lv ?? []) if (one['lv_name'] === 'pool') Object.assign(one, change);
      const { provider } = await create(lvs(JSON.stringify(read)));
      const { findings } = await provider.predict(group, 'writes-stopped', signal);
      return findings.map(({ severity }) => severity);
    };
    assert.deepEqual(await severities({}), []);
    assert.deepEqual(await severities({ data_percent: '79.99' }), []);
    assert.deepEqual(await severities({ data_percent: '80.00' }), ['warning']);
    assert.deepEqual(await severities({ data_percent: '95.00', metadata_percent: '81' }), ['error', 'warning']);
    assert.deepEqual(await severities({ metadata_percent: '99' }), ['error']);
    assert.deepEqual(await severities({ lv_check_needed: 'check needed' }), ['error']);
    assert.deepEqual(await severities({ lv_health_status: 'out_of_data' }), ['error']);
    assert.deepEqual(await severities({ data_percent: '' }), ['error']);
  });

  it('says with figures when the volume group has no space for a snapshot, and does not begin', async (t) => {
    const { platform } = await script(t, lvs(snapshots), stackOn('d1'));
    const roomy = lvmThick.create({}, platform);
    const group = await roomy.locate([required], signal);
    assert.equal(group[0]?.details['snapshotBytes'], String(64 * 1024 * 1024));
    assert.deepEqual((await roomy.predict(group, 'writes-stopped', signal)).findings, []);
    const small = snapshots.replaceAll('"vg_free":"2260729856"', '"vg_free":"33554432"');
    const short = lvmThick.create({}, (await script(t, lvs(small), stackOn('d1'))).platform);
    const { findings } = await short.predict(group, 'writes-stopped', signal);
    assert.deepEqual(
      findings.map(({ severity }) => severity),
      ['error'],
    );
    assert.deepEqual(await short.locate([required], signal), [], 'the next provider gets its chance');
    assert.match(findings[0]?.said ?? '', /vg0 has 32 MiB free and a snapshot of it need(s)? 64 MiB/);
    const fixed = lvmThick.create({ snapshotSize: '40MiB' }, (await script(t, lvs(small), stackOn('d1'))).platform);
    await assert.rejects(fixed.prepare(group, signal), { code: 'space-short', message: /32 MiB free/ });
    const fits = lvmThick.create({ snapshotSize: '30MiB' }, (await script(t, lvs(small), stackOn('d1'))).platform);
    const [prepared] = await fits.prepare(group, signal);
    assert.equal(prepared?.details['snapshotBytes'], String(32 * 1024 * 1024));
    assert.equal(prepared?.id, group[0]?.id);
  });

  it('lists snapshots by tag and name, halves of ours too, and no stranger', async (t) => {
    const { create, group, ref } = await thinSet(t);
    const seen = async (change: Readonly<Record<string, string>>): Promise<SnapshotRef[]> =>
      await collect((await create(lvs(withSnapshot(ref, change)))).provider.list(group));
    assert.deepEqual(await seen({}), [ref]);
    assert.deepEqual(await seen({ lv_tags: '' }), []);
    assert.deepEqual(await seen({ lv_name: `${ref.label}-0123456789` }), []);
    const half = { origin_uuid: '', lv_attr: '-wi-i-----', lv_tags: '' };
    assert.deepEqual(await seen(half), [ref]);
    assert.deepEqual(await seen({ ...half, lv_attr: '-wi-a-----' }), []);
    assert.deepEqual(await seen({ ...half, lv_attr: '-wi-a-----', lv_tags: 'stillpoint' }), [ref]);
  });

  it('removes only what name, tags and origin call ours', async (t) => {
    const { create, ref } = await thinSet(t);
    const removed = async (change: Readonly<Record<string, string>>): Promise<readonly string[]> => {
      const { provider, asked } = await create(lvs(withSnapshot(ref, change)));
      const failed = await provider.delete(ref).then(
        () => '',
        (error: unknown) => String(error),
      );
      const commands = asked.filter((command) => command.startsWith('lvremove'));
      assert.equal(commands.length === 0, failed !== '', failed);
      return commands;
    };
    assert.deepEqual(await removed({}), [`lvremove -y vg0/${ref.at.split('/').at(-1)}`]);
    assert.equal((await removed({ origin_uuid: '' })).length, 1);
    assert.deepEqual(await removed({ lv_tags: 'stillpoint' }), []);
    assert.deepEqual(await removed({ lv_tags: ref.label }), []);
    assert.deepEqual(await removed({ origin_uuid: 'another' }), []);
    assert.deepEqual(await removed({ lv_merging: 'merging' }), []);
    // In the renamed group it has the new name of that.
    const renamed = withSnapshot(ref).replaceAll('"vg_name":"vg0"', '"vg_name":"vg9"');
    const { provider, asked } = await create(lvs(renamed));
    await provider.delete(ref);
    assert.ok(asked.some((command) => command.startsWith('lvremove -y vg9/')));
  });

  it('takes a missing snapshot as deleted only if LVM could look everywhere', async (t) => {
    const { create, ref } = await thinSet(t);
    await (await create(lvs(snapshots))).provider.delete(ref);
    const partial = await create(() => ({ stdout: snapshots, exitCode: 5, stderr: 'vg1 cannot be read' }));
    await assert.rejects(partial.provider.delete(ref), { code: 'undo-failed', message: /vg1 cannot be read/ });
    const mute = await create(() => ({ exitCode: 5, stderr: 'no' }));
    await assert.rejects(mute.provider.delete(ref), { code: 'command-failed' });
  });

  it('resumes what a killed lvcreate left suspended, its pool too, and touches no other device', async (t) => {
    const { group, ref } = await thinSet(t);
    const [, vg = '', lv = ''] = (group[0]?.id ?? '').split(':');
    const own = `LVM-${`${vg}${lv}`.replaceAll('-', '')}`;
    const suspended = new Set(['vg0-t1', 'vg0-pool-tpool', 'vg0-other']);
    const lines = (): string =>
      [`vg0-t1|${own}`, 'vg0-pool-tpool|LVM-x-tpool', 'vg0-other|LVM-y']
        .map((line) => `${line}|${suspended.has(line.split('|')[0] ?? '') ? 'Suspended' : 'Active'}`)
        .join('\n');
    const made = await script(t, (argv) => {
      if (argv[1] === 'table') return { stdout: '0 819200 thin 254:3 1\n' };
      if (argv[1] === 'resume') suspended.delete(argv[2] ?? '');
      if (argv.includes('-j')) return { stdout: 'vg0-pool-tpool\n' };
      return argv[1] === 'info' ? { stdout: lines() } : {};
    });
    await lvmThin.create({}, made.platform).release?.([ref]);
    assert.deepEqual([...suspended], ['vg0-other']);
    assert.ok(!made.asked.some((command) => command.startsWith('lv')), 'LVM itself is not asked');
  });

  it('calls it an alarm when a device stays suspended, or nobody can tell', async (t) => {
    const { group, ref } = await thinSet(t);
    const [, vg = '', lv = ''] = (group[0]?.id ?? '').split(':');
    const own = `LVM-${`${vg}${lv}`.replaceAll('-', '')}`;
    const stuck = await script(t, (argv) => (argv[1] === 'info' ? { stdout: `vg0-t1|${own}|Suspended\n` } : {}));
    await assert.rejects(async () => await lvmThin.create({}, stuck.platform).release?.([ref]), {
      code: 'thaw-unproven',
      hint: /dmsetup resume vg0-t1/,
    });
    const mute = await script(t, () => ({ exitCode: 1, stderr: 'no device-mapper' }));
    await assert.rejects(async () => await lvmThin.create({}, mute.platform).release?.([ref]), {
      code: 'thaw-unproven',
    });
  });

  it('undoes the volumes before the one that failed, and not what was there already', async (t) => {
    const { create, group } = await thinSet(t);
    const label = 'stillpoint-20260102-030405-000007';
    const [first] = group;
    assert.ok(first !== undefined);
    const second: Volume = { ...first, id: `${first.id}x`, details: { ...first.details, lv: 't2' } };
    const { provider } = await create(lvs(snapshots));
    const [ref] = provider.refs([first], label);
    assert.ok(ref !== undefined);
    const failing = await create((argv) => {
      if (argv[0] === 'lvs') return { stdout: withSnapshot(ref) };
      const last = argv.at(-1);
      return argv[0] === 'lvcreate' && last === 'vg0/t2' ? { exitCode: 5, stderr: '  WARNING: x\n  no space' } : {};
    });
    await assert.rejects(failing.provider.cut([first, second], label, signal), {
      code: 'cut-failed',
      message: /failed: no space$/,
    });
    assert.ok(failing.asked.some((command) => command.startsWith('lvremove -y vg0/') && command.includes(label)));
    const there = await create((argv) => {
      if (argv[0] === 'lvs') return { stdout: withSnapshot(ref) };
      const said = `Logical Volume "${label}" already exists in volume group "vg0"`;
      return argv[0] === 'lvcreate' ? { exitCode: 5, stderr: said } : {};
    });
    await assert.rejects(there.provider.cut([first], label, signal), { code: 'cut-failed' });
    assert.ok(!there.asked.some((command) => command.startsWith('lvremove')));
  });
});
