/**
 * A virtual machine under emulation (TCG; no KVM is used) with the real guest agent: what the provider `qemu` does to a running machine.
 * All scenarios share one boot and leave the machine thawed and without snapshots.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { overlaps, totalBytes } from '../../../src/model/ranges.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import type { SnapshotProvider } from '../../../src/ports/snapshot-provider.ts';
import type { ScenarioResult } from '../run.ts';
import type { Json } from '../scenario.ts';
import { guestPaths, guestProvider } from './guest-provider.ts';
import { leftovers } from './leftovers.ts';
import { bootMachine, type VirtualMachine } from './machine.ts';
import { whyNoMachine } from './initramfs.ts';

export interface MachineScenario {
  readonly name: string;
  readonly about: string;
  run(scene: MachineScene, parameters: { readonly full: boolean }): Promise<Json>;
}

export interface MachineScene {
  readonly machine: VirtualMachine;
  /** A new instance, as after a restart of the program. */
  provider(): SnapshotProvider;
  leftovers(): Promise<readonly string[]>;
}

const { signal } = new AbortController();
const freezeMs = 60_000;
const median = (numbers: readonly number[]): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0;
const rounded = (ms: number): number => Math.round(ms * 10) / 10;

/** Cuts both disks, opens both copies with their logs replayed, and reads the two numbers. */
async function cutPair(
  scene: MachineScene,
  label: string,
  around: (cut: () => Promise<void>) => Promise<void>,
): Promise<{ readonly first: number; readonly second: number; readonly ms: number; readonly transactionMs: number }> {
  const provider = scene.provider();
  const group = await provider.prepare(await provider.locate(guestPaths(scene.machine), signal), signal);
  assert.equal(group.length, 2);
  const refs = provider.refs(group, label);
  try {
    let [ms, transactionMs] = [0, 0];
    await around(async () => {
      const began = systemClock.monoMs();
      const { cuts } = await provider.cut(group, label, signal);
      ms = systemClock.monoMs() - began;
      transactionMs = (cuts[0]?.fixed.monoMs ?? 0) - (cuts[0]?.called.monoMs ?? 0);
    });
    const numbers: number[] = [];
    for (const ref of refs) {
      await using snapshot = await scene.provider().open(ref);
      const file = snapshot.at('/a/n') ?? snapshot.at('/b/n');
      assert.ok(file !== undefined);
      numbers.push(Number(await readFile(file, 'utf8')));
      await snapshot.proveWhole?.();
    }
    const [first = Number.NaN, second = Number.NaN] = numbers;
    return { first, second, ms, transactionMs };
  } finally {
    for (const ref of refs) await scene.provider().delete(ref);
  }
}

async function pairs(scene: MachineScene, rounds: number, frozen: boolean): Promise<Json> {
  const [cutMs, transactionMs, holdMs]: [number[], number[], number[]] = [[], [], []];
  const seen: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const pair = await cutPair(scene, `stillpoint-pair-${round}`, async (cut) => {
      if (!frozen) return await cut();
      using agent = await scene.machine.agent();
      const began = systemClock.monoMs();
      try {
        await agent.freeze(freezeMs);
        assert.equal(await agent.status(), 'frozen');
        await cut();
        assert.equal(await agent.status(), 'frozen');
      } finally {
        await agent.thaw();
      }
      holdMs.push(systemClock.monoMs() - began);
    });
    assert.ok(pair.first === pair.second || pair.first === pair.second + 1, `${pair.first} and ${pair.second}`);
    cutMs.push(pair.ms);
    transactionMs.push(pair.transactionMs);
    seen.push(pair.first);
  }
  assert.ok((seen.at(-1) ?? 0) > (seen[0] ?? 0), `the writer stood still: ${seen.join(' ')}`);
  return {
    rounds,
    cutMs: rounded(median(cutMs)),
    cutMsMax: rounded(Math.max(...cutMs)),
    transactionMs: rounded(median(transactionMs)),
    ...(frozen ? { holdMs: rounded(median(holdMs)) } : {}),
  };
}

