import type { Finding } from '../../../model/point.ts';
import type { Volume } from '../../../model/storage.ts';
import type { Platform } from '../../../ports/module.ts';
import type { LogicalVolume } from './parse.ts';

/** In what snapshots of thin and of ordinary volumes differ. */
export interface Way {
  readonly kind: 'lvm-thin' | 'lvm-thick';
  /** Of one lvcreate. */
  readonly expectedMs: number;
  /** Why a volume is not of this way; undefined if it is. */
  whyNot(volume: LogicalVolume): string | undefined;
  findings(group: readonly Volume[], volumes: readonly LogicalVolume[]): readonly Finding[];
  /** What a volume needs besides where it is, before anything was measured. */
  details(origin: LogicalVolume): Volume['details'];
  /** The group with the sizes that were chosen. Changes nothing. */
  prepare(
    platform: Platform,
    group: readonly Volume[],
    signal: AbortSignal,
    keepMs: number | undefined,
  ): Promise<readonly Volume[]>;
  /** In bytes; undefined where a snapshot has no size of its own. */
  sizeOf(volume: Volume): string | undefined;
  /** A snapshot of this way can run over, and be worthless from then on. */
  readonly runsOver: boolean;
}
