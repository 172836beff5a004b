import { blobStoreContract } from '../contract/blob-store.ts';
import { MemoryStore } from './memory-store.ts';

blobStoreContract('in memory', () => {
  const store = new MemoryStore();
  return Promise.resolve({ store, reopened: () => store, [Symbol.asyncDispose]: () => Promise.resolve() });
});
