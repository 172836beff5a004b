import { StillpointError } from '../../../model/errors.ts';
import type { ByteRange } from '../../../model/storage.ts';

export interface Bitmap {
  readonly name: string;
  /** False: writes of late are missing in it. */
  readonly recording: boolean;
  /** True: the process that kept it did not end well, and nobody knows what it lacks. */
  readonly inconsistent: boolean;
}

/** A node of the block graph. */
export interface Node {
  readonly name: string;
  readonly driver: string;
  /** As the machine sees it. */
  readonly bytes: number;
  readonly bitmaps: readonly Bitmap[];
}

export interface Job {
  readonly id: string;
  readonly status: string;
}

export interface Export {
  readonly id: string;
  readonly type: string;
}

/** A disk of a virtual machine, and the node that it reads and writes. */
export interface Device {
  /** Its place in the object tree, where its serial number can be read. */
  readonly path: string;
  readonly node: string;
}

type Fields = Readonly<Record<string, unknown>>;

function odd(what: string): StillpointError {
  return new StillpointError('command-failed', `${what} answered something that is not understood`, {
    hint: 'QEMU 7.2 is known to work; report the version of this one',
  });
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function list(value: unknown, what: string): readonly Fields[] {
  if (!Array.isArray(value)) throw odd(what);
  return value.map((one: unknown) => {
    if (!isFields(one)) throw odd(what);
    return one;
  });
}

function text(from: Fields, key: string, what: string): string {
  const found = from[key];
  if (typeof found !== 'string') throw odd(what);
  return found;
}

function number(from: Fields, key: string, what: string): number {
  const found = from[key];
  if (typeof found !== 'number' || !Number.isSafeInteger(found) || found < 0) throw odd(what);
  return found;
}

/** `query-named-block-nodes`, flat. */
export function parseNodes(value: unknown): readonly Node[] {
  const what = 'query-named-block-nodes';
  return list(value, what).map((one) => {
    const { image } = one;
    if (!isFields(image)) throw odd(what);
    // Jobs keep bitmaps without a name.
    const bitmaps = list(one['dirty-bitmaps'] ?? [], what).filter((bitmap) => 'name' in bitmap);
    return {
      name: text(one, 'node-name', what),
      driver: text(one, 'drv', what),
      bytes: number(image, 'virtual-size', what),
      bitmaps: bitmaps.map((bitmap) => ({
        name: text(bitmap, 'name', what),
        recording: bitmap['recording'] === true,
        inconsistent: bitmap['inconsistent'] === true,
      })),
    };
  });
}

/** `query-jobs`. */
export function parseJobs(value: unknown): readonly Job[] {
  const what = 'query-jobs';
  return list(value, what).map((one) => ({ id: text(one, 'id', what), status: text(one, 'status', what) }));
}

/** `query-block-exports`. */
export function parseExports(value: unknown): readonly Export[] {
  const what = 'query-block-exports';
  return list(value, what).map((one) => ({ id: text(one, 'id', what), type: text(one, 'type', what) }));
}

/** `query-block`: those that have a medium and a place in the object tree. A storage daemon has none at all. */
export function parseDevices(value: unknown): readonly Device[] {
  const what = 'query-block';
  return list(value, what).flatMap((one) => {
    const { qdev, inserted } = one;
    if (typeof qdev !== 'string' || !isFields(inserted)) return [];
    return [{ path: qdev, node: text(inserted, 'node-name', what) }];
  });
}

/** `x-debug-query-block-graph`: for each node that filters another one, that other one. */
export function parseBelow(value: unknown): ReadonlyMap<string, string> {
  const what = 'x-debug-query-block-graph';
  if (!isFields(value)) throw odd(what);
  const names = new Map(list(value['nodes'], what).map((one) => [number(one, 'id', what), text(one, 'name', what)]));
  const below = new Map<string, string>();
  for (const edge of list(value['edges'], what)) {
    const [parent, child] = [names.get(number(edge, 'parent', what)), names.get(number(edge, 'child', what))];
    if (edge['name'] === 'file' && parent !== undefined && child !== undefined) below.set(parent, child);
  }
  return below;
}

/** One entry behind the other, and none left out: a hole in a map would be a block that nobody looked at. */
function gapless(
  output: string,
  bytes: number,
  what: string,
  offsetKey: string,
  counts: (entry: Fields) => boolean,
): readonly ByteRange[] {
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch {
    throw odd(what);
  }
  const found: ByteRange[] = [];
  let seen = 0;
  for (const entry of list(value, what)) {
    const range = { offset: number(entry, offsetKey, what), length: number(entry, 'length', what) };
    if (range.offset !== seen) throw odd(what);
    seen += range.length;
    if (counts(entry)) found.push(range);
  }
  if (seen !== bytes) throw odd(what);
  return found;
}

/** `nbdinfo --map=qemu:dirty-bitmap:NAME --json` of a disk of that size. Whatever is not said to be clean is dirty. */
export function parseDirty(output: string, bytes: number): readonly ByteRange[] {
  return gapless(output, bytes, 'nbdinfo --map', 'offset', (entry) => entry['type'] !== 0);
}

/** `qemu-img map --output=json` of an overlay alone. Whatever is not said to be absent was written. */
export function parseWritten(output: string, bytes: number): readonly ByteRange[] {
  return gapless(output, bytes, 'qemu-img map', 'start', (entry) => entry['present'] !== false);
}
