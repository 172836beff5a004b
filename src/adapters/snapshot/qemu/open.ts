import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import type { OpenSnapshot } from '../../../ports/snapshot-provider.ts';
import { changedSince } from './changed.ts';
import { assertThere, openFiles, type OpenContext } from './files.ts';

export async function openSnapshot(ref: SnapshotRef, context: OpenContext): Promise<OpenSnapshot> {
  const files = await openFiles(ref, context);
  return {
    at: (original) => files.at(original),
    async proveWhole() {
      using qmp = await context.connect();
      await assertThere(qmp, ref, files.disks).catch((cause: unknown) => {
        throw new StillpointError('cut-failed', messageOf(cause), { hint: 'make a new point', cause });
      });
    },
    changedSince: (base, signal) => changedSince({ ref, base, files, context, signal }),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}
