import type { Finding } from '../../../model/point.ts';
import type { LayerType, StorageLayer } from '../../../model/storage.ts';
import { cloudDiskOf } from './cloud.ts';
import { common, defined, distinct, layerType, volumeDetails, whyNot, type Details } from './details.ts';
import { isArray, type Facts, type Group, type Mapper } from './facts.ts';
import {
  arrayFindings,
  cloneFindings,
  error,
  groupFindings,
  mapperFindings,
  physicalFindings,
  unasked,
  volumeFindings,
} from './health.ts';
import type { Block } from './parse.ts';
import { lvmIdentity, mapperName, volumeOfMapper, type LvmIdentity } from './parse-lvm.ts';

/** A layer while it is put together: several devices of the kernel may be one layer (an LV and its `-real`). */
interface Node {
  readonly id: string;
  type: LayerType;
  name: string;
  details: Details;
  readonly findings: Finding[];
  readonly below: Set<string>;
}

/**
 * The layers of `facts`, topmost first, each id once. `files` has, by device number, the stack of the file system that holds a loop
 * device's file.
 */
export function layersOfFacts(facts: Facts, files: ReadonlyMap<string, StorageLayer>): readonly StorageLayer[] {
  const builder = new Builder(facts, files);
  return facts.roots.map((root) => builder.layer(root));
}

class Builder {
  readonly #facts: Facts;
  readonly #files: ReadonlyMap<string, StorageLayer>;
  readonly #nodes = new Map<string, Node>();
  readonly #visited = new Set<string>();
  readonly #done = new Map<string, StorageLayer>();

  constructor(facts: Facts, files: ReadonlyMap<string, StorageLayer>) {
    this.#facts = facts;
    this.#files = files;
  }

  layer(root: Block): StorageLayer {
    const id = this.#add(root);
    const { signatures, asRoot } = this.#facts;
    if (typeof signatures === 'string') {
      const said = `whether a clone of ${root.path} stands beside it could not be looked for: ${signatures}`;
      this.#nodes.get(id)?.findings.push({ severity: asRoot ? 'warning' : 'info', check: 'clone', said });
    }
    return this.#finish(id, new Set()) ?? { id, type: 'other', name: root.path, details: {}, findings: [], below: [] };
  }

  /** Undefined for a layer that would lie on itself. */
  #finish(id: string, above: ReadonlySet<string>): StorageLayer | undefined {
    const known = this.#done.get(id);
    const node = this.#nodes.get(id);
    if (known !== undefined || node === undefined || above.has(id)) return known;
    const path = new Set([...above, id]);
    const below = [...node.below].flatMap((each) => this.#finish(each, path) ?? []);
    const layer: StorageLayer = {
      id,
      type: node.type,
      name: node.name,
      details: defined(node.details),
      findings: distinct(node.findings),
      below,
    };
    this.#done.set(id, layer);
    return layer;
  }

