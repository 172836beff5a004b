import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { environmentOf } from '../../../src/adapters/application/gtm/commands.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec, type CommandResult } from '../../../src/platform/exec.ts';
import { serverOf } from '../../doubles/gtm-cluster.ts';
import { openGtmPair, type GtmInstance } from '../../doubles/gtm-pair.ts';
import { GtmWitness, kept } from './gtm-witness.ts';
import type { Disturbance, Judged, RoundsSubject } from './subject.ts';

/** A hold of these small files; a plain one stops writers. */
const budgetMs = 10_000;

/** Two instances of GT.M that replicate. Nobody but the round itself fails over, after it killed the primary. */
export async function gtmSubject(): Promise<RoundsSubject> {
  await using undo = new AsyncDisposableStack();
  const pair = undo.use(await openGtmPair({ regions: 2 }));
  const both = [pair.a, pair.b];
  let [leader, replica] = [pair.a, pair.b];
  await leader.startSource();
  await replica.startReceiver();
  const witness = undo.use(new GtmWitness(both));
  witness.load(leader);
  for (const each of both) witness.watch(each);
  await witness.flows();
  let mending: (() => Promise<void>) | undefined;
  const crash = async (instance: GtmInstance): Promise<void> => {
    witness.crashed(instance);
    await instance.crash();
    witness.crashed(instance);
  };
  const restartPrimary = async (): Promise<void> => {
    await leader.comeBack();
    await leader.startSource();
    witness.load(leader);
    witness.watch(leader);
    // It may have got what the other one lost with its memory, and takes that back.
    await crash(replica);
    await replica.rejoin();
    witness.watch(replica);
  };
  const failOver = async (): Promise<void> => {
    [leader, replica] = [replica, leader];
    await leader.stopReceiver();
    await leader.startSource();
    witness.load(leader);
    await replica.rejoin();
    witness.watch(replica);
  };
  const stopped = async (pid: number, ms: number): Promise<void> => {
    process.kill(pid, 'SIGSTOP');
    try {
      await systemClock.sleep(ms);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  };
  const harmless = (kind: string, weight: number, act: Disturbance['act']): Disturbance => ({
    ...{ kind, weight, act },
    explains: false,
  });
  const all = undo.move();
  return {
    name: 'gtm',
    witness,
    budgetMs,
    stopsWriters: true,
    workload: (chance) => ({
      application: { gtm: { ...leader.config, freeze: chance.yes(0.5) ? 'plain' : 'online' } },
      topology: { gtm: { members: Object.fromEntries(both.map((each) => [each.name, placeOf(each)])) } },
      members: Object.fromEntries(both.map((each) => [each.name, { application: each.config }])),
      member: { from: chance.yes(0.3) ? 'primary' : 'prefer-standby' },
      storage: [{ copy: {} }],
      hold: { budget: `${budgetMs}ms` },
    }),
    disturbances: [
      harmless('replica killed', 2, async () => {
        await crash(replica);
        mending = async () => {
          await replica.comeBack();
          await replica.startReceiver();
          witness.watch(replica);
        };
      }),
      harmless('primary killed, started again', 2, async () => {
        await crash(leader);
        mending = restartPrimary;
      }),
      {
        ...{ kind: 'primary killed, failover', weight: 2, explains: true },
        async act() {
          await crash(leader);
          mending = failOver;
        },
      },
      harmless('receiver killed', 1, async () => {
        await replica.killReceiver();
        mending = async () => {
          await replica.stopReceiver().catch(() => undefined);
          await replica.startReceiver();
        };
      }),
      harmless('source killed', 1, async () => {
        await leader.killSource();
        mending = async () => {
          await leader.stopSource().catch(() => undefined);
          await leader.startSource();
        };
      }),
      harmless('update process stopped', 1, async (chance) =>
        stopped(serverOf(replica, / -updateproc /), chance.between(200, 3_000)),
      ),
      harmless('source stopped', 1, async (chance) =>
        stopped(serverOf(leader, / -source /), chance.between(200, 3_000)),
      ),
    ],
    async term() {
      const roles = await Promise.all(
        both.map(async (each) => ({ name: each.name, primary: await each.isPrimary(), history: await each.history() })),
      );
      const primaries = roles.filter(({ primary }) => primary);
      return {
        leader: primaries.map(({ name }) => name).join(' and '),
        roles: roles.map(({ name, primary }) => `${name} ${primary ? 'primary' : 'replica'}`),
        // Starts of the same instance that follow each other change nothing.
        term: primaries
          .map(({ history }) => history.filter((by, index) => by !== history[index - 1]).join(' then '))
          .join(' and '),
      };
    },
    async mend() {
      const work = mending;
      mending = undefined;
      await work?.();
      await witness.flows();
    },
    held: async () => (await Promise.all(both.map(async (each) => each.frozen()))).flat(),
    // Under an online freeze writers go on from the call on.
    certainUntil: ({ hold }) => hold?.freezeCalled.monoMs ?? 0,
    judge: async (directory, name) => judge(directory, name === pair.a.name ? pair.a : pair.b),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function placeOf({ gtm: { place } }: GtmInstance): unknown {
  const { distribution, globalDirectory, replicationInstance, variables: environment } = place;
  return { distribution, globalDirectory, replicationInstance, environment };
}

/** With the engine's programs, as a user would, beside the living original. */
async function judge(directory: string, { gtm: { place } }: GtmInstance): Promise<Judged> {
  const globalDirectory = join(directory, place.globalDirectory);
  const temporary = await mkdtemp(join(tmpdir(), 'sp-judge-'));
  const env = {
    ...environmentOf({ ...place, globalDirectory, replicationInstance: undefined, temporary }),
    SPDB: dirname(globalDirectory),
  };
  const run = async (program: string, ...args: readonly string[]): Promise<CommandResult> =>
    systemExec.run({ argv: [join(place.distribution, program), ...args], env, timeoutMs: 120_000 });
  try {
    const wrong: string[] = [];
    const integ = await run('mupip', 'integ', '-region', '*');
    if (integ.exitCode !== 0) wrong.push(`integ: ${integ.stderr}`);
    const { stdout, stderr } = await run('mumps', '-run', 'check^sprounds');
    await run('mupip', 'rundown', '-region', '*');
    const [, first = 0, last = 0, rows = 0] = (/first (\d+) last (\d+) rows (\d+)/.exec(stdout) ?? []).map(Number);
    wrong.push(...stdout.split('\n').filter((line) => line.startsWith('wrong')));
    if (last === 0) wrong.push(`nothing can be read: ${stdout}${stderr}`);
    if (rows !== Math.min(last, kept) || first !== last - rows + 1) wrong.push(`${rows} rows from ${first} to ${last}`);
    return { last, wrong };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
