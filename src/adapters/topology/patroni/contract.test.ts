import assert from 'node:assert/strict';
import { topologyContract } from '../../../../test/contract/topology.ts';
import { rest, startPatroni, whyNoPatroni } from '../../../../test/doubles/patroni/cluster.ts';
import { holdReplay, topologyOf } from '../../../../test/doubles/patroni/scene.ts';

/** Patroni of PATH, and others by the paths of their programs, parted by colons. */
const programs = [
  undefined,
  ...(process.env['STILLPOINT_TEST_PATRONI'] ?? '').split(':').filter((each) => each !== ''),
];

for (const program of programs) {
  topologyContract(`patroni${program === undefined ? '' : `, ${program}`}`, async () => {
    const why = await whyNoPatroni();
    if (why !== undefined) return { skip: why };
    const cluster = await startPatroni({ members: 3, ...(program === undefined ? {} : { program }) });
    const [first] = cluster.members;
    assert.ok(first !== undefined);
    await first.ask('CREATE TABLE filler (t text)');
    return {
      create: () => topologyOf(cluster),
      members: ['db1', 'db2', 'db3'],
      standby: 'db2',
      kill: async (name) => cluster.member(name).kill(),
      revive: async (name) => cluster.member(name).start(),
      lag: async (name) => holdReplay(cluster, name),
      async failOver() {
        const { status } = await rest(`${first.rest}/switchover`, 'POST', { leader: 'db1', candidate: 'db3' });
        assert.equal(status, 200);
      },
      dispose: () => cluster[Symbol.asyncDispose](),
    };
  });
}