const pairFrozen: MachineScenario = {
  name: 'qemu-pair-frozen',
  about:
    'two disks cut in one transaction while the agent holds the guest frozen: the pair is whole, and the hook was called',
  async run(scene, { full }) {
    const result = await pairs(scene, full ? 20 : 2, true);
    const said = await scene.machine.console();
    assert.ok(said.includes('LAB: hook freeze') && said.includes('LAB: hook thaw'));
    return result;
  },
};

const pairLive: MachineScenario = {
  name: 'qemu-pair-live',
  about:
    'two disks cut in one transaction under a writer, without a freeze: after the replay of the logs the pair is whole',
  run: (scene, { full }) => pairs(scene, full ? 40 : 3, false),
};

const vetoed: MachineScenario = {
  name: 'qemu-hook-veto',
  about: 'a hook that fails keeps the guest from being frozen',
  async run({ machine }) {
    await machine.shell('touch /run/veto');
    using agent = await machine.agent();
    await assert.rejects(agent.freeze(freezeMs), { message: /hook has failed/ });
    assert.equal(await agent.status(), 'thawed');
    await agent.thaw();
    agent[Symbol.dispose]();
    await machine.shell('rm /run/veto');
    return {};
  },
};

const orphaned: MachineScenario = {
  name: 'qemu-orphaned-freeze',
  about: 'an orchestrator killed while the guest is frozen leaves it frozen; the next one sees that and thaws it',
  async run({ machine }) {
    const freezer = systemExec.start({
      argv: [process.execPath, join(import.meta.dirname, 'freezer.ts'), machine.agentSocket],
    });
    try {
      await freezer.firstLine((line) => line === 'frozen', freezeMs);
    } finally {
      freezer.kill('SIGKILL');
      await freezer.exited;
    }
    const began = systemClock.monoMs();
    using agent = await machine.agent();
    const found = await agent.status();
    await agent.thaw();
    assert.equal(found, 'frozen');
    assert.equal(await agent.status(), 'thawed');
    agent[Symbol.dispose]();
    const before = Number(await machine.shell('cat /b/n'));
    await sleep(500);
    assert.ok(Number(await machine.shell('cat /b/n')) > before, 'the writer goes on');
    return { thawedMs: rounded(systemClock.monoMs() - began) };
  },
};

const changed: MachineScenario = {
  name: 'qemu-changed-blocks',
  about: 'the dirty bitmap of a running machine names every block that the guest wrote between two cuts',
  async run(scene, { full }) {
    const { machine } = scene;
    const provider = scene.provider();
    const megabytes = full ? 64 : 16;
    const file = '/a/file';
    await machine.shell(`dd if=/dev/urandom of=${file} bs=1M count=${megabytes} conv=fsync 2>/dev/null`);
    const [path] = guestPaths(machine);
    assert.ok(path !== undefined);
    const group = await provider.locate([path], signal);
    const [base] = provider.refs(group, 'stillpoint-base');
    const [ref] = provider.refs(group, 'stillpoint-now');
    assert.ok(base !== undefined && ref !== undefined);
    try {
      await provider.prepare(group, signal);
      await provider.cut(group, base.label, signal);
      const writes = full ? 400 : 40;
      const blocks = megabytes * 256;
      const write = `dd if=/dev/urandom of=${file} bs=4k count=1 conv=notrunc 2>/dev/null`;
      const places = Array.from({ length: writes }, () => Math.floor((Math.random() * blocks) / 4));
      await machine.shell(`for at in ${places.join(' ')}; do ${write} seek=$at; done; sync`);
      // A snapshot in force stands as a filter between the disk and its machine, and must not hide it.
      assert.deepEqual(await provider.locate([path], signal), group);
      await provider.prepare(group, signal);
      await provider.cut(group, ref.label, signal);
      await using newer = await scene.provider().open(ref);
      await using older = await scene.provider().open(base);
      const told = await newer.changedSince?.(base, signal);
      assert.ok(told !== undefined);
      await using _ = told;
      const changes = await told.of(file);
      assert.ok(changes !== undefined);
      const [now, then] = [await readFile(newer.at(file) ?? ''), await readFile(older.at(file) ?? '')];
      let [missed, differ] = [0, 0];
      for (let offset = 0; offset < now.length; offset += 4096) {
        if (now.subarray(offset, offset + 4096).equals(then.subarray(offset, offset + 4096))) continue;
        differ += 4096;
        if (!overlaps(changes.ranges, offset, 4096)) missed += 1;
      }
      assert.equal(missed, 0);
      assert.equal(differ, new Set(places).size * 4096);
      assert.ok(totalBytes(changes.ranges) <= now.length / 2);
      return { fileBytes: now.length, differ, named: totalBytes(changes.ranges), missed };
    } finally {
      for (const one of [ref, base]) await scene.provider().delete(one);
    }
  },
};

