import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from '../../../model/errors.ts';
import { writeDurably } from '../../../platform/files.ts';
import type { FreezeKind } from './commands.ts';
import type { RegionState } from './parse.ts';

/**
 * What GT.M itself does not keep: for which hold a database is frozen. The header of a frozen region names only the uid and the pid of
 * a mupip that has ended, and the freeze outlives every process. Written before the freeze, so that whoever comes after a crash can
 * tell our freeze from somebody else's.
 */
export interface FreezeRecord {
  readonly run: string;
  readonly kind: FreezeKind;
  readonly uid: number;
  /** All regions that the hold is about to freeze; none of them was frozen when this was written. */
  readonly regions: readonly string[];
  /** Regions whose journaling was on, and must be on again after the thaw. */
  readonly journaled: readonly string[];
  /** By region, the pid that the engine shows as the freezer since. Empty until the freeze was confirmed. */
  readonly freezers: Readonly<Record<string, number>>;
}

/** One file a hold, named by its run. Its first line is durable before the freeze; the second is written while frozen, without waiting for the disk. */
export class RecordFile {
  readonly run: string;
  readonly #path: string;
  #descriptor: number | undefined;

  constructor(directory: string, runId: string) {
    this.run = runId;
    this.#path = join(directory, `${encodeURIComponent(runId)}.freeze`);
  }

  async begin(record: Omit<FreezeRecord, 'freezers'>): Promise<void> {
    await mkdir(join(this.#path, '..'), { recursive: true, mode: 0o700 });
    await writeDurably(this.#path, `${JSON.stringify(record)}\n`);
    // Open before the freeze: nothing may have to be looked up inside it.
    this.#descriptor = openSync(this.#path, 'a');
  }

  confirm(freezers: Readonly<Record<string, number>>): void {
    if (this.#descriptor !== undefined) writeSync(this.#descriptor, `${JSON.stringify({ freezers })}\n`);
  }

  /** Undefined if there is none: no freeze was ever begun for this hold, or it was proved to be over. Throws what reading throws. */
  read(): FreezeRecord | undefined {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (cause) {
      if (codeOf(cause) === 'ENOENT' || codeOf(cause) === 'ENOTDIR') return undefined;
      throw cause;
    }
    const [first = '', second = ''] = text.split('\n');
    // Both lines are our own. The second may be torn by a kill: then the freeze was not confirmed yet.
    const begun: Omit<FreezeRecord, 'freezers'> = JSON.parse(first);
    let confirmed: Pick<FreezeRecord, 'freezers'> = { freezers: {} };
    try {
      if (second !== '') confirmed = JSON.parse(second);
    } catch {
      // Torn.
    }
    return { ...begun, ...confirmed };
  }

  async remove(): Promise<void> {
    this.closeDescriptor();
    await rm(this.#path, { force: true });
  }

  closeDescriptor(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}

/**
 * Whose freeze a region has. Before the freeze was confirmed, any freeze by our uid counts as ours: the region was free when the
 * record was written, and a database that is left frozen is worse than a freeze of the same user that ends early.
 */
export function whose(state: RegionState, record: FreezeRecord | undefined): 'nobody' | 'ours' | 'foreign' {
  if (state.frozen === undefined) return 'nobody';
  if (record === undefined || !record.regions.includes(state.region)) return 'foreign';
  if (state.frozen.uid !== record.uid) return 'foreign';
  const known = record.freezers[state.region];
  return known === undefined || known === state.frozen.pid ? 'ours' : 'foreign';
}

export function describeFreeze(state: RegionState): string {
  if (state.frozen !== undefined) {
    const kind = state.online ? 'online' : 'plain';
    return `${state.region}: frozen (${kind}) by uid ${state.frozen.uid}, mupip ${state.frozen.pid}`;
  }
  return state.online
    ? `${state.region}: not frozen, an online freeze was released by the engine`
    : `${state.region}: not frozen`;
}
