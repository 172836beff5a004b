import { complaintOf, type Gtm, unreachable } from './engine.ts';
import { type JournalHeader, parseHeaders } from './parse-journal.ts';

const limitMs = 60_000;
/** mupip cuts a command line at 32767 characters, at any place and without a word. */
export const longestList = 24_000;

/**
 * Headers of files of one region. One mupip reads many, but none of them if one is missing, is no journal or breaks the chain: then each
 * is asked for alone, and what is no journal is left out.
 */
export async function readHeaders(
  gtm: Gtm,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<readonly JournalHeader[]> {
  const found: JournalHeader[] = [];
  for (const list of batchesOf(paths)) {
    const answer = await show(gtm, list, signal);
    if (answer.length === list.length) found.push(...answer);
    else for (const path of list) found.push(...(await show(gtm, [path], signal)));
  }
  return found;
}

async function show(gtm: Gtm, paths: readonly string[], signal: AbortSignal): Promise<readonly JournalHeader[]> {
  const args = ['journal', '-show=header', '-forward', '-noverify', paths.join(',')];
  const answer = await gtm.mupip(args, { limitMs, signal });
  signal.throwIfAborted();
  if (answer.unfinished) throw unreachable(`the header of ${paths[0]} cannot be read: ${complaintOf(answer)}`, answer);
  return parseHeaders(answer.text);
}

function batchesOf(paths: readonly string[]): readonly (readonly string[])[] {
  const batches: string[][] = [];
  let room = 0;
  for (const path of paths) {
    if (room < path.length + 1) {
      batches.push([]);
      room = longestList;
    }
    batches.at(-1)?.push(path);
    room -= path.length + 1;
  }
  return batches;
}