const killed: MachineScenario = {
  name: 'qemu-machine-killed',
  about: 'a machine that is killed takes its snapshots along: they are told to be gone, and their files go',
  async run(scene) {
    const provider = scene.provider();
    const group = await provider.prepare(await provider.locate(guestPaths(scene.machine), signal), signal);
    const { cuts } = await provider.cut(group, 'stillpoint-killed', signal);
    const [first] = cuts;
    assert.ok(first !== undefined);
    const snapshot = await provider.open(first.snapshot);
    await scene.machine.kill();
    await assert.rejects(async () => snapshot.proveWhole?.());
    await snapshot[Symbol.asyncDispose]();
    await assert.rejects(provider.open(first.snapshot));
    for (const cut of cuts) await scene.provider().delete(cut.snapshot);
    return {};
  },
};

/** The last one ends the machine. */
export const scenarios: readonly MachineScenario[] = [pairFrozen, pairLive, vetoed, orphaned, changed, killed];

/** Runs the scenarios one after the other on one machine. Never throws: what went wrong is in the results. */
export async function runMachineScenarios(
  chosen: readonly MachineScenario[],
  parameters: { readonly full: boolean },
): Promise<readonly ScenarioResult[]> {
  const resultOf = (name: string, more: Partial<ScenarioResult>): ScenarioResult => ({
    name,
    outcome: 'passed',
    why: undefined,
    ms: 0,
    result: undefined,
    directory: undefined,
    ...more,
  });
  const why = await whyNoMachine();
  if (why !== undefined) return chosen.map(({ name }) => resultOf(name, { outcome: 'skipped', why }));
  const state = await mkdtemp(join(tmpdir(), 'stillpoint-lab-'));
  const results: ScenarioResult[] = [];
  try {
    await using machine = await bootMachine();
    const scene: MachineScene = {
      machine,
      provider: () => guestProvider(machine, state),
      leftovers: () => leftovers(machine.running() ? machine.qmp : undefined, join(state, 'qemu')),
    };
    for (const scenario of chosen) {
      const began = systemClock.monoMs();
      try {
        const result = await scenario.run(scene, parameters);
        assert.deepEqual(await scene.leftovers(), []);
        results.push(resultOf(scenario.name, { result, ms: Math.round(systemClock.monoMs() - began) }));
      } catch (error) {
        results.push(resultOf(scenario.name, { outcome: 'failed', why: inspect(error, { depth: 6 }) }));
        // A guest that one scenario left frozen would hang the next.
        if (machine.running()) {
          using agent = await machine.agent();
          await agent.thaw();
        }
      }
    }
  } catch (error) {
    for (const { name } of chosen.slice(results.length)) {
      results.push(resultOf(name, { outcome: 'failed', why: inspect(error, { depth: 6 }) }));
    }
  } finally {
    await rm(state, { recursive: true });
  }
  return results;
}
