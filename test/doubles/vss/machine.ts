import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { vss } from '../../../src/adapters/snapshot/vss/provider.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec, type Exec } from '../../../src/platform/exec.ts';
import type { Platform, ReachModule } from '../../../src/ports/module.ts';
import type { SnapshotProvider } from '../../../src/ports/snapshot-provider.ts';
import { loopVolume } from '../loop-volume.ts';
import { realPlatform } from '../platform.ts';
import { windowsMachine } from '../windows/machine.ts';
import { windowsProgram } from './vss.ts';

type Fault = 'veto' | 'timeout' | 'not-elevated' | 'writer-failed' | 'silent';

/** A Windows machine with volumes, kept by the stand-in, and a provider for it. */
export interface VssStandIn extends AsyncDisposable {
  /** Where its volumes are mounted here, in the order of their letters from D on. */
  readonly here: readonly string[];
  create(more?: Readonly<Record<string, unknown>>, change?: (exec: Exec) => Exec): SnapshotProvider;
  /** Through the stand-in of PowerShell, each program a process of its own. */
  readonly exec: Exec;
  /** In front of PATH of a server. */
  readonly bin: string;
  readonly platform: Platform;
  setFault(fault: Fault | undefined): Promise<void>;
  setLanguage(language: 'zh'): Promise<void>;
  /** Shadow copies that exist on it. */
  shadows(): Promise<readonly string[]>;
  /** A shadow copy that somebody else made. */
  addStranger(): Promise<string>;
}

export async function vssStandIn(volumes: number): Promise<VssStandIn | { readonly skip: string }> {
  await using stack = new AsyncDisposableStack();
  const here: string[] = [];
  for (let count = 0; count < volumes; count += 1) {
    const volume = await loopVolume('btrfs');
    if ('skip' in volume) return volume;
    stack.use(volume);
    here.push(volume.mountPoint);
  }
  const machine = stack.use(await windowsMachine());
  const state = join(machine.directory, 'state');
  const drives = here.map((_, index) => join(machine.directory, `drive-${index}`));
  for (const directory of [state, ...drives]) await mkdir(directory);
  stack.defer(async () => {
    for (const drive of drives) await systemExec.run({ argv: ['umount', '-q', drive], timeoutMs: 20_000 });
  });
  const letters = here.map((_, index) => String.fromCodePoint(68 + index));
  const file = join(state, 'state.json');
  await writeFile(
    file,
    JSON.stringify({
      volumes: Object.fromEntries(letters.map((letter, index) => [`${letter}:\\`, here[index]])),
      drives: Object.fromEntries(letters.map((_, index) => [`${String.fromCodePoint(80 + index)}:`, drives[index]])),
      shadows: {},
      writerFailed: false,
    }),
  );
  const main = join(import.meta.dirname, 'vss.ts');
  for (const program of ['diskshadow', 'vssadmin', 'powershell']) {
    await machine.installNode(program, main, state, program);
  }
  // In this process, for the sake of speed; `machine.exec` takes the whole way.
  const run: Exec['run'] = (command) => {
    const startedMs = systemClock.monoMs();
    const cancelled = command.signal?.aborted === true;
    const [program, ...args] = command.argv;
    const ended = cancelled
      ? { exitCode: null, stdout: '' }
      : windowsProgram(state, program.replace(/\.exe$/, ''), args, Buffer.from(command.stdin ?? '').toString('latin1'));
    const endedMs = systemClock.monoMs();
    const more = { killedBy: null, timedOut: false, cancelled, stderr: '', startedMs, endedMs };
    return Promise.resolve({ argv: command.argv, ...ended, ...more });
  };
  const quick: Exec = {
    ...machine.exec,
    run,
    async check(command) {
      const result = await run(command);
      assert.equal(result.exitCode, 0, result.stdout);
      return result;
    },
  };
  const platform = realPlatform(machine.directory);
  const kept = stack.move();
  const read = async (): Promise<{ shadows: Record<string, object> }> =>
    JSON.parse(await readFile(file, 'utf8')) as { shadows: Record<string, object> };
  return {
    here,
    exec: machine.exec,
    bin: machine.bin,
    platform,
    create(more = {}, change = (exec) => exec) {
      const reach: ReachModule<{ shell: 'powershell' }> = {
        kind: 'ssh',
        config: z.strictObject({ shell: z.literal('powershell') }),
        create: (_, local) => ({ ...local, name: 'sql1', exec: change(quick) }),
      };
      const module = vss(reach);
      const settings = module.config.parse({
        host: { ssh: { shell: 'powershell' } },
        volumes: letters.map((letter, index) => ({
          volume: `${letter}:\\`,
          here: here[index],
          expose: `${String.fromCodePoint(80 + index)}:`,
          exposedHere: drives[index],
        })),
        ...more,
      });
      return module.create(settings, platform);
    },
    setFault: (fault) =>
      fault === undefined ? rm(join(state, 'fault'), { force: true }) : writeFile(join(state, 'fault'), fault),
    setLanguage: (language) => writeFile(join(state, 'language'), language),
    shadows: async () => Object.keys((await read()).shadows),
    async addStranger() {
      const found = await read();
      const id = '{00000000-0000-4000-8000-000000000001}';
      await writeFile(
        file,
        JSON.stringify({ ...found, shadows: { ...found.shadows, [id]: { set: id, volume: 'D:\\', at: '/none' } } }),
      );
      return id;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
