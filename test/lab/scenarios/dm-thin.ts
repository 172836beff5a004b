import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { systemClock } from '../../../src/platform/clock.ts';
import { differences, inventory, volumes, writes } from '../guest/storage.ts';
import type { Guest } from '../guest/guest.ts';
import type { Scenario } from '../scenario.ts';
import type { Changes } from './dm-thin/pair.ts';

interface Result {
  /** For each cut, how far the first file was before the second. 0 or 1 is one instant. */
  readonly lags: readonly number[];
  /** The same for one `lvcreate` after the other. */
  readonly oneByOne: readonly number[];
  readonly cutMs: readonly number[];
  readonly pausesMs: readonly number[];
  readonly spans: readonly string[];
  readonly transaction: readonly [string, string];
  readonly changes: readonly Changes[];
  readonly left: readonly string[];
  readonly ids: readonly number[];
  readonly listed: readonly number[];
  readonly afterReboot: readonly string[];
  readonly writable: readonly boolean[];
}

/** Two `lvcreate`, as a plain script does it. */
async function oneByOne(guest: Guest, at: string): Promise<number> {
  for (const name of ['a', 'b']) await guest.check(['lvcreate', '-y', '-s', '-kn', '-n', `${name}_s`, `vg0/${name}`]);
  const counters: number[] = [];
  for (const name of ['a', 'b']) {
    const options = name === 'a' ? 'ro,nouuid' : 'ro';
    await guest.check(['mount', '-o', options, `/dev/vg0/${name}_s`, at]);
    counters.push(Number(await readFile(`${at}/counter`, 'utf8')));
    await guest.check(['umount', at]);
    await guest.check(['lvremove', '-y', `vg0/${name}_s`]);
  }
  return (counters[0] ?? 0) - (counters[1] ?? 0);
}

async function transaction(guest: Guest): Promise<string> {
  const status = await guest.check(['dmsetup', 'status', 'vg0-pool-tpool']);
  const { transaction_id: lvm } = (
    (await guest.json([...['lvs', '--reportformat', 'json', '-a', '-o', 'transaction_id', 'vg0/pool']] as unknown as [
      string,
    ])) as { report: [{ lv: [{ transaction_id: string }] }] }
  ).report[0].lv[0];
  return `${status.split(' ')[3] ?? ''} ${lvm}`;
}

export const scenario: Scenario = {
  name: 'dm-thin',
  about: 'two thin volumes under a writer are cut at one instant, and LVM goes on with its pool as before',
  disks: [{ name: 'a', bytes: 2 * 1024 ** 3 }],
  memMiB: 640,
  timeoutMs: 30 * 60_000,
  async run(guest, { full }) {
    const {
      changesBetween,
      collect,
      lagOf,
      located,
      makePair,
      pauseIn,
      placesOf,
      poolIds,
      rawLag,
      signal,
      startWriter,
    } = await import('./dm-thin/pair.ts');
    const pair = await makePair();
    const provider = pair.provider();
    const before = await inventory();
    const transactionBefore = await transaction(guest);
    const writer = await startWriter(pair);
    const lags: number[] = [];
    const cutMs: number[] = [];
    const pausesMs: number[] = [];
    let spans: readonly string[] = [];
    const mounted = 3;
    const places = await placesOf(pair);
    let group = await located(provider, pair);
    for (let n = 0; n < (full ? 50 : mounted); n += 1) {
      if (n < mounted) group = await located(provider, pair);
      const from = systemClock.monoMs();
      const cut = await provider.cut(group, `stillpoint-pair-${n}`, signal);
      const to = systemClock.monoMs();
      spans = cut.spans.map(({ what, startMs, endMs }) => `${what}: ${Math.round(endMs - startMs)} ms`);
      const refs = cut.cuts.map(({ snapshot }) => snapshot);
      const raw = await rawLag(refs, group, places);
      lags.push(raw);
      if (n < mounted) assert.equal(await lagOf(provider, refs, pair), raw);
      cutMs.push(Math.round(to - from));
      pausesMs.push(pauseIn(from, to));
      guest.log(`cut ${n}: ${lags.at(-1)} behind, ${cutMs.at(-1)} ms, the writer waited ${pausesMs.at(-1)} ms`);
      for (const ref of refs) await provider.delete(ref);
    }
    const transactionAfter = await transaction(guest);
    const at = await guest.mountPoint('one-by-one');
    const sequential: number[] = [];
    for (let n = 0; n < (full ? 5 : 1); n += 1) sequential.push(await oneByOne(guest, at));
    writer.kill('SIGKILL');
    await writer.exited;
    const changes = await changesBetween(provider, pair);
    const left = differences(before, await inventory());

    // LVM goes on although snapshots of ours are there, and after the volume group was away.
    const cut = await provider.cut(await located(provider, pair), 'stillpoint-kept', signal);
    await guest.check(['lvcreate', '-y', '-s', '-kn', '-n', 'plain', 'vg0/a']);
    for (const { path } of pair.paths) await guest.check(['umount', path]);
    await guest.check(['vgchange', '-a', 'n', 'vg0']);
    await guest.check(['vgchange', '-a', 'y', 'vg0']);
    await guest.check(['lvcreate', '-y', '-s', '-kn', '-n', 'plain2', 'vg0/b']);
    for (const { path, name } of pair.paths) await guest.check(['mount', `/dev/vg0/${name}`, path]);
    const now = await provider.locate(pair.paths, signal);
    const listed = (await collect(provider.list(now))).length;
    const lag = await lagOf(
      provider,
      cut.cuts.map(({ snapshot }) => snapshot),
      pair,
    );
    for (const { snapshot } of cut.cuts) await provider.delete(snapshot);
    const afterReboot = (await volumes()).map((each) => `${each.lv_name} ${each.lv_attr}`);
    return {
      lags,
      oneByOne: sequential,
      cutMs,
      pausesMs,
      spans,
      transaction: [transactionBefore, transactionAfter],
      changes: changes as unknown as [],
      left,
      ids: await poolIds(),
      listed: [listed, lag],
      afterReboot,
      writable: await Promise.all(pair.paths.map(({ path }) => writes(path))),
    };
  },
  assess(json, { full }) {
    const result = json as unknown as Result;
    assert.equal(result.lags.length, full ? 50 : 3);
    for (const lag of result.lags) assert.ok(lag === 0 || lag === 1, `a cut shows two instants: ${lag} apart`);
    // The writer goes on between two commands of LVM: the second volume is younger.
    assert.ok(
      result.oneByOne.some((lag) => lag < 0),
      'the writer was too slow to tell anything',
    );
    assert.equal(result.transaction[0], result.transaction[1]);
    for (const each of result.changes) {
      assert.ok(each.covered, 'what was written counts as changed');
      assert.ok(each.bytes <= 256 * 1024, `${each.bytes} bytes are called changed`);
      assert.equal(each.untouched, 0);
    }
    assert.equal(result.changes.length, 2);
    assert.deepEqual(result.left, []);
    assert.ok(
      result.ids.every((id) => id < 1000),
      `ids of ours are left: ${result.ids.join(', ')}`,
    );
    assert.equal(result.listed[0], 2);
    assert.ok(result.listed[1] === 0 || result.listed[1] === 1);
    assert.equal(result.afterReboot.length, 5);
    assert.deepEqual(result.writable, [true, true]);
  },
};
