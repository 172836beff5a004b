import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isWithin } from '../../../src/platform/files.ts';
import { compileCache } from '../compile-cache.ts';
import { systemExec, type Exec } from '../../../src/platform/exec.ts';
import type { Platform } from '../../../src/ports/module.ts';
import { loopVolume } from '../loop-volume.ts';
import { realPlatform } from '../platform.ts';
import type { State } from './zfs.ts';

/** Datasets of one or several pools, kept by the stand-in. */
export interface ZfsStandIn extends AsyncDisposable {
  readonly platform: Platform;
  /** By name of the dataset. */
  readonly mountPoints: Readonly<Record<string, string>>;
  /** Arguments of all commands, in order. */
  readonly calls: readonly (readonly string[])[];
  /** The next command ends with 1 and these words. */
  failNext(said: string): Promise<void>;
  setStatus(text: string): Promise<void>;
  hold(snapshot: string, holds: number): Promise<void>;
}

export async function zfsStandIn(...datasets: readonly string[]): Promise<ZfsStandIn | { readonly skip: string }> {
  await using stack = new AsyncDisposableStack();
  const mountPoints: Record<string, string> = {};
  for (const dataset of datasets) {
    const volume = await loopVolume('btrfs');
    if ('skip' in volume) return volume;
    stack.use(volume);
    mountPoints[dataset] = volume.mountPoint;
  }
  const directory = await mkdtemp(join(tmpdir(), 'sp-zfs-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const poolOf = (name: string): string => name.split(/[/@]/, 1)[0] ?? name;
  for (const pool of new Set(datasets.map(poolOf))) {
    const own = Object.entries(mountPoints).filter(([name]) => poolOf(name) === pool);
    await writeFile(
      join(directory, `${pool}.json`),
      JSON.stringify({ datasets: Object.fromEntries(own), snapshots: {} }),
    );
  }
  const calls: (readonly string[])[] = [];
  const instead = <C extends { readonly argv: readonly [string, ...string[]] }>(command: C): C => {
    if (!['zfs', 'zpool'].includes(command.argv[0])) return command;
    calls.push(command.argv);
    const program = join(import.meta.dirname, 'zfs.ts');
    return { ...command, env: compileCache(), argv: [process.execPath, program, directory, ...command.argv] };
  };
  const exec: Exec = {
    run: (command) => systemExec.run(instead(command)),
    check: (command) => systemExec.check(instead(command)),
    start: (command) => systemExec.start(instead(command)),
    which: (program) =>
      ['zfs', 'zpool'].includes(program) ? Promise.resolve(`/sbin/${program}`) : systemExec.which(program),
  };
  const real = realPlatform(directory, { exec });
  const platform: Platform = {
    ...real,
    host: {
      ...real.host,
      exec,
      async stackOf(path, signal) {
        const found = await real.host.stackOf(path, signal);
        const dataset = datasets.find((each) => isWithin(found.path, mountPoints[each] ?? '/nonexistent'));
        if (dataset === undefined) return found;
        const fileSystem = {
          id: `filesystem:${dataset}`,
          type: 'filesystem',
          name: 'zfs',
          details: {},
          findings: [],
          below: [],
        } as const;
        return {
          ...found,
          device: dataset,
          fileSystem: 'zfs',
          top: {
            id: `mount:${found.mountPoint}`,
            type: 'mount',
            name: found.mountPoint,
            details: { root: '/' },
            findings: [],
            below: [fileSystem],
          },
        };
      },
    },
  };
  const kept = stack.move();
  return {
    platform,
    mountPoints,
    calls,
    failNext: (said) => writeFile(join(directory, 'fail'), said),
    setStatus: (text) => writeFile(join(directory, 'status'), text),
    async hold(snapshot, holds) {
      const file = join(directory, `${poolOf(snapshot)}.json`);
      const state = JSON.parse(await readFile(file, 'utf8')) as State;
      const held = { ...state.snapshots, [snapshot]: { ...state.snapshots[snapshot], holds } };
      await writeFile(file, JSON.stringify({ ...state, snapshots: held }));
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
