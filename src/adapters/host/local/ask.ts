import { realpath } from 'node:fs/promises';
import type { Command, CommandResult, Exec } from '../../../platform/exec.ts';
import {
  allStates,
  arrayDetail,
  arrayFiles,
  blockLayers,
  chassisFile,
  diskLinks,
  logicalVolumes,
  loopFile,
  mapperFiles,
  mapperStatus,
  physicalVolumes,
  readAll,
  signatures,
  volumeGroup,
  type Argv,
} from './commands.ts';
import { isArray, type Facts, type Group, type Mapper } from './facts.ts';
import { parseLsblk, parseSuspended, type Block } from './parse.ts';
import { lvmIdentity, parseLvs, parsePvs, parseVgs, volumeOfMapper } from './parse-lvm.ts';
import {
  parseArray,
  parseExport,
  parseFiles,
  parseLinks,
  parseMapperStatus,
  parseSignatures,
  type ArrayState,
  type Signature,
} from './parse-system.ts';

const timeoutMs = 15_000;

type Asking = Pick<Exec, 'run' | 'which'>;

/** Asks; changes nothing. The text instead of facts is what lsblk said when it knows none of the devices. */
export async function gather(exec: Asking, devices: readonly string[], signal: AbortSignal): Promise<Facts | string> {
  const asker = new Asker(exec, signal);
  const roots = await asker.blocksOf(devices);
  if (typeof roots === 'string') return roots;
  await asker.lookBelow(roots);
  const facts = await asker.facts(roots);
  // What a cancelled command did not answer must not pass for an answer.
  signal.throwIfAborted();
  return facts;
}

class Asker {
  readonly #exec: Asking;
  readonly #signal: AbortSignal;
  readonly #blocks = new Map<string, Block>();
  readonly #mappers = new Map<string, Mapper>();
  readonly #loops = new Map<string, string>();
  readonly #arrays = new Map<string, ArrayState>();
  readonly #groups = new Map<string, Group | string>();
  readonly #physical = new Map<string, Block>();
  readonly #asRoot = process.geteuid?.() === 0;
  readonly #programs = new Map<string, boolean>();
  #chassis: string | undefined;
  #states: Promise<string | undefined> | undefined;

  constructor(exec: Asking, signal: AbortSignal) {
    this.#exec = exec;
    this.#signal = signal;
  }

  async blocksOf(devices: readonly string[]): Promise<readonly Block[] | string> {
    const argv = blockLayers(devices);
    const result = await this.#run(argv);
    if (typeof result === 'string') return result;
    // 64: some of them were found.
    if (result.exitCode !== 0 && result.exitCode !== 64) return result.stderr.trim();
    return parseLsblk(result.stdout, argv.join(' '));
  }

  /** A volume group brings in physical volumes that the path itself does not lie on, and those may lie on further groups. */
  async lookBelow(roots: readonly Block[]): Promise<void> {
    let fresh = this.#take(roots);
    while (fresh.length > 0) {
      await this.#readFiles(fresh);
      const devices = await this.#askGroups();
      const found = devices.length === 0 ? [] : await this.blocksOf(devices);
      fresh = typeof found === 'string' ? [] : this.#take(found);
      for (const device of devices) await this.#place(device);
    }
  }

