/** Runs inside a guest, started by `node --test`: the contract suite of snapshot providers on the volumes that the scenario made. */
import { existsSync } from 'node:fs';
import { lvmThick, lvmThin } from '../../../../src/adapters/snapshot/lvm/provider.ts';
import type { SnapshotProvider } from '../../../../src/ports/snapshot-provider.ts';
import { snapshotProviderContract } from '../../../contract/snapshot-provider.ts';
import { realPlatform } from '../../../doubles/platform.ts';

const platform = realPlatform('/tmp/stillpoint-state');
const providers: Readonly<Record<string, () => SnapshotProvider>> = {
  thin: () => lvmThin.create({}, platform),
  thick: () => lvmThick.create({}, platform),
};

for (const [way, create] of Object.entries(providers)) {
  for (const fileSystem of ['xfs', 'ext4']) {
    const directory = `/mnt/${way}-${fileSystem}`;
    if (!existsSync(directory)) continue;
    snapshotProviderContract(`lvm-${way} on ${fileSystem}`, () =>
      Promise.resolve({ directory, create, atomicity: 'one-instant', dispose: () => Promise.resolve() }),
    );
  }
}
