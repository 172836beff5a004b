import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import type { StorageLayer, StorageStack } from '../../../model/storage.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { Command, CommandResult, Exec } from '../../../platform/exec.ts';
import { isWithin } from '../../../platform/files.ts';
import { findMount, listDirectory, listMounts, readBelow } from './commands.ts';
import { gather } from './ask.ts';
import type { Facts } from './facts.ts';
import { layersOfFacts } from './graph.ts';
import { btrfsFindings, unasked, warning } from './health.ts';
import { mountOption, overlayDirectories, parseFindmnt, parseTargets, type Mount } from './parse.ts';
import { parseBtrfsDevices } from './parse-system.ts';

const timeoutMs = 15_000;

/** Inode number of the root of every btrfs subvolume (BTRFS_FIRST_FREE_OBJECTID). */
const subvolumeRootInode = 256;

/** File systems on files on file systems: nobody stacks more, and a loop that the kernel hides from us ends here. */
const deepest = 8;

/** Health may change at any moment after it was asked, so that this adds little; but no run may take the answers of the one before. */
const freshMs = 3000;
/** On a machine on which asking takes long, all would else be asked again for every path: as many times as long as it took, at most this. */
const timesAsLong = 4;
const longestFreshMs = 30_000;

/**
 * What is known of devices, for the next question within a few seconds: every provider asks for every path, mostly on the same devices,
 * and each answer takes a dozen commands.
 */
export class Recent {
  readonly #clock: Pick<Clock, 'monoMs'>;
  readonly #answers = new Map<string, { readonly facts: Promise<Facts | string>; endedMs: number }>();
  readonly #results = new Map<string, { readonly result: CommandResult; readonly endedMs: number }>();
  #freshMs = freshMs;

  constructor(clock: Pick<Clock, 'monoMs'>) {
    this.#clock = clock;
  }

  /** `key` tells file systems apart that come to the same devices one after the other. */
  async facts(key: string, ask: () => Promise<Facts | string>): Promise<Facts | string> {
    const now = this.#clock.monoMs();
    for (const [each, { endedMs }] of this.#answers) if (now - endedMs > this.#freshMs) this.#answers.delete(each);
    const known = this.#answers.get(key);
    // Whoever asked first may have been cancelled; that is not this one's failure.
    if (known !== undefined) return await known.facts.catch(ask);
    const answer = { facts: ask(), endedMs: Number.POSITIVE_INFINITY };
    this.#answers.set(key, answer);
    try {
      return await answer.facts;
    } catch (error) {
      this.#answers.delete(key);
      throw error;
    } finally {
      answer.endedMs = this.#clock.monoMs();
      this.#freshMs = Math.min(longestFreshMs, Math.max(freshMs, timesAsLong * (answer.endedMs - now)));
    }
  }

  /**
   * Runs a command that changes nothing, or gives its answer of a moment ago: what LVM and device-mapper say is of all devices, whatever
   * stack is asked for. Not for what must be known now (whether a device is suspended).
   */
  async run(exec: Exec, command: Command): Promise<CommandResult> {
    const key = command.argv.join('\0');
    const known = this.#results.get(key);
    if (known !== undefined && this.#clock.monoMs() - known.endedMs <= this.#freshMs) return known.result;
    const result = await exec.run(command);
    if (result.cancelled || result.timedOut) this.#results.delete(key);
    else this.#results.set(key, { result, endedMs: this.#clock.monoMs() });
    return result;
  }
}

function isOfAll([program, word]: Command['argv']): boolean {
  return ['lvs', 'vgs', 'pvs', 'blkid'].includes(program) || (program === 'dmsetup' && word === 'status');
}

/** One question for one stack. What several of its layers lie on is asked once. */
export class Survey {
  readonly #exec: Exec;
  readonly #signal: AbortSignal;
  /** By the directory that a file lies in. */
  readonly #known = new Map<string, Promise<StorageLayer>>();

  readonly #recent: Recent;

  constructor(exec: Exec, recent: Recent, signal: AbortSignal) {
    this.#exec = exec;
    this.#recent = recent;
    this.#signal = signal;
  }

  /** Remembers what is of all devices, whichever of them is asked about. */
  get #asking(): Pick<Exec, 'run' | 'which'> {
    const exec = this.#exec;
    return {
      which: (program) => exec.which(program),
      run: (command) => (isOfAll(command.argv) ? this.#recent.run(exec, command) : exec.run(command)),
    };
  }

  async stackOf(path: string): Promise<StorageStack> {
    const real = await realPathOf(path);
    const mount = await this.#mountOf(real);
    const top = await this.#mountLayer(real, mount, 0);
    // A cancelled command has no answer, and that must not pass for an answer.
    this.#signal.throwIfAborted();
    return { path: real, mountPoint: mount.target, device: mount.source, fileSystem: mount.fileSystem, top };
  }

  async #mountOf(real: string): Promise<Mount> {
    const argv = findMount(real);
    const { stdout } = await this.#exec.check({ argv, timeoutMs, signal: this.#signal });
    return parseFindmnt(stdout, argv.join(' '));
  }

  async #mountLayer(real: string, mount: Mount, depth: number): Promise<StorageLayer> {
    const fileSystem = await this.#fileSystemLayer(mount, depth);
    const inside = depth === 0 ? await this.#mountsInside(real) : [];
    return {
      id: `mount:${mount.target}`,
      type: 'mount',
      name: mount.target,
      details: {
        options: mount.options,
        root: mount.root,
        ...(inside.length === 0 ? {} : { mountsInside: inside.join('\n') }),
      },
      findings: inside.map((each) => ({
        severity: 'info',
        check: 'mount',
        said: `${each} is a mount of its own and not on this stack`,
      })),
      below: [mount.fileSystem === 'btrfs' ? await subvolumeLayer(real, mount, fileSystem) : fileSystem],
    };
  }

