import { randomBytes, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { StillpointError } from '../model/errors.ts';
import { layersOf } from '../model/stack.ts';
import type { StorageLayer } from '../model/storage.ts';
import type { ArrayCloneRequest, ArrayMember } from './array-clone-request.ts';
import { groupName, mapped, openMember, step, type MemberOptions, type Place } from './array-clone-members.ts';
import type { CommandResult } from './exec.ts';
import { pathExists } from './files.ts';
import { parseExamine, parsePartition, sameUuid } from './parse-array-clone.ts';

const defaultStoreBytes = 1024 ** 3;
/** Replaying a full log of a slow disk takes its time. */
const mountMs = 5 * 60_000;
const assembleMs = 60_000;

const mountOptions: Readonly<Record<string, string>> = {
  xfs: 'ro,nouuid,nosuid,nodev',
  btrfs: 'ro,nosuid,nodev',
  ext4: 'ro,nosuid,nodev',
  ext3: 'ro,nosuid,nodev',
  ext2: 'ro,nosuid,nodev',
};

/** mdadm must neither wait for udev nor read this machine's list of arrays; LVM warns of each descriptor that Node has open. */
const quiet = { MDADM_NO_UDEV: '1', LVM_SUPPRESS_FD_WARNINGS: '1' };

/** Walks the recorded stack from the bottom up and makes each layer of it again, from the copies. */
export class Assembly {
  readonly #request: ArrayCloneRequest;
  readonly #place: Place;
  readonly #chosen: ReadonlyMap<string, ArrayMember>;
  readonly #options: MemberOptions;
  /** By id of the layer: two layers may lie on the same one. */
  readonly #made = new Map<string, Promise<string>>();
  #arrays = 0;

  constructor(request: ArrayCloneRequest, place: Place, chosen: ReadonlyMap<string, ArrayMember>) {
    this.#request = request;
    this.#place = place;
    this.#chosen = chosen;
    const { exec, signal, storeBytes = defaultStoreBytes } = request;
    this.#options = { exec, place, storeBytes, signal };
  }

  /** Mounts it, and returns the device that is mounted. */
  async open(): Promise<string> {
    const { stack } = this.#request;
    const options = mountOptions[stack.fileSystem];
    if (options === undefined) throw cannot(`a ${stack.fileSystem}`);
    const fileSystem = layersOf(stack).find(({ type }) => type === 'filesystem');
    if (fileSystem === undefined) throw cannot('a path on no file system');
    const devices: string[] = [];
    for (const below of fileSystem.below) devices.push(await this.#device(below));
    const [device] = devices;
    if (device === undefined) throw cannot('a file system on no device');
    if (this.#request.newFileSystemUuid === true || stack.fileSystem === 'btrfs') {
      await this.#renew(stack.fileSystem, device);
    }
    const all = stack.fileSystem === 'btrfs' ? devices.map((each) => `device=${each}`).join(',') : '';
    const argv = ['mount', '-t', stack.fileSystem, '-o', all === '' ? options : `${options},${all}`] as const;
    await this.#step([...argv, device, this.#place.mountPoint], mountMs);
    return device;
  }

  async #device(layer: StorageLayer): Promise<string> {
    const known = this.#made.get(layer.id);
    if (known !== undefined) return await known;
    const making = this.#make(layer);
    this.#made.set(layer.id, making);
    return await making;
  }

  async #make(layer: StorageLayer): Promise<string> {
    const member = this.#chosen.get(layer.id);
    if (member !== undefined) return await openMember(member.device, this.#indexOf(layer.id), this.#options);
    switch (layer.type) {
      case 'pv':
        return await this.#only(layer);
      case 'partition':
        return await this.#partition(layer);
      case 'md':
        return await this.#array(layer);
      case 'lv':
        return await this.#volume(layer);
      case 'mount':
      case 'filesystem':
      case 'subvolume':
      case 'thin-pool':
      case 'vg':
      case 'crypt':
      case 'loop':
      case 'disk':
      case 'other':
        throw cannot(`${layer.name} (${layer.type})`);
      default:
        return layer.type satisfies never;
    }
  }

  async #only(layer: StorageLayer): Promise<string> {
    const [below] = layer.below;
    if (below === undefined) throw cannot(`${layer.name}, below which nothing is known,`);
    return await this.#device(below);
  }

  async #partition(layer: StorageLayer): Promise<string> {
    const disk = await this.#only(layer);
    const number = Number(/(\d+)$/.exec(layer.name)?.[1]);
    const shown = await this.#step(['partx', '--show', '--raw', '--noheadings', '-o', 'NR,START,SECTORS', disk]);
    const { startSectors, sectors } = parsePartition(shown, number);
    if (!disk.startsWith('/dev/mapper/')) throw cannot('a partition without device mapper');
    return await mapped(this.#options, `${basename(disk)}-p${number}`, `0 ${sectors} linear ${disk} ${startSectors}`);
  }

  async #array(layer: StorageLayer): Promise<string> {
    const devices: string[] = [];
    for (const below of layer.below) devices.push(await this.#device(below));
    await this.#check(layer, devices);
    const number = this.#arrays++;
    const uuid = (randomBytes(16).toString('hex').match(/.{8}/g) ?? []).join(':');
    // Its own UUID mdadm refuses while the original runs, so it gets another one before it starts for the first time.
    await this.#assembled(number, devices, ['--readonly', '--update=uuid', `--uuid=${uuid}`]);
    const name = `sp${uuid.slice(0, 8)}`;
    const device = `/dev/${await this.#assemble(number, devices, ['--readonly', '--update=name', `--name=${name}`])}`;
    // What another mirror half lacks stays so: a resync would read whole disks and write them into the overlays.
    await writeFile(`/sys/block/${basename(device)}/md/sync_action`, 'frozen').catch(() => undefined);
    await this.#step(['mdadm', '--readwrite', device]);
    return device;
  }

  /**
   * The same array as recorded, and no member that the kernel would leave out as outdated. That all were cut at one instant cannot be
   * seen: a running array writes to its superblocks only now and then.
   */
  async #check(layer: StorageLayer, devices: readonly string[]): Promise<void> {
    const uuid = layer.details['uuid'];
    const events = new Set<string>();
    for (const device of devices) {
      const examined = await this.#run(['mdadm', '--examine', '--export', device]);
      const found = parseExamine(examined.stdout);
      const copy = this.#copyOf(device);
      if (found === undefined) throw misfit(`${copy} is no member of an array, and should be one of ${layer.name}`);
      if (uuid !== undefined && !sameUuid(found.uuid, uuid)) {
        throw misfit(`${copy} is a member of array ${found.uuid}, and ${layer.name} is ${uuid}`);
      }
      events.add(found.events);
    }
    const counts = [...events].map(Number);
    if (Math.max(...counts) - Math.min(...counts) > 1) {
      throw misfit(
        `the copies of ${layer.name} are of different times: their event counts are ${[...events].join(', ')}`,
      );
    }
  }

  #indexOf(id: string): number {
    return [...this.#chosen.keys()].indexOf(id);
  }

  #copyOf(device: string): string {
    const index = /-m(\d+)(?:-p\d+)?$/.exec(device)?.[1];
    return [...this.#chosen.values()][Number(index)]?.device ?? device;
  }

  async #assembled(number: number, devices: readonly string[], more: readonly string[]): Promise<void> {
    const kernelName = await this.#assemble(number, devices, more);
    await this.#step(['mdadm', '--stop', `/dev/${kernelName}`]);
  }

  /** Under a free number of its own; the kernel's name of the device is returned. */
  async #assemble(number: number, devices: readonly string[], more: readonly string[]): Promise<string> {
    const node = await freeArray(number);
    const argv = ['mdadm', '--assemble', `/dev/${node}`, '--config=none', '--homehost=stillpoint', ...more, ...devices];
    try {
      await this.#step(argv as unknown as readonly [string, ...string[]], assembleMs);
    } catch (error) {
      throw error instanceof StillpointError ? misfit(`the array cannot be assembled: ${error.message}`, error) : error;
    }
    return node;
  }

  /** All physical volumes of the group get new UUIDs at once, with nothing else of the machine in sight of LVM. */
  async #volume(layer: StorageLayer): Promise<string> {
    const group = layersOf({ top: layer }).find(({ type }) => type === 'vg');
    const volume = layer.details['lv'];
    if (group === undefined || volume === undefined) throw cannot(`${layer.name}, whose volume group is not known,`);
    const name = groupName(this.#place.name);
    const devices: string[] = [];
    for (const physical of group.below) devices.push(await this.#device(physical));
    const seen = ['--devices', devices.join(',')];
    if (!this.#made.has(group.id)) {
      const making = this.#step(['vgimportclone', '--basevgname', name, ...seen, ...devices]);
      this.#made.set(group.id, making);
    }
    try {
      await this.#made.get(group.id);
    } catch (error) {
      throw error instanceof StillpointError
        ? misfit(`the volume group ${group.name} cannot be imported: ${error.message}`, error)
        : error;
    }
    await this.#step(['lvchange', '-y', '-a', 'y', '-K', ...seen, `${name}/${volume}`]);
    return `/dev/${name}/${volume}`;
  }

  /** Only on a file system whose log is empty: it is mounted once for that, where it can be beside its original. */
  async #renew(fileSystem: string, device: string): Promise<void> {
    if (fileSystem === 'btrfs') {
      await this.#step(['btrfstune', '-f', '-u', device], mountMs);
      return;
    }
    const replay = fileSystem === 'xfs' ? 'nouuid' : 'defaults';
    await this.#step(['mount', '-t', fileSystem, '-o', replay, device, this.#place.mountPoint], mountMs);
    await this.#step(['umount', this.#place.mountPoint]);
    if (fileSystem === 'xfs') await this.#step(['xfs_admin', '-U', 'generate', device]);
    else {
      await this.#step(['e2fsck', '-f', '-p', device], mountMs);
      await this.#step(['tune2fs', '-U', randomUUID(), device]);
    }
  }

  async #run(argv: readonly [string, ...string[]]): Promise<CommandResult> {
    const { exec, signal } = this.#options;
    const more = signal === undefined ? {} : { signal };
    return await exec.run({ argv, env: quiet, timeoutMs: assembleMs, ...more });
  }

  async #step(argv: readonly [string, ...string[]], timeoutMs?: number): Promise<string> {
    const { exec } = this.#options;
    const loud: MemberOptions = { ...this.#options, exec: { ...exec, check: (c) => exec.check({ ...c, env: quiet }) } };
    return await step(loud, argv, timeoutMs);
  }
}

/** Numbers that people and `mdadm --assemble --scan` use begin at 0 and count down from 127. */
async function freeArray(number: number): Promise<string> {
  for (let minor = 200 + number; minor < 256; minor += 1) {
    if (!(await pathExists(`/sys/block/md${minor}`))) return `md${minor}`;
  }
  throw new StillpointError('command-failed', 'no number is free for another array');
}

function misfit(message: string, cause?: unknown): StillpointError {
  return new StillpointError('cut-failed', message, {
    hint: 'see that the right copy was given for each member, and that all were made at one instant',
    cause,
  });
}

function cannot(what: string): StillpointError {
  return new StillpointError('volume-unsafe', `${what} cannot be opened from copies of its disks`, {
    hint: 'give a copy of a layer above it (the volume, the array) as the member, or restore the point instead of opening it',
  });
}
