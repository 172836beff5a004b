/** Inside a guest: two thin volumes with a writer over both, the provider on them, and what may be left. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dmThin } from '../../../../src/adapters/snapshot/dm-thin/provider.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../../../../src/model/storage.ts';
import { systemClock } from '../../../../src/platform/clock.ts';
import { systemExec, type Exec, type RunningProcess } from '../../../../src/platform/exec.ts';
import type { SnapshotProvider } from '../../../../src/ports/snapshot-provider.ts';
import { realPlatform } from '../../../doubles/platform.ts';
import { guest, node, project } from '../../guest/guest.ts';
import { makeFileSystem, makeGroup, makePool, makeThin } from '../../guest/storage.ts';

export const signal = new AbortController().signal;
export const poolDevice = 'vg0-pool-tpool';
export const names = ['a', 'b'] as const;
const notes = '/tmp/pauses';

export interface Pair {
  readonly paths: readonly RequiredPath[];
  provider(more?: { readonly exec?: Exec; readonly limit?: string }): SnapshotProvider;
}

/** `a` is an xfs, `b` an ext4, in one pool. */
export async function makePair(): Promise<Pair> {
  await makeGroup('vg0', [guest.disk(0)]);
  await makePool('vg0', 'pool', 800);
  const a = await makeFileSystem('xfs', await makeThin('vg0', 'pool', 'a', 320), 'a');
  const b = await makeFileSystem('ext4', await makeThin('vg0', 'pool', 'b', 96), 'b');
  const paths = [a, b].map((path, index): RequiredPath => ({
    path,
    role: 'data',
    name: names[index] ?? '',
    kind: 'directory',
    companions: [],
    leftOut: [],
  }));
  return {
    paths,
    provider: ({ exec = systemExec, limit = '5s' } = {}) =>
      dmThin.create({ limit, atLeast: 2 }, realPlatform('/tmp/stillpoint-state', { exec })),
  };
}

export async function startWriter({ paths }: Pair): Promise<RunningProcess> {
  const files = paths.map(({ path }) => join(path, 'counter'));
  const writer = systemExec.start({
    argv: [node, join(project, 'test/lab/scenarios/dm-thin/writer.ts'), ...files, notes],
  });
  // Both exist and have gone on for a while.
  for (let tries = 0; tries < 300; tries += 1) {
    if (files.every((file) => existsSync(file) && Number(readFileSync(file, 'utf8')) > 50)) return writer;
    await systemClock.sleep(100);
  }
  throw new Error(`the writer does not write: ${writer.stderrTail()}`);
}

