/** The run is killed at each of its transitions and after each of its commands that change something; then `recover`. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { splitBackupSteps } from '../../src/flows/mirror-split.ts';
import { restoreSteps, splitRestore } from '../../src/flows/mirror-split-restore.ts';
import type { Around } from '../doubles/clusterpro/reach.ts';
import {
  assertRestoredOrOld,
  assertWhole,
  splitStage,
  type SplitOptions,
  type SplitStage,
} from './mirror-split-stage.ts';
import { never } from './toy-scene.ts';

/** Runs that were killed: kept, for a run's open files must not be collected as forgotten ones. */
const graves: Promise<never>[] = [];

async function forever(): Promise<never> {
  const grave = new Promise<never>(() => undefined);
  graves.push(grave);
  return await grave;
}

const looks = /^(?:clpstat|clpmdstat|clptoratio|cat|systemctl|lsblk|aws ec2 describe-)/;

/** What kills a run at one place, and tells that it came there. */
class Killer {
  readonly killed: Promise<void>;
  #here = (): void => undefined;
  #count = 0;

  constructor() {
    this.killed = new Promise((resolve) => {
      this.#here = resolve;
    });
  }

  async die(): Promise<never> {
    this.#here();
    return await forever();
  }

  at(transition: string): Pick<SplitOptions, 'at'> {
    return { at: async (now) => (now === transition ? await this.die() : undefined) };
  }

  /** When the command of that number, of those that change something, has acted, and before anybody heard of it. */
  after(number: number): Around {
    return {
      after: async ({ argv }) => {
        if (looks.test(argv.join(' '))) return;
        this.#count += 1;
        if (this.#count === number) await this.die();
      },
    };
  }
}

type Running = (stage: SplitStage) => Promise<unknown>;

/** True when it was killed; false when it was done before it came there. */
async function killed(stage: SplitStage, killer: Killer, run: Running): Promise<boolean> {
  const done = run(stage).then(() => false);
  return await Promise.race([done, killer.killed.then(() => true)]);
}

const runBackup: Running = (stage) => stage.backup();

async function assertRecovered(stage: SplitStage): Promise<void> {
  stage.standIn.write('meanwhile');
  const first = await stage.recover();
  assert.deepEqual(first.failures, []);
  const points = (await stage.environment.catalog()).points().length;
  assertWhole(stage.standIn, points);
  const again = await stage.recover();
  assert.deepEqual([again.runs, again.failures], [[], []]);
}

describe('a backup by a split mirror that is killed', () => {
  const transitions = splitBackupSteps.flatMap(({ name }) => [`before:${name}`, `after:${name}`]);
  for (const transition of transitions) {
    it(`${transition} leaves a whole cluster and no snapshot without a point`, async () => {
      const killer = new Killer();
      await using stage = await splitStage(killer.at(transition));
      stage.standIn.write('before');
      assert.equal(await killed(stage, killer, runBackup), true);
      await assertRecovered(stage);
    });
  }

  it('after each of its commands leaves a whole cluster and no snapshot without a point', async () => {
    let places = 0;
    for (let number = 1; ; number += 1) {
      const killer = new Killer();
      await using stage = await splitStage({ around: killer.after(number) });
      stage.standIn.write('before');
      if (!(await killed(stage, killer, runBackup))) break;
      places += 1;
      await assertRecovered(stage);
    }
    assert.ok(places >= 8, String(places));
  });
});

describe('a restore of both sides that is killed', () => {
  const pointed = async (options: SplitOptions, isArmed: { now: boolean }): Promise<[SplitStage, Running]> => {
    const { at, around = {} } = options;
    const stage = await splitStage({
      fastRestore: true,
      at: async (transition) => (isArmed.now ? await at?.(transition) : undefined),
      around: {
        before: async (command) => (isArmed.now ? await around.before?.(command) : undefined),
        after: async (command) => (isArmed.now ? await around.after?.(command) : undefined),
      },
    });
    stage.standIn.write('before');
    const { point } = await stage.backup();
    stage.standIn.write('after');
    isArmed.now = true;
    return [stage, () => splitRestore(stage.workload, stage.environment, { point, signal: never })];
  };

  for (const transition of restoreSteps.flatMap(({ name }) => [`before:${name}`, `after:${name}`])) {
    it(`${transition} has the old disks on both sides, or the new ones on both`, async () => {
      const killer = new Killer();
      const [made, run] = await pointed(killer.at(transition), { now: false });
      await using stage = made;
      assert.equal(await killed(stage, killer, run), true);
      assert.deepEqual((await stage.recover()).failures, []);
      // From the first `--post` on the new disks are the cluster, and may hold what users wrote since.
      const isTaken = ['after:take', 'before:prove', 'after:prove'].includes(transition);
      assert.equal(assertRestoredOrOld(stage.standIn), isTaken ? 'restored' : 'old');
    });
  }

  it('after each of its commands has the old disks on both sides, or the new ones on both', async () => {
    let places = 0;
    for (let number = 1; ; number += 1) {
      const killer = new Killer();
      const [made, run] = await pointed({ around: killer.after(number) }, { now: false });
      await using stage = made;
      if (!(await killed(stage, killer, run))) break;
      places += 1;
      assert.deepEqual((await stage.recover()).failures, []);
      assertRestoredOrOld(stage.standIn);
    }
    assert.ok(places >= 14, String(places));
  });
});
