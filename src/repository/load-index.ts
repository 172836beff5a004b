import { codeOf, messageOf } from '../model/errors.ts';
import type { Context } from './context.ts';
import { damaged, getFile, listIds } from './files.ts';
import { BlobIndex, decodeIndex, type PackRecord } from './index.ts';

export interface LoadedIndex {
  readonly index: BlobIndex;
  /** Names of the index files that went in. */
  readonly files: ReadonlySet<string>;
  /** Index files that could not be read, with the reason. What only they knew is missing in `index`. */
  readonly damage: readonly { readonly file: string; readonly why: string }[];
}

async function readIndexFile(context: Context, name: string): Promise<PackRecord[]> {
  const { json } = await getFile(context.store, context.key, name);
  try {
    return decodeIndex(json);
  } catch (error) {
    throw damaged(name, 'it is no index', error);
  }
}

/** All index files. `before` is brought up to date if nothing was taken away since, else all is read anew. */
export async function loadIndex(context: Context, before: LoadedIndex | undefined): Promise<LoadedIndex> {
  const names: string[] = [];
  for await (const { name } of listIds(context.store, 'index')) names.push(name);
  const there = new Set(names);
  const kept = before !== undefined && before.damage.length === 0 && [...before.files].every((file) => there.has(file));
  const index = kept ? before.index : new BlobIndex();
  const files = new Set(kept ? before.files : []);
  const damage: { file: string; why: string }[] = [];
  for (const name of names) {
    if (files.has(name)) continue;
    try {
      for (const record of await readIndexFile(context, name)) index.add(record);
      files.add(name);
    } catch (error) {
      // `restic prune` may replace index files between the listing and the reading; that is no damage.
      if (codeOf(error) !== 'repository-damaged') throw error;
      if ((await context.store.stat(name)) === undefined) return await loadIndex(context, undefined);
      damage.push({ file: name, why: messageOf(error) });
    }
  }
  return { index, files, damage };
}
