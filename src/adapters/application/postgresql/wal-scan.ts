import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from '../../../model/errors.ts';
import type { Copy } from '../../../ports/application.ts';
import { parseLabel, parseLsn, parseSegment, redoOf, tablespaceScan } from './parse.ts';

const blockBytes = 8192;
const chunkBytes = 1024 * 1024;

/** Paths of all tablespaces that recovery of the copy in `data` would create. */
export async function createdTablespaces(data: string, copy: Copy): Promise<ReadonlySet<string>> {
  const segmentBytes = BigInt(copy.facts['walSegmentBytes'] ?? 16 * 1024 * 1024);
  const wal = copy.required.find((each) => each.name === 'wal');
  const directory = wal === undefined ? join(data, 'pg_wal') : copy.at(wal.path);
  const redo = (await recoveryStart(data)) ?? 0n;
  const from = redo / segmentBytes;
  const names = ((await orNothing(readdir(directory))) ?? []).filter((name) => /^[0-9A-F]{24}$/.test(name));
  const segments = names
    .map((name) => ({ name, ...parseSegment(name, segmentBytes) }))
    .filter((segment) => segment.number >= from)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const found = new Set<string>();
  const scan = tablespaceScan(blockBytes, redo);
  for (const { name } of segments) {
    await using file = await open(join(directory, name), 'r');
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes);
      if (bytesRead === 0) break;
      for (const path of scan(buffer.subarray(0, bytesRead))) found.add(path);
    }
  }
  for (const path of scan()) found.add(path);
  return found;
}

/** The label, if there is one, goes before the control file, as in recovery itself. */
async function recoveryStart(data: string): Promise<bigint | undefined> {
  const label = await orNothing(readFile(join(data, 'backup_label'), 'latin1'));
  if (label !== undefined) return parseLsn(parseLabel(label).startLsn);
  const control = await orNothing(readFile(join(data, 'global', 'pg_control')));
  return control === undefined ? undefined : redoOf(control)?.position;
}

/** A copy without these files does not start; the server says so better. */
async function orNothing<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return undefined;
    throw cause;
  }
}
