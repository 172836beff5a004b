import { StillpointError } from '../../../model/errors.ts';
import { showJournal, showRegions } from './commands.ts';
import { complaintOf, parseJournalFiles, parseJournalHeader, parseRegions } from './parse.ts';
import type { Programs } from './programs.ts';

/** A backup that is older than so many journal switches is no base for a replica. */
const mostFiles = 2000;

/**
 * Walks the chain of journal files of each region of the primary back to the update with that number: a source server reads them in that
 * order, and stops for ever at a file that is not there. Throws `journal-gap`, NoAnswer.
 */
export async function proveJournals(primary: string, programs: Programs, next: bigint): Promise<void> {
  const { text } = await programs.run(showRegions(programs.place), 60_000);
  const files = parseJournalFiles(text);
  if (files.length === 0 || files.length !== parseRegions(text)?.length)
    throw gap(primary, `not all of its regions are journaled`, next);
  for (const newest of files) {
    let file = newest;
    for (let seen = 1; ; seen += 1) {
      const shown = await programs.text(showJournal(programs.place, file));
      const header = parseJournalHeader(shown);
      if (header === undefined) throw gap(primary, `${file}: ${complaintOf(shown)}`, next);
      if (header.start <= next) break;
      if (header.previous === undefined)
        throw gap(primary, `${file} begins with update ${header.start} and has none before it`, next);
      if (seen === mostFiles) throw gap(primary, `${newest} has more than ${mostFiles} files before it`, next);
      file = header.previous;
    }
  }
}

function gap(primary: string, why: string, next: bigint): StillpointError {
  return new StillpointError('journal-gap', `${primary} lacks journals from update ${next} on: ${why}`, {
    hint: 'take a newer point, or put the journal files back where they were',
  });
}
