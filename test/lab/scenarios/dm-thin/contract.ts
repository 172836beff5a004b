/** Runs inside a guest, started by `node --test`: the contract suite of snapshot providers on the volumes that the scenario made. */
import { dmThin } from '../../../../src/adapters/snapshot/dm-thin/provider.ts';
import { snapshotProviderContract } from '../../../contract/snapshot-provider.ts';
import { realPlatform } from '../../../doubles/platform.ts';

const platform = realPlatform('/tmp/stillpoint-state');

for (const name of ['a', 'b']) {
  snapshotProviderContract(`dm-thin on ${name === 'a' ? 'xfs' : 'ext4'}`, () =>
    Promise.resolve({
      directory: `/mnt/${name}`,
      // The suite knows one path at a time.
      create: () => dmThin.create({ limit: '20s', atLeast: 1 }, platform),
      atomicity: 'one-instant',
      dispose: () => Promise.resolve(),
    }),
  );
}
