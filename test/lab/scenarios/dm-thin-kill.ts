import assert from 'node:assert/strict';
import { join } from 'node:path';
import { messageOf } from '../../../src/model/errors.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import type { Scenario } from '../scenario.ts';
import { differences, inventory, writes } from '../guest/storage.ts';
import type { Target } from './dm-thin/faults.ts';

interface Case {
  readonly target: Target;
  readonly step: number;
  readonly struck: boolean;
  readonly said: string;
  /** Longest round of the writer around the cut. */
  readonly pauseMs: number;
  readonly released: string;
  readonly left: readonly string[];
  readonly lag?: number;
}

interface Result {
  readonly cases: readonly Case[];
  readonly ids: readonly number[];
  readonly writable: readonly boolean[];
}

const limitMs = 8000;
/** What is promised where programs start quickly. */
const graceMs = 1000;
/** The guest is slow, and slower with the stand-ins: an undo of two volumes starts some twenty programs of up to 100 ms, alone on the machine. */
const slowMs = 5000;

/** Step and target of the small run: one in each phase, and each of the processes once. */
const few: readonly (readonly [number, Target])[] = [
  [1, 'executor'],
  [3, 'node'],
  [4, 'all-but-timer'],
  [5, 'all-but-watcher'],
  [2, 'hang'],
  [6, 'watcher'],
];

export const scenario: Scenario = {
  name: 'dm-thin-kill',
  full: true,
  about: 'whatever is killed at whatever step of a cut of thin volumes, all is resumed and thawed, and no id is left',
  disks: [{ name: 'a', bytes: 2 * 1024 ** 3 }],
  memMiB: 640,
  timeoutMs: 45 * 60_000,
  async run(guest, { full }) {
    const { node, project } = await import('../guest/guest.ts');
    const { collect, lagOf, located, makePair, pauseIn, poolIds, signal, startWriter } =
      await import('./dm-thin/pair.ts');
    const { faultyExec, plant, stepCount, struck, targets } = await import('./dm-thin/faults.ts');
    const all = Array.from({ length: stepCount }, (_, index) =>
      targets.map((target): readonly [number, Target] => [index + 1, target]),
    ).flat();
    const pair = await makePair();
    const provider = pair.provider();
    await startWriter(pair);
    const group = await located(provider, pair);
    const before = await inventory();
    const cases: Case[] = [];
    for (const [step, target] of full ? all : few) {
      const label = `stillpoint-${target}-${step}`;
      await plant(step, target);
      const from = systemClock.monoMs();
      let said: string;
      if (target === 'node' || target.startsWith('all-but')) {
        const child = systemExec.start({
          argv: [
            node,
            join(project, 'test/lab/scenarios/dm-thin/cut.ts'),
            label,
            `${limitMs}ms`,
            JSON.stringify(group),
          ],
        });
        const { exitCode, killedBy } = await child.exited;
        said = `${exitCode ?? killedBy ?? ''} ${child.stderrTail().slice(0, 300)}`;
      } else {
        said = await pair
          .provider({ exec: faultyExec, limit: `${limitMs}ms` })
          .cut(group, label, signal)
          .then(
            () => 'cut',
            (error: unknown) => messageOf(error),
          );
      }
      // Nobody of ours does anything for as long as the limit allows: the watchdogs alone must have ended it.
      await systemClock.sleep(target === 'executor' || target === 'watcher' || target === 'timer' ? 500 : limitMs);
      const pauseMs = pauseIn(from, systemClock.monoMs());
      const refs = provider.refs(group, label);
      const released = await (provider.release?.(refs) ?? Promise.reject(new Error('no release'))).then(
        () => 'released',
        (error: unknown) => messageOf(error),
      );
      const kept = (await collect(provider.list(group))).length;
      const lag = kept === 2 ? await lagOf(provider, refs, pair) : undefined;
      for (const ref of refs) await provider.delete(ref);
      const left = differences(before, await inventory());
      cases.push({
        target,
        step,
        struck: struck(),
        said,
        pauseMs,
        released,
        left,
        ...(lag === undefined ? {} : { lag }),
      });
      guest.log(JSON.stringify(cases.at(-1)));
    }
    return {
      cases: cases as unknown as [],
      ids: await poolIds(),
      writable: await Promise.all(pair.paths.map(({ path }) => writes(path))),
    };
  },
  assess(json) {
    const result = json as unknown as Result;
    for (const each of result.cases) {
      const name = `${each.target} at step ${each.step}: ${JSON.stringify(each)}`;
      assert.ok(each.struck, name);
      assert.equal(each.released, 'released', name);
      assert.deepEqual(each.left, [], name);
      assert.ok(each.pauseMs <= limitMs + graceMs + slowMs, name);
      assert.ok(each.lag === undefined || each.said !== 'cut' || each.lag === 0 || each.lag === 1, name);
    }
    assert.ok(
      result.ids.every((id) => id < 1000),
      `ids of ours are left: ${result.ids.join(', ')}`,
    );
    assert.deepEqual(result.writable, [true, true]);
  },
};
