/**
 * Patroni is told to switch over while a backup stands at each of its steps. Until the copy is whole the point is discarded, and the
 * error says what changed; from then on nothing can happen to it any more. No role changes but by that switchover.
 */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { rest, startPatroni, whyNoPatroni, type PatroniCluster } from '../doubles/patroni/cluster.ts';
import { until } from '../doubles/streaming-cluster.ts';
import { patroniWorkload, roundsDynamic } from './rounds/patroni.ts';
import { inBackupMode, judgePostgres, makeSmall, postgresTerm, PostgresWitness } from './rounds/postgres.ts';
import { withServer } from './rounds/patroni-copy.ts';
import { failureOf, Tool } from './rounds/tool.ts';
import { processState } from './stage.ts';

const full = process.env['STILLPOINT_TEST_FULL'] === '1';
const steps = ['locate', 'choose', 'predict', 'prepare', 'freeze', 'cut', 'thaw', 'judge', 'copy'];
/** What the sample takes: a change that is seen right after the thaw, and one that is seen last. */
const sampled = new Set(['standby cut', 'standby copy']);

async function switchOver(cluster: PatroniCluster): Promise<void> {
  const leader = await cluster.leader();
  const candidate = cluster.members.find(({ name }) => name !== leader)?.name;
  assert.ok(leader !== undefined && candidate !== undefined);
  const { status, body } = await rest(`${cluster.member(leader).rest}/switchover`, 'POST', { leader, candidate });
  assert.equal(status, 200, JSON.stringify(body));
  await until(`${candidate} leads`, async () => (await cluster.leader()) === candidate, 120_000);
  await cluster.settled();
}

describe('a switchover at each step of a backup', { timeout: 3_000_000 }, async () => {
  const missing = await whyNoPatroni();

  it('discards the point and says why, until the copy is whole', async (t) => {
    if (missing !== undefined) return t.skip(missing);
    await using cluster = await startPatroni({
      members: 2,
      dynamic: roundsDynamic,
      initdb: [{ 'wal-segsize': '1' }],
    });
    await makeSmall(cluster.member('db1'));
    await using witness = new PostgresWitness(cluster.members);
    await witness.flows();
    const directory = await mkdtemp(join(tmpdir(), 'sp-switchover-'));
    t.after(async () => rm(directory, { recursive: true, force: true }));
    await chmod(directory, 0o711);
    await using tool = new Tool(directory);
    await tool.configure(patroniWorkload(cluster));
    await tool.initRepository();

    for (const from of ['standby', 'primary'] as const) {
      await tool.configure({ ...patroniWorkload(cluster), member: { from } });
      for (const step of [...steps, 'record']) {
        const what = `${from} ${step}`;
        if (!full && !sampled.has(what)) continue;
        const known = tool.points().length;
        const before = await postgresTerm(cluster.members);
        const flow = tool.start(['backup', 'orders'], { STILLPOINT_FAULT: `stop:before:${step}` });
        await until(
          `the flow stands before ${what}`,
          async () => flow.over() || (await processState(flow.pid)) === 'T',
          120_000,
        );
        if (flow.over()) assert.fail(`${what}: it did not reach the step: ${failureOf(await flow.ended).said}`);
        await switchOver(cluster);
        process.kill(flow.pid, 'SIGCONT');
        const ended = await flow.ended;
        await witness.flows();
        const { code, said } = failureOf(ended);
        const made = tool.points().slice(known);
        if (step === 'record') {
          assert.deepEqual(
            [ended.exitCode, made.map(({ verdict }) => verdict)],
            [0, ['application-consistent']],
            `${what}: ${said}`,
          );
        } else {
          assert.ok(ended.exitCode === 4 || ended.exitCode === 5, `${what}: exit code ${ended.exitCode}: ${said}`);
          assert.deepEqual(made, [], what);
          // A leader is restarted as a replica, which may end the tool's sessions before anybody looks at roles.
          assert.match(
            said,
            from === 'standby' ? /changed/ : /changed|session|connection|lost|terminat|starting|stopping|shutting/,
            `${what}: ${code}`,
          );
        }
        t.diagnostic(`${what}: ${ended.exitCode} ${code} ${said.slice(0, 200)}`);
        const after = await postgresTerm(cluster.members);
        assert.notEqual(after.leader, before.leader, what);
        assert.equal(timelineOf(after.term), timelineOf(before.term) + 1, `${what}: one promotion, and no other`);
        assert.equal((await tool.run('recover')).exitCode, 0, what);
        assert.deepEqual([...(await tool.leftovers()), ...(await inBackupMode(cluster.members))], [], what);
      }
    }
    for (const point of tool.points()) {
      const target = join(directory, 'restored');
      assert.equal((await tool.run('restore', point.id, '--target', target)).exitCode, 0);
      const member = (await tool.evidenceOf(point)).cluster?.chosen.member ?? '';
      const { wrong } = await withServer(target, cluster.member(member).dataDirectory, async (connect) =>
        judgePostgres({ name: 'the copy', connect }),
      );
      assert.deepEqual(wrong, []);
      await rm(target, { recursive: true });
    }
  });
});

function timelineOf(term: string): number {
  return Number(/^timeline (\d+)$/.exec(term)?.[1]);
}
