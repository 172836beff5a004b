import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef, Volume } from '../../../model/storage.ts';
import { bootId } from '../../../platform/clock.ts';
import { pathExists, syncDirectory, writeDurably } from '../../../platform/files.ts';
import { assertOwn, refIn, refsIn } from '../../../platform/snapshot-place.ts';
import type { MountedThin } from './place.ts';

/**
 * A thin device in a pool has nothing but a number. What it is stands here: one file for each snapshot, on disk before the snapshot can
 * exist, and removed after it has been deleted. A number that no file names is not ours.
 */
export interface Entry {
  readonly thin: MountedThin;
  readonly id: number;
  /**
   * `cutting`: its origin may be suspended and its file system frozen, if this boot is still `boot`. Set back without syncing: a crash
   * of the machine, which could undo that, ends every freeze.
   */
  readonly state: 'cutting' | 'cut';
  readonly boot: string;
}

const kind = 'dm-thin';
/** LVM counts its ids from 1 upwards; a pool knows 24 bits. The upper half is ours. */
const firstId = 8_388_608;
const lastId = 16_777_215;

export function idOf(label: string, volume: string): number {
  const hash = createHash('sha256').update(`${label}\0${volume}`).digest();
  return firstId + (hash.readUInt32BE(0) % (lastId - firstId + 1));
}

/** Whether the number is of the range from which ours are taken. */
export function isOurRange(id: number): boolean {
  return id >= firstId && id <= lastId;
}

export function refOf(volume: Volume, pool: string, label: string): SnapshotRef {
  // For its refusal of a label that is not ours.
  refIn('/', kind, volume.id, label);
  return { provider: kind, volume: volume.id, label, at: `${kind}:${pool}:${idOf(label, volume.id)}` };
}

/** Refuses, before anything is deleted, a reference whose label is not ours or whose number does not follow from it. */
export function assertOwnThin(ref: SnapshotRef): { readonly pool: string; readonly id: number } {
  assertOwn(refIn('/', kind, ref.volume, ref.label));
  const [, pool = '', id] = /^dm-thin:([^:]+):(\d+)$/.exec(ref.at) ?? [];
  if (id === undefined || Number(id) !== idOf(ref.label, ref.volume)) {
    throw new StillpointError('undo-failed', `${ref.at} does not belong to label ${ref.label}`, {
      hint: 'this snapshot was left alone; look at it by hand',
    });
  }
  return { pool, id: Number(id) };
}

export class Ledger {
  readonly #directory: string;

  constructor(stateDirectory: string) {
    this.#directory = join(stateDirectory, kind);
  }

  fileOf(ref: Pick<SnapshotRef, 'volume' | 'label'>): string {
    return refIn(this.#directory, kind, ref.volume, ref.label).at;
  }

  async make(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
  }

  /** On disk when it returns. Throws `cut-failed` if there is an entry already, which is left alone. */
  async add(ref: SnapshotRef, entry: Omit<Entry, 'state' | 'boot'>): Promise<void> {
    const file = this.fileOf(ref);
    if (await pathExists(file)) throw new StillpointError('cut-failed', `there is a snapshot ${ref.at} already`);
    const whole: Entry = { ...entry, state: 'cutting', boot: bootId() };
    await writeDurably(file, JSON.stringify(whole));
  }

  /** Nothing is frozen for it any more. */
  async settle(ref: SnapshotRef): Promise<void> {
    const entry = await this.find(ref);
    if (entry === undefined) return;
    const file = this.fileOf(ref);
    const settled: Entry = { ...entry, state: 'cut' };
    await writeFile(`${file}.new`, JSON.stringify(settled), { mode: 0o600 });
    await rename(`${file}.new`, file);
  }

  async find(ref: Pick<SnapshotRef, 'volume' | 'label'>): Promise<Entry | undefined> {
    try {
      return JSON.parse(await readFile(this.fileOf(ref), 'utf8')) as Entry;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async remove(ref: SnapshotRef): Promise<void> {
    await rm(this.fileOf(ref), { force: true });
    await syncDirectory(this.#directory);
  }

  /** Labels of this volume, in order. */
  async labels(volume: Volume): Promise<readonly string[]> {
    const labels: string[] = [];
    for await (const { label } of refsIn(this.#directory, kind, volume)) labels.push(label);
    return labels;
  }

  /** Every number that some file names, by pool. */
  async ids(): Promise<ReadonlyMap<string, ReadonlySet<number>>> {
    const found = new Map<string, Set<number>>();
    for (const name of await readdir(this.#directory)) {
      const text = await readFile(join(this.#directory, name), 'utf8').catch(() => undefined);
      if (text === undefined || name.endsWith('.tmp')) continue;
      const entry = JSON.parse(text) as Entry;
      found.set(entry.thin.pool, (found.get(entry.thin.pool) ?? new Set()).add(entry.id));
    }
    return found;
  }
}
