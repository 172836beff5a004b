import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/platform/clock.ts';
import { changedBlocksUnderLoad } from '../contract/changed-blocks-load.ts';
import { snapshotProviderContract } from '../contract/snapshot-provider.ts';
import { memoryProvider, type Shelf } from './memory-provider.ts';

for (const promise of ['one-instant', 'sequential'] as const) {
  snapshotProviderContract(`memory, ${promise}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-memory-'));
    const shelf: Shelf = new Map();
    return {
      directory,
      create: () => memoryProvider(systemClock, shelf, promise),
      atomicity: promise,
      dispose: () => rm(directory, { recursive: true }),
    };
  });
}

changedBlocksUnderLoad(
  'memory',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-memory-'));
    const shelf: Shelf = new Map();
    return {
      directory,
      create: () => memoryProvider(systemClock, shelf),
      atomicity: 'sequential',
      dispose: () => rm(directory, { recursive: true }),
    };
  },
  { bytes: 32 * 1024 * 1024 },
);