  async facts(roots: readonly Block[]): Promise<Facts> {
    const [status, links, found] = await Promise.all([this.#status(), this.#links(), this.#signatures()]);
    return {
      asRoot: this.#asRoot,
      roots,
      blocks: this.#blocks,
      mappers: this.#mappers,
      loops: this.#loops,
      arrays: this.#arrays,
      groups: this.#groups,
      physicalBlocks: this.#physical,
      status,
      links,
      chassis: this.#chassis,
      signatures: found,
      writableLoops: typeof found === 'string' ? new Map() : await this.#writableLoops(found),
    };
  }

  /** Blocks not met before, with all below them. */
  #take(roots: readonly Block[]): readonly Block[] {
    const fresh: Block[] = [];
    const walk = (block: Block): void => {
      if (this.#blocks.has(block.number)) return;
      this.#blocks.set(block.number, block);
      fresh.push(block);
      for (const each of block.below) walk(each);
    };
    for (const root of roots) walk(root);
    return fresh;
  }

  async #readFiles(fresh: readonly Block[]): Promise<void> {
    const arrays = fresh.filter(({ type }) => isArray(type));
    const membersOf = (array: Block): readonly string[] => array.below.map(({ kernelName }) => kernelName);
    const files = [
      ...(this.#blocks.size === fresh.length ? [chassisFile] : []),
      ...fresh.filter(({ kernelName }) => kernelName.startsWith('dm-')).flatMap(({ number }) => mapperFiles(number)),
      ...fresh.filter(({ type }) => type === 'loop').map(({ number }) => loopFile(number)),
      ...arrays.flatMap((array) => arrayFiles(array.number, membersOf(array))),
    ];
    const values = await this.#files(files);
    this.#chassis ??= values.get(chassisFile);
    for (const { number } of fresh) {
      const [name, uuid] = mapperFiles(number).map((file) => values.get(file));
      if (name !== undefined && uuid !== undefined) this.#mappers.set(number, { name, uuid });
      const backing = values.get(loopFile(number));
      if (backing !== undefined) this.#loops.set(number, backing);
    }
    for (const array of arrays) {
      const result = await this.#ask(arrayDetail(array.path));
      const detail = parseExport(typeof result === 'string' ? '' : result.stdout);
      this.#arrays.set(array.number, parseArray(values, array.number, membersOf(array), detail));
    }
  }

  /** Asks for groups not asked for yet, and returns the devices of their physical volumes that are there. */
  async #askGroups(): Promise<readonly string[]> {
    const devices: string[] = [];
    for (const { name, uuid } of this.#mappers.values()) {
      const group = lvmIdentity(uuid) === undefined ? undefined : volumeOfMapper(name)?.group;
      if (group === undefined || this.#groups.has(group)) continue;
      const answer = await this.#group(group);
      this.#groups.set(group, answer);
      if (typeof answer !== 'string') {
        devices.push(...answer.physical.filter(({ missing }) => !missing).map(({ device }) => device));
      }
    }
    return devices;
  }

  async #group(name: string): Promise<Group | string> {
    // LVM's tools read devices to find physical volumes, and a read of a suspended one blocks for as long as that lasts.
    const suspended = await (this.#states ??= this.#suspended());
    if (suspended !== undefined) return suspended;
    const [volumes, group, physical] = await Promise.all([
      this.#ask(logicalVolumes(name)),
      this.#ask(volumeGroup(name)),
      this.#ask(physicalVolumes(name)),
    ]);
    for (const each of [volumes, group, physical]) if (typeof each === 'string') return each;
    if (typeof volumes === 'string' || typeof group === 'string' || typeof physical === 'string') return 'no answer';
    const command = (result: CommandResult): string => result.argv.join(' ');
    return {
      volumes: parseLvs(volumes.stdout, command(volumes)),
      group: parseVgs(group.stdout, command(group)),
      physical: parsePvs(physical.stdout, command(physical)),
    };
  }

  async #place(device: string): Promise<void> {
    const real = await realpath(device).catch(() => device);
    const block = [...this.#blocks.values()].find(
      ({ path, kernelName }) => path === device || path === real || `/dev/${kernelName}` === real,
    );
    if (block !== undefined) this.#physical.set(device, block);
  }

  /** Why devices must not be read now, if so. */
  async #suspended(): Promise<string | undefined> {
    const argv = allStates();
    const result = await this.#ask(argv);
    if (typeof result === 'string') return result;
    const paths = parseSuspended(result.stdout, argv.join(' '));
    return paths.length === 0 ? undefined : `${paths.join(', ')} is suspended, and asking could block`;
  }

  async #status(): Promise<Facts['status']> {
    if (this.#mappers.size === 0) return new Map();
    const result = await this.#ask(mapperStatus());
    return typeof result === 'string' ? result : parseMapperStatus(result.stdout);
  }

  async #links(): Promise<Facts['links']> {
    const result = await this.#run(diskLinks());
    return parseLinks(typeof result === 'string' ? '' : result.stdout);
  }

  async #signatures(): Promise<Facts['signatures']> {
    // blkid passes over what it may not read, and then all would seem well.
    if (!this.#asRoot) return 'only root may read the devices';
    const suspended = await (this.#states ??= this.#suspended());
    if (suspended !== undefined) return suspended;
    const result = await this.#run(signatures());
    if (typeof result === 'string') return result;
    // 2: it found none.
    if (result.exitCode === 0 || result.exitCode === 2) return parseSignatures(result.stdout);
    return failure(result);
  }

  async #writableLoops(found: readonly Signature[]): Promise<ReadonlyMap<string, string>> {
    const names = found.flatMap(({ device }) => /^\/dev\/(loop\d+)$/.exec(device)?.[1] ?? []);
    const fileOf = (name: string): string => `/sys/block/${name}/loop/backing_file`;
    const readOnlyOf = (name: string): string => `/sys/block/${name}/ro`;
    const values = await this.#files(names.flatMap((name) => [fileOf(name), readOnlyOf(name)]));
    return new Map(
      names.flatMap((name) => {
        const file = values.get(fileOf(name));
        return file === undefined || values.get(readOnlyOf(name)) !== '0' ? [] : [[`/dev/${name}`, file] as const];
      }),
    );
  }

  async #files(files: readonly string[]): Promise<ReadonlyMap<string, string>> {
    if (files.length === 0) return new Map();
    const result = await this.#run(readAll(files));
    return parseFiles(typeof result === 'string' ? '' : result.stdout, files);
  }

  /** The result of a command that ended well, or why there is none. */
  async #ask(argv: Argv): Promise<CommandResult | string> {
    const result = await this.#run(argv);
    return typeof result === 'string' || result.exitCode === 0 ? result : failure(result);
  }

  async #run(argv: Argv): Promise<CommandResult | string> {
    const [program] = argv;
    const there = this.#programs.get(program) ?? (await this.#exec.which(program)) !== undefined;
    this.#programs.set(program, there);
    if (!there) return `the program ${program} is missing`;
    const command: Command = { argv, timeoutMs, signal: this.#signal, env: { LVM_SUPPRESS_FD_WARNINGS: '1' } };
    return await this.#exec.run(command);
  }
}

function failure(result: CommandResult): string {
  const said = result.stderr.trim().split('\n').at(-1) ?? '';
  const how = result.timedOut ? `did not end within ${timeoutMs / 1000} s` : `failed (${result.exitCode ?? 'ended'})`;
  return `\`${result.argv[0] ?? ''}\` ${how}${said === '' ? '' : `: ${said}`}`;
}
