import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileHandle } from 'node:fs/promises';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { JournalSpan } from '../../../model/hold.ts';
import type { CollectedFile } from '../../../ports/application.ts';
import { parseLsn, parseSegment, segmentProof } from './parse.ts';

/** What the engine says its WAL must look like. */
export interface WalFacts {
  readonly systemIdentifier: bigint;
  readonly segmentBytes: bigint;
}

const chunkBytes = 1024 * 1024;

/** Copies every segment of `span` and proves each page while it passes, so that what was proved is what was copied. */
export async function collectJournal(
  span: JournalSpan,
  facts: WalFacts,
  into: string,
  signal: AbortSignal,
): Promise<readonly CollectedFile[]> {
  const collected: CollectedFile[] = [];
  const until = parseLsn(span.to.position);
  for (const name of span.files) {
    signal.throwIfAborted();
    const path = join(span.directory, name);
    const from = join(into, name);
    const complaint = await copySegment(path, from, { name, until, ...facts });
    if (complaint !== undefined) {
      throw new StillpointError(
        'journal-missing',
        `WAL segment ${name} in ${span.directory} is not usable: ${complaint}`,
        {
          hint: 'raise wal_keep_size or max_slot_wal_keep_size, or give the role REPLICATION so that a slot keeps the WAL',
          details: { segment: name, directory: span.directory },
        },
      );
    }
    collected.push({ from, path });
  }
  collected.push(...(await historyOf(span, facts, into)));
  return collected;
}

async function copySegment(
  path: string,
  to: string,
  facts: Parameters<typeof segmentProof>[0],
): Promise<string | undefined> {
  let source;
  try {
    source = await open(path, 'r');
  } catch (cause) {
    return codeOf(cause) === 'ENOENT' ? 'it is gone' : messageOf(cause);
  }
  await using _source = source;
  await using target = await open(to, 'w', 0o600);
  await ownLike(source, target);
  const prove = segmentProof(facts);
  const buffer = Buffer.allocUnsafe(chunkBytes);
  let total = 0;
  for (;;) {
    const { bytesRead } = await source.read(buffer, 0, chunkBytes, total);
    if (bytesRead === 0) break;
    if (BigInt(total + bytesRead) > facts.segmentBytes) return `it is longer than ${facts.segmentBytes} bytes`;
    const chunk = buffer.subarray(0, bytesRead);
    const complaint = prove(chunk);
    if (complaint !== undefined) return complaint;
    await target.writeFile(chunk);
    total += bytesRead;
  }
  return BigInt(total) === facts.segmentBytes ? undefined : `it has ${total} of ${facts.segmentBytes} bytes`;
}

/** The collected file goes back to the engine's place one day, where the engine's user must be able to read it. */
async function ownLike(source: FileHandle, target: FileHandle): Promise<void> {
  const seen = await source.stat();
  await target.chmod(seen.mode & 0o7777);
  if (process.getuid?.() === 0) await target.chown(seen.uid, seen.gid);
}

/** The history of a timeline after the first tells recovery where the earlier ones ended. */
async function historyOf(span: JournalSpan, facts: WalFacts, into: string): Promise<readonly CollectedFile[]> {
  const { timeline } = parseSegment(span.from.file, facts.segmentBytes);
  if (timeline === 1n) return [];
  const name = `${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`;
  const path = join(span.directory, name);
  const from = join(into, name);
  try {
    await using source = await open(path, 'r');
    await using target = await open(from, 'w', 0o600);
    await ownLike(source, target);
    await target.writeFile(await source.readFile());
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw cause;
    throw new StillpointError('journal-missing', `timeline history ${name} is not in ${span.directory}`, {
      hint: 'copy it back from the WAL archive',
      details: { segment: name, directory: span.directory },
      cause,
    });
  }
  return [{ from, path }];
}