  #node(id: string, type: LayerType, name: string, details: Details): Node {
    const known = this.#nodes.get(id);
    if (known !== undefined) return known;
    const node: Node = { id, type, name, details, findings: [], below: new Set() };
    this.#nodes.set(id, node);
    return node;
  }

  #add(block: Block): string {
    const mapper = this.#facts.mappers.get(block.number);
    const identity = mapper === undefined ? undefined : lvmIdentity(mapper.uuid);
    const node =
      mapper !== undefined && identity !== undefined
        ? this.#volume(block, mapper, identity)
        : isArray(block.type)
          ? this.#array(block)
          : this.#device(block);
    if (this.#visited.has(block.number)) return node.id;
    this.#visited.add(block.number);
    if (mapper !== undefined) this.#mapperHealth(node, mapper);
    if (block.suspended)
      node.findings.push(error('device-mapper', `${block.path} is suspended: all writes to it wait`));
    this.#clones(node, block);
    for (const each of block.below) this.#lay(node, each, identity);
    const file = this.#files.get(block.number);
    if (file !== undefined) {
      this.#done.set(file.id, file);
      node.below.add(file.id);
    }
    return node.id;
  }

  /** Below a volume stand its parts, or its group if it lies on devices that are no volumes. */
  #lay(node: Node, below: Block, identity: LvmIdentity | undefined): void {
    const other = this.#facts.mappers.get(below.number);
    const part = other !== undefined && lvmIdentity(other.uuid)?.group === identity?.group;
    if (identity === undefined || part) {
      const id = this.#add(below);
      if (id !== node.id) node.below.add(id);
      return;
    }
    node.below.add(this.#group(identity.group, node.details['vg'] ?? '', below));
  }

  #volume(block: Block, mapper: Mapper, identity: LvmIdentity): Node {
    const names = volumeOfMapper(mapper.name) ?? { group: '', volume: mapper.name };
    const group = this.#facts.groups.get(names.group);
    const row = typeof group === 'object' ? group.volumes.find(({ uuid }) => uuid === identity.volume) : undefined;
    const pool = row?.segtype === 'thin-pool' || identity.suffix === 'tpool';
    const volume = row?.name ?? names.volume.replace(/-(real|cow|tpool|pool)$/, '');
    const device = mapperName(names.group, volume);
    const node = this.#node(`lv:${identity.volume}`, pool ? 'thin-pool' : 'lv', `${names.group}/${volume}`, {
      ...common(block),
      // Whichever of the volume's devices was met first: this is the one to use.
      path: `/dev/mapper/${pool ? `${device}-tpool` : device}`,
      vg: names.group,
      lv: volume,
      uuid: identity.volume,
      dm: pool ? `${device}-tpool` : device,
      ...(row === undefined ? {} : volumeDetails(row)),
    });
    if (row !== undefined) node.findings.push(...volumeFindings(row, this.#facts.status instanceof Map));
    else node.findings.push(unasked('lvm', node.name, whyNot(group), pool && this.#facts.asRoot));
    // A volume that lies on no device at all (thin ones lie on their pool) still belongs to its group.
    if (block.below.length === 0) node.below.add(this.#group(identity.group, names.group, undefined));
    return node;
  }

  #group(uuid: string, name: string, seen: Block | undefined): string {
    const id = `vg:${uuid}`;
    const fresh = !this.#nodes.has(id);
    const group = this.#facts.groups.get(name);
    const answered: Group | undefined = typeof group === 'object' ? group : undefined;
    const node = this.#node(id, 'vg', name, {
      name,
      uuid,
      extentBytes: answered?.group.extentBytes,
      freeBytes: answered?.group.freeBytes,
      size: answered?.group.size,
      attr: answered?.group.attr,
    });
    if (answered === undefined) {
      if (fresh) node.findings.push(unasked('lvm', `volume group ${name}`, whyNot(group)));
      if (seen !== undefined) node.below.add(this.#physical(`pv:block:${seen.number}`, seen.path, {}, seen));
      return id;
    }
    if (!fresh) return id;
    node.findings.push(...groupFindings(answered.group), ...physicalFindings(answered.physical));
    for (const { device, uuid: own, attr, size, missing } of answered.physical) {
      if (attr.startsWith('d')) continue;
      const block = this.#facts.physicalBlocks.get(device);
      const details = { uuid: own, attr, size, missing: String(missing) };
      const title = missing ? `missing physical volume ${own}` : device;
      node.below.add(this.#physical(`pv:${own}`, title, details, block));
      if (block === undefined && !missing) node.findings.push(unasked('lvm', device, 'its device cannot be seen'));
    }
    return id;
  }

  #physical(id: string, name: string, details: Details, block: Block | undefined): string {
    const node = this.#node(id, 'pv', name, details);
    if (block !== undefined) node.below.add(this.#add(block));
    return id;
  }

  #array(block: Block): Node {
    const array = this.#facts.arrays.get(block.number);
    const id = array?.uuid === undefined ? `block:${block.number}` : `md:${array.uuid}`;
    const fresh = !this.#nodes.has(id);
    const node = this.#node(id, 'md', block.path, {
      ...common(block),
      level: array?.level ?? block.type,
      uuid: array?.uuid,
      metadata: array?.metadata,
      state: array?.state,
      disks: array?.disks?.toString(),
    });
    if (fresh) {
      if (array === undefined) node.findings.push(unasked('md', block.path, 'nothing is known of it', true));
      else node.findings.push(...arrayFindings(block.path, array));
    }
    return node;
  }

  #device(block: Block): Node {
    const type = layerType(block.type);
    const cloud =
      type === 'disk'
        ? cloudDiskOf(block, this.#facts.links.get(block.kernelName) ?? [], this.#facts.chassis)
        : undefined;
    return this.#node(`block:${block.number}`, type, block.path, {
      ...common(block),
      dm: this.#facts.mappers.get(block.number)?.name,
      backingFile: this.#facts.loops.get(block.number),
      serial: block.serial,
      vendor: block.vendor,
      model: block.model,
      wwn: block.wwn,
      hctl: block.hctl,
      transport: block.transport,
      cloud: cloud?.cloud,
      volume: cloud?.volume,
    });
  }

  #mapperHealth(node: Node, mapper: Mapper): void {
    const { status, asRoot } = this.#facts;
    const grave = node.type === 'thin-pool' && asRoot;
    // What is only mapped to other places has no health of its own.
    if (node.type === 'lv' && ['linear', 'striped'].includes(node.details['segtype'] ?? '') && !(status instanceof Map))
      return;
    if (typeof status === 'string') node.findings.push(unasked('device-mapper', node.name, status, grave));
    else {
      const targets = status.get(mapper.name);
      if (targets === undefined) {
        node.findings.push(unasked('device-mapper', node.name, `dmsetup does not show ${mapper.name}`, grave));
      } else node.findings.push(...mapperFindings(node.name, targets));
    }
  }

  #clones(node: Node, block: Block): void {
    const { signatures, loops, writableLoops } = this.#facts;
    if (typeof signatures === 'string') return;
    const ours = this.#ownPaths();
    const own = signatures.filter(({ device }) => device === block.path || device === `/dev/${block.kernelName}`);
    const others = signatures.filter(({ device }) => !ours.has(device) && !this.#inOwnGroup(device));
    const file = loops.get(block.number);
    for (const each of own) {
      node.findings.push(
        ...cloneFindings(block.path, each, others, ours).map((finding): Finding => {
          const twin = others.find(({ device }) => finding.said.startsWith(`${device} `));
          const same = file !== undefined && twin !== undefined && writableLoops.get(twin.device) === file;
          return same && block.readOnly === 'false'
            ? error('clone', `${block.path} and ${twin.device} both write to ${file}`)
            : finding;
        }),
      );
    }
  }

  #ownPaths(): ReadonlySet<string> {
    return new Set([...this.#facts.blocks.values()].flatMap(({ path, kernelName }) => [path, `/dev/${kernelName}`]));
  }

  /** Snapshots of a volume stand in its own group, and the volume manager keeps them apart. */
  #inOwnGroup(device: string): boolean {
    if (!device.startsWith('/dev/mapper/')) return false;
    return this.#facts.groups.has(volumeOfMapper(device.slice('/dev/mapper/'.length))?.group ?? '');
  }
}
