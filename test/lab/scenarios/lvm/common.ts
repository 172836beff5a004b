import { lvmThick, lvmThin } from '../../../../src/adapters/snapshot/lvm/provider.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../../../../src/model/storage.ts';
import type { Logger } from '../../../../src/platform/logger.ts';
import type { SnapshotProvider } from '../../../../src/ports/snapshot-provider.ts';
import { realPlatform } from '../../../doubles/platform.ts';
import { guest } from '../../guest/guest.ts';

export const stateDirectory = '/tmp/stillpoint-state';
export const signal = new AbortController().signal;

const log: Logger = { info: (text) => guest.log(text), warn: (text) => guest.log(`warning: ${text}`) };

/** A new instance, as after a restart of the program. */
export function thin(): SnapshotProvider {
  return lvmThin.create({}, realPlatform(stateDirectory, { log }));
}

export function thick(snapshotSize?: string): SnapshotProvider {
  return lvmThick.create(snapshotSize === undefined ? {} : { snapshotSize }, realPlatform(stateDirectory, { log }));
}

export function directory(path: string, name = 'data'): RequiredPath {
  return { path, role: 'data', name, kind: 'directory', companions: [], leftOut: [] };
}

export async function prepared(provider: SnapshotProvider, path: string): Promise<readonly Volume[]> {
  return await provider.prepare(await provider.locate([directory(path)], signal), signal, 60_000);
}

/** Cuts one volume. */
export async function cutOne(
  provider: SnapshotProvider,
  group: readonly Volume[],
  label: string,
): Promise<SnapshotRef> {
  const [cut] = (await provider.cut(group, label, signal)).cuts;
  if (cut === undefined) throw new Error('nothing was cut');
  return cut.snapshot;
}

export async function listOf(provider: SnapshotProvider, group: readonly Volume[]): Promise<readonly SnapshotRef[]> {
  const all: SnapshotRef[] = [];
  for await (const ref of provider.list(group)) all.push(ref);
  return all;
}

export async function codeOfFailure(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return 'none';
  } catch (error) {
    guest.log(String(error));
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}
