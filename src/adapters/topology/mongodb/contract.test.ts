import { topologyContract } from '../../../../test/contract/topology.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { ReplicaSet } from '../../../../test/doubles/mongodb/replica-set.ts';
import { mongodb } from './topology.ts';

topologyContract('mongodb, stand-in', async () => {
  const set = await ReplicaSet.start({ db1: {}, db2: {}, db3: {} });
  const members = Object.fromEntries(
    set.members.map(({ seat }) => [seat.name, { host: '127.0.0.1', port: set.port(seat.name) }]),
  );
  return {
    create: () =>
      mongodb.create(mongodb.config.parse({ members }), realPlatform('/nonexistent'), () =>
        Promise.reject(new Error('no password')),
      ),
    members: ['db1', 'db2', 'db3'],
    standby: 'db2',
    kill: async (name) => set.kill(name),
    revive: async (name) => set.revive(name),
    lag(name) {
      set.member(name).lagging = true;
      set.write();
      return Promise.resolve({
        [Symbol.asyncDispose]: () => {
          set.member(name).lagging = false;
          return Promise.resolve();
        },
      });
    },
    async failOver() {
      await set.kill('db1');
    },
    dispose: () => set[Symbol.asyncDispose](),
  };
});
