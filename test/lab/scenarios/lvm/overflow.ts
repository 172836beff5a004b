import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOfFailure, cutOne, prepared, thick } from './common.ts';

const mib = 1024 ** 2;

export interface Overflow {
  /** What `proveWhole` said, by its error code, before and after more was written than the snapshot has space for. */
  readonly before: string;
  readonly after: string;
  /** Opening it anew. */
  readonly again: string;
  readonly origin: boolean;
  readonly deleted: string;
}

/** A snapshot that runs over while it is read, on an origin that goes on. */
export async function overflow(mountPoint: string): Promise<Overflow> {
  const data = join(mountPoint, 'overflow');
  await mkdir(data);
  const file = join(data, 'file');
  await writeFile(file, randomBytes(20 * mib));
  const provider = thick('8MiB');
  const group = await prepared(provider, data);
  const ref = await cutOne(provider, group, 'stillpoint-overflow');
  const snapshot = await provider.open(ref);
  const proved = (): Promise<string> => codeOfFailure(async () => await snapshot.proveWhole?.());
  const before = await proved();
  const newer = randomBytes(20 * mib);
  const handle = await open(file, 'r+');
  await handle.write(newer, 0, newer.length, 0);
  await handle.sync();
  await handle.close();
  const after = await proved();
  await snapshot[Symbol.asyncDispose]();
  const again = await codeOfFailure(() => thick().open(ref));
  const deleted = await codeOfFailure(() => thick().delete(ref));
  return { before, after, again, origin: newer.equals(await readFile(file)), deleted };
}