  /** What is mounted below the path is not in a cut of the path's own stack. */
  async #mountsInside(real: string): Promise<readonly string[]> {
    const argv = listMounts();
    const result = await this.#exec.run({ argv, timeoutMs, signal: this.#signal });
    if (result.exitCode !== 0) return [];
    const targets = parseTargets(result.stdout, argv.join(' '));
    return [...new Set(targets)].filter((target) => target !== real && isWithin(target, real));
  }

  async #fileSystemLayer(mount: Mount, depth: number): Promise<StorageLayer> {
    const layer = (
      below: readonly StorageLayer[],
      findings: readonly Finding[] = [],
      details: StorageLayer['details'] = {},
    ): StorageLayer => ({
      // A device's own id, because the same device may be mounted under several of its names.
      id: `filesystem:${mount.source.startsWith('/dev/') ? (below[0]?.id ?? mount.source) : mount.number}`,
      type: 'filesystem',
      name: mount.fileSystem,
      details: { ...(mount.uuid === null ? {} : { uuid: mount.uuid }), ...details },
      findings,
      below,
    });
    if (mount.fileSystem === 'overlay') return await this.#overlay(mount, depth, layer);
    if (!mount.source.startsWith('/dev/')) return layer([otherLayer(mount.source, {})]);
    if (mount.fileSystem !== 'btrfs') return layer(await this.#deviceLayers([mount.source], mount.uuid, depth));
    const { devices, findings } = await this.#btrfsDevices(mount);
    return layer(await this.#deviceLayers(devices, mount.uuid, depth), findings);
  }

  /** What is written lies on the upper directory's file system; the lower ones are only read. */
  async #overlay(
    mount: Mount,
    depth: number,
    layer: (
      below: readonly StorageLayer[],
      findings: readonly Finding[],
      details: StorageLayer['details'],
    ) => StorageLayer,
  ): Promise<StorageLayer> {
    const { upper, lower } = overlayDirectories(mount.options);
    const below: StorageLayer[] = [];
    const findings: Finding[] = [];
    for (const directory of [...(upper === undefined ? [] : [upper]), ...lower]) {
      const found = await this.#layersOfFile(directory, depth);
      if ('why' in found) {
        findings.push(warning('overlay', `what ${directory} of ${mount.target} lies on cannot be seen: ${found.why}`));
        below.push(otherLayer(directory, {}));
      } else if (!below.some(({ id }) => id === found.id)) below.push(found);
    }
    return layer(below, findings, { ...(upper === undefined ? {} : { upper }), lower: lower.join('\n') });
  }

  /** All devices of a btrfs, as the kernel lists them, the one that is mounted first. */
  async #btrfsDevices(
    mount: Mount,
  ): Promise<{ readonly devices: readonly string[]; readonly findings: readonly Finding[] }> {
    const directory = `/sys/fs/btrfs/${mount.uuid ?? ''}`;
    const run = async (argv: readonly [string, ...string[]]): Promise<string> =>
      (await this.#exec.run({ argv, timeoutMs, signal: this.#signal })).stdout;
    const [names, health] = await Promise.all([
      run(listDirectory(`${directory}/devices`)),
      run(readBelow(`${directory}/devinfo`)),
    ]);
    const own = basename(await realpath(mount.source).catch(() => mount.source));
    const others = names.split('\n').filter((name) => name !== '' && name !== own);
    const findings =
      names === ''
        ? [
            warning(
              'btrfs',
              `the devices of the btrfs at ${mount.target} could not be listed: only ${mount.source} is shown`,
            ),
          ]
        : btrfsFindings(mount.target, parseBtrfsDevices(health));
    return { devices: [mount.source, ...others.map((name) => join('/dev', name))], findings };
  }

  async #deviceLayers(
    devices: readonly string[],
    uuid: string | null,
    depth: number,
  ): Promise<readonly StorageLayer[]> {
    const facts = await this.#recent.facts([uuid ?? '', ...devices].join(' '), () =>
      gather(this.#asking, devices, this.#signal),
    );
    // A container sees the mount but often not the device below it; the file system above can be cut all the same.
    if (typeof facts === 'string') return devices.map((device) => otherLayer(device, { lsblk: facts }));
    const lacking = facts.roots.length < devices.length ? await unseen(facts, devices) : [];
    const files = new Map<string, StorageLayer>();
    for (const [number, file] of facts.loops) {
      const found = await this.#layersOfFile(file, depth);
      files.set(
        number,
        'why' in found
          ? {
              ...otherLayer(file, {}),
              findings: [warning('loop', `what ${file} lies on cannot be seen: ${found.why}`)],
            }
          : found,
      );
    }
    return [...layersOfFacts(facts, files), ...lacking];
  }

  async #layersOfFile(file: string, depth: number): Promise<StorageLayer | { readonly why: string }> {
    if (depth >= deepest) return { why: `there are more than ${deepest} file systems on each other` };
    try {
      const known = this.#known.get(dirname(file));
      if (known !== undefined) return await known;
      const real = await realPathOf(file);
      const asked = this.#mountOf(real).then((mount) => this.#mountLayer(real, mount, depth + 1));
      this.#known.set(dirname(file), asked);
      return await asked;
    } catch (error) {
      if (error instanceof StillpointError) return { why: error.message };
      throw error;
    }
  }
}

