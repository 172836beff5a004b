import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { codeOf } from '../../../model/errors.ts';
import { layerOf } from '../../../model/stack.ts';
import type { StorageLayer, StorageStack } from '../../../model/storage.ts';
import { queries, serialOf } from './commands.ts';
import { parseBelow, parseDevices, parseNodes, type Node } from './parse.ts';
import { QmpRefusal, type Qmp } from './qmp.ts';
import type { Disk } from './volume.ts';

/** What the monitor says about its disks. */
export interface KnownDisks {
  readonly nodes: ReadonlyMap<string, Node>;
  readonly nodeOfSerial: ReadonlyMap<string, string>;
}

/** Filters that may stand between a device and its disk: cuts in force, limits. */
const filters = new Set(['copy-before-write', 'throttle', 'copy-on-read', 'preallocate']);

/** A guest sees no more of the number of a virtio disk (VIRTIO_BLK_ID_BYTES). */
const virtioSerialLength = 20;

export async function askDisks(qmp: Qmp): Promise<KnownDisks> {
  const nodes = new Map(parseNodes(await qmp.execute(queries.nodes)).map((node) => [node.name, node]));
  const devices = parseDevices(await qmp.execute(queries.devices));
  const below = devices.some(({ node }) => filters.has(nodes.get(node)?.driver ?? ''))
    ? parseBelow(await qmp.execute(queries.graph))
    : new Map<string, string>();
  const nodeOfSerial = new Map<string, string>();
  for (const device of devices) {
    const serial = await readSerial(qmp, device.path);
    const node = unfiltered(device.node, nodes, below);
    if (serial === undefined || node === undefined) continue;
    for (const number of new Set([serial, serial.slice(0, virtioSerialLength)])) {
      // Two disks with one number cannot be told apart; no node has the empty name.
      nodeOfSerial.set(number, nodeOfSerial.has(number) ? '' : node);
    }
  }
  return { nodes, nodeOfSerial };
}

function unfiltered(
  top: string,
  nodes: ReadonlyMap<string, Node>,
  below: ReadonlyMap<string, string>,
): string | undefined {
  let node: string | undefined = top;
  while (node !== undefined && filters.has(nodes.get(node)?.driver ?? '')) node = below.get(node);
  return node;
}

/** Of a virtio disk the path is that of the part behind the bus; the number is a property of the disk on the bus. */
async function readSerial(qmp: Qmp, path: string): Promise<string | undefined> {
  try {
    const serial = await qmp.execute(serialOf(path.replace(/\/virtio-backend$/, '')));
    return typeof serial === 'string' && serial !== '' ? serial : undefined;
  } catch (error) {
    if (error instanceof QmpRefusal) return undefined;
    throw error;
  }
}

/** A disk, and which layer of the stack it is. */
export interface Leaf {
  readonly disk: Disk;
  readonly layer: string;
}

export type Found =
  | { readonly leaves: readonly Leaf[]; readonly direct?: { readonly offset: number; readonly bytes: number } }
  | { readonly why: string };

/**
 * The disks below a file system. All of them must be known, or a cut would be torn. `direct` when it lies on one disk or on a partition of
 * it, with nothing in between.
 */
export async function disksBelow(
  stack: StorageStack,
  known: KnownDisks,
  configured: Readonly<Record<string, string>>,
): Promise<Found> {
  const top = layerOf(stack, 'filesystem');
  if (top === undefined) return { why: 'what lies below its file system is not known' };
  const { leaves, between, strangers } = await leavesBelow(top, known, configured);
  if (strangers.length > 0 || leaves.size === 0) {
    return { why: `the QMP monitor does not know ${strangers.join(', ') || 'its disks'}` };
  }
  const direct = await directPlace(top, known, configured);
  const closed = direct === undefined ? between.find(({ type }) => !openable.has(type)) : undefined;
  if (closed !== undefined)
    return { why: `a copy of ${closed.name} (${closed.type}) cannot be opened beside its original` };
  return { leaves: [...leaves.values()], ...(direct === undefined ? {} : { direct }) };
}

/** What can be put together again from copies of disks (platform/array-clone.ts). */
const openable: ReadonlySet<string> = new Set(['partition', 'pv', 'vg', 'md', 'lv']);

/** The known disks below a layer, by node; what lies between; and the lowest layers that are no known disks. */
export async function leavesBelow(
  top: StorageLayer,
  known: KnownDisks,
  configured: Readonly<Record<string, string>>,
): Promise<{
  readonly leaves: ReadonlyMap<string, Leaf>;
  readonly between: readonly StorageLayer[];
  readonly strangers: readonly string[];
}> {
  const leaves = new Map<string, Leaf>();
  const between: StorageLayer[] = [];
  const strangers: string[] = [];
  const walk = async (layer: StorageLayer): Promise<void> => {
    const disk = await diskAt(layer, known, configured);
    if (disk !== undefined) leaves.set(disk.node, { disk, layer: layer.id });
    else if (layer.below.length === 0) strangers.push(layer.name);
    else {
      between.push(layer);
      for (const below of layer.below) await walk(below);
    }
  };
  for (const below of top.below) await walk(below);
  return { leaves, between, strangers };
}

async function diskAt(
  layer: StorageLayer,
  known: KnownDisks,
  configured: Readonly<Record<string, string>>,
): Promise<Disk | undefined> {
  const serial = layer.type === 'disk' ? layer.details['serial'] : undefined;
  const keys = [layer.name, serial, /^\/dev\/loop\d+$/.test(layer.name) ? await backingFile(layer) : undefined];
  for (const key of keys) {
    const name =
      key === undefined ? undefined : (configured[key] ?? (key === serial ? known.nodeOfSerial.get(key) : undefined));
    const node = name === undefined ? undefined : known.nodes.get(name);
    if (key !== undefined && node !== undefined) return { key, node: node.name, bytes: node.bytes };
  }
  return undefined;
}

/** A loop device with an offset is no whole disk. */
async function backingFile(layer: StorageLayer): Promise<string | undefined> {
  const directory = `/sys/class/block/${basename(layer.name)}/loop`;
  const offset = await readOptional(`${directory}/offset`);
  if (offset !== undefined && offset !== '0') return undefined;
  return layer.details['backingFile'] ?? (await readOptional(`${directory}/backing_file`));
}

async function readOptional(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).trimEnd();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function directPlace(
  fileSystem: StorageLayer,
  known: KnownDisks,
  configured: Readonly<Record<string, string>>,
): Promise<{ readonly offset: number; readonly bytes: number } | undefined> {
  const [first, second] = fileSystem.below;
  if (first === undefined || second !== undefined) return undefined;
  const whole = await diskAt(first, known, configured);
  if (whole !== undefined) return { offset: 0, bytes: whole.bytes };
  const [under, other] = first.below;
  if (first.type !== 'partition' || under === undefined || other !== undefined) return undefined;
  const disk = await diskAt(under, known, configured);
  const offset = await startOf(first);
  const bytes = Number(first.details['size']);
  if (disk === undefined || offset === undefined || !Number.isSafeInteger(bytes)) return undefined;
  return offset + bytes <= disk.bytes ? { offset, bytes } : undefined;
}

/** In bytes; sysfs counts in sectors of 512, whatever those of the disk are. */
async function startOf(partition: StorageLayer): Promise<number | undefined> {
  const sectors = await readOptional(`/sys/class/block/${basename(partition.name)}/start`);
  return sectors === undefined ? undefined : Number(sectors) * 512;
}
