import { createInterface } from 'node:readline';
import { backupPart } from '../flows/barrier-part.ts';
import type { PartLine } from '../flows/barrier-gate.ts';
import type { Answer, Context } from './command.ts';
import { workloadOf } from './select.ts';

/** One part of a group: a coordinator at the other end of standard input and output says when. */
export async function backupPartCommand(context: Context, name: string): Promise<Answer> {
  const session = await context.session();
  // Standard output is the coordinator's.
  await backupPart(workloadOf(session, name), session.environment, { line: standardLine(), signal: context.signal });
  return { document: {}, lines: [] };
}

function standardLine(): PartLine {
  return {
    write: (line) => void process.stdout.write(line),
    listen: (onLine, onEnd) => {
      const reader = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY });
      reader.on('line', onLine);
      reader.once('close', onEnd);
    },
  };
}