/** Devices that lsblk passed over, where it knew others of them. */
async function unseen(facts: Facts, devices: readonly string[]): Promise<readonly StorageLayer[]> {
  const seen = new Set(facts.roots.flatMap(({ path, kernelName }) => [path, `/dev/${kernelName}`]));
  const layers: StorageLayer[] = [];
  for (const device of devices) {
    if (seen.has(device) || seen.has(await realpath(device).catch(() => device))) continue;
    layers.push({ ...otherLayer(device, {}), findings: [unasked('device', device, 'lsblk does not know it')] });
  }
  return layers;
}

async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    throw new StillpointError(
      'io',
      codeOf(error) === 'ENOENT' ? `${path} is missing` : `${path} cannot be looked up: ${messageOf(error)}`,
      { hint: 'check that the path is right and its file system is mounted', cause: error },
    );
  }
}

function otherLayer(name: string, details: StorageLayer['details']): StorageLayer {
  return { id: `other:${name}`, type: 'other', name, details, findings: [], below: [] };
}

/**
 * The subvolume that holds the path. `root` is the directory in which it can be seen whole; absent when the mount shows only a part of
 * it (a bind mount of a directory), because then nothing can snapshot it from here. The name is its place in the file system.
 */
async function subvolumeLayer(path: string, mount: Mount, below: StorageLayer): Promise<StorageLayer> {
  const layer = (name: string, details: StorageLayer['details']): StorageLayer => ({
    id: `subvolume:${below.id}:${name}`,
    type: 'subvolume',
    name,
    details,
    findings: [],
    below: [below],
  });
  for (let directory = path; isWithin(directory, mount.target); directory = dirname(directory)) {
    if ((await stat(directory)).ino === subvolumeRootInode) {
      const inside = `${mount.root}/${directory.slice(mount.target.length)}`.replaceAll(/\/+/g, '/');
      const name = inside.length > 1 ? inside.replace(/\/$/, '') : inside;
      return layer(name, { root: directory });
    }
    if (directory === '/') break;
  }
  return layer(mountOption(mount.options, 'subvol') ?? mount.root, {});
}