/** The longest round of the writer that overlaps this span of time. */
export function pauseIn(fromMs: number, toMs: number): number {
  if (!existsSync(notes)) return 0;
  const rounds = readFileSync(notes, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ').map(Number))
    .filter(([from = 0, ms = 0]) => from < toMs && from + ms > fromMs)
    .map(([, ms = 0]) => ms);
  return Math.round(Math.max(0, ...rounds));
}

/** How far the first file was before the second in the snapshots. */
export async function lagOf(
  provider: SnapshotProvider,
  refs: readonly SnapshotRef[],
  { paths }: Pair,
): Promise<number> {
  const counters: number[] = [];
  for (const [index, ref] of refs.entries()) {
    await using snapshot = await provider.open(ref);
    counters.push(Number(readFileSync(snapshot.at(join(paths[index]?.path ?? '', 'counter')) ?? '', 'utf8')));
  }
  return (counters[0] ?? Number.NaN) - (counters[1] ?? Number.NaN);
}

/**
 * The same without a mount, which takes a guest seconds: where the counters lie on their volumes was asked before, they are rewritten in
 * place, and all that was acknowledged is on a frozen file system's disk.
 */
export async function rawLag(
  refs: readonly SnapshotRef[],
  group: readonly Volume[],
  at: readonly number[],
): Promise<number> {
  const counters: number[] = [];
  for (const [index, ref] of refs.entries()) {
    const name = `raw-${index}`;
    const [, pool, id] = ref.at.split(':');
    const sectors = group[index]?.details['sectors'];
    const table = `0 ${sectors} thin /dev/mapper/${pool} ${id}`;
    await guest.check(['dmsetup', 'create', '--readonly', name, '--table', table]);
    await guest.check(['dmsetup', 'mknodes', name]);
    const device = await open(`/dev/mapper/${name}`, 'r');
    const { buffer } = await device.read(Buffer.alloc(12), 0, 12, at[index] ?? 0);
    await device.close();
    await guest.check(['dmsetup', 'remove', name]);
    counters.push(Number(buffer.toString()));
  }
  return (counters[0] ?? Number.NaN) - (counters[1] ?? Number.NaN);
}

/** Byte offset of each counter on its volume. */
export async function placesOf({ paths }: Pair): Promise<readonly number[]> {
  const places: number[] = [];
  for (const { path } of paths) {
    const said = await guest.check(['filefrag', '-s', '-v', '-b512', join(path, 'counter')]);
    places.push(Number(/^ *0: +0\.\. +\d+: +(\d+)\.\./m.exec(said)?.[1]) * 512);
  }
  return places;
}

export async function located(provider: SnapshotProvider, { paths }: Pair): Promise<readonly Volume[]> {
  return await provider.prepare(await provider.locate(paths, signal), signal);
}

export async function collect<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Every id of the pool, LVM's and others. */
export async function poolIds(): Promise<readonly number[]> {
  await guest.check(['dmsetup', 'message', poolDevice, '0', 'reserve_metadata_snap']);
  try {
    const listed = await guest.check(['thin_ls', '--no-headers', '-m', '-o', 'DEV', '/dev/mapper/vg0-pool_tmeta']);
    return listed
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map(Number);
  } finally {
    await guest.check(['dmsetup', 'message', poolDevice, '0', 'release_metadata_snap']);
  }
}

export interface Changes {
  readonly source: string;
  /** Bytes called changed, of 4 MiB with 8 KiB written anew. */
  readonly bytes: number;
  readonly covered: boolean;
  /** Bytes called changed of a file that nobody touched. */
  readonly untouched: number;
}

/** What the provider says to have changed between two cuts, for each of the volumes. */
export async function changesBetween(provider: SnapshotProvider, pair: Pair): Promise<readonly Changes[]> {
  const offset = 1024 ** 2 + 4096;
  for (const { path } of pair.paths) {
    for (const name of ['big', 'still']) await writeFile(join(path, name), randomBytes(4 * 1024 ** 2));
  }
  const older = await provider.cut(await located(provider, pair), 'stillpoint-older', signal);
  for (const { path } of pair.paths) {
    const file = await open(join(path, 'big'), 'r+');
    await file.write(randomBytes(8192), 0, 8192, offset);
    await file.sync();
    await file.close();
  }
  const newer = await provider.cut(await located(provider, pair), 'stillpoint-newer', signal);
  const found: Changes[] = [];
  for (const [index, { path }] of pair.paths.entries()) {
    const [base, now] = [older.cuts[index]?.snapshot, newer.cuts[index]?.snapshot];
    if (base === undefined || now === undefined) throw new Error('a cut lacks a snapshot');
    await using snapshot = await provider.open(now);
    await using changed = await snapshot.changedSince?.(base, signal);
    if (changed === undefined) throw new Error('the changes cannot be told');
    const ranges = (await changed.of(join(path, 'big')))?.ranges ?? [];
    const still = (await changed.of(join(path, 'still')))?.ranges ?? [{ offset: 0, length: Number.NaN }];
    found.push({
      source: changed.source,
      bytes: ranges.reduce((sum, { length }) => sum + length, 0),
      covered: ranges.some((range) => range.offset <= offset && range.offset + range.length >= offset + 8192),
      untouched: still.reduce((sum, { length }) => sum + length, 0),
    });
  }
  for (const { snapshot } of [...older.cuts, ...newer.cuts]) await provider.delete(snapshot);
  return found;
}
