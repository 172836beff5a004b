import type { Block } from './parse.ts';
import type { LvRow, PvRow, VgRow } from './parse-lvm.ts';
import type { ArrayState, MapperTarget, Signature } from './parse-system.ts';

export interface Mapper {
  readonly name: string;
  readonly uuid: string;
}

/** A text in the place of an answer is the reason why there is none. */
export interface Group {
  readonly volumes: readonly LvRow[];
  readonly group: VgRow;
  readonly physical: readonly PvRow[];
}

/** Everything asked of the machine about some devices and all that lies below them. Keys are MAJ:MIN where nothing else is said. */
export interface Facts {
  readonly asRoot: boolean;
  readonly roots: readonly Block[];
  readonly blocks: ReadonlyMap<string, Block>;
  readonly mappers: ReadonlyMap<string, Mapper>;
  readonly loops: ReadonlyMap<string, string>;
  readonly arrays: ReadonlyMap<string, ArrayState>;
  /** By name. */
  readonly groups: ReadonlyMap<string, Group | string>;
  /** Where a physical volume lies: by device, as LVM writes it. */
  readonly physicalBlocks: ReadonlyMap<string, Block>;
  /** By device-mapper's name. */
  readonly status: ReadonlyMap<string, readonly MapperTarget[]> | string;
  /** By kernel name. */
  readonly links: ReadonlyMap<string, readonly string[]>;
  readonly chassis: string | undefined;
  readonly signatures: readonly Signature[] | string;
  /** Writable loop devices by path, with the file behind each. */
  readonly writableLoops: ReadonlyMap<string, string>;
}

export function isArray(type: string): boolean {
  return type === 'md' || type === 'linear' || /^raid\d+$/.test(type);
}
