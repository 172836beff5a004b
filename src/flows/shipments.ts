import { StillpointError } from '../model/errors.ts';
import type { ShippedJournal } from '../model/journal.ts';
import type { Finding } from '../model/point.ts';
import { journalBreaks } from '../model/recovery.ts';
import type { Journals } from '../ports/journals.ts';
import type { Repository, SnapshotInfo } from '../repository/api.ts';
import type { Workload } from './environment.ts';
import { canonical } from './record.ts';

/** Where the list of a shipment lies inside its repository snapshot, beside the files at their original paths. */
export const shipmentPath = '/.stillpoint/journals.json';
export const journalTag = 'stillpoint-journal';

interface Shipment {
  readonly schema: 'stillpoint.journals/1';
  readonly files: readonly Omit<ShippedJournal, 'snapshot'>[];
  /** HMAC-SHA-256 of the canonical JSON of `files`, by the key that points are signed with. */
  readonly signature: string;
}

/** Throws `method-unsupported` where the engine has none. */
export function journalsOf(workload: Workload): Journals {
  const { application, name } = workload;
  if (application.journals !== undefined) return application.journals;
  throw new StillpointError(
    'method-unsupported',
    `${application.engine} of ${name} has no journals that could be shipped`,
    { hint: 'restore a point as it is: leave --to out' },
  );
}

/** With its name: of an idle engine several files may begin at one position. */
export function keyOf(file: { readonly part: string; readonly begin: string; readonly name: string }): string {
  return `${file.part}\n${file.begin}\n${file.name}`;
}

/** Where the chain is broken, in words. */
export function gapFindings(files: readonly ShippedJournal[], severity: 'warning' | 'error'): readonly Finding[] {
  return journalBreaks(files).map(({ part, after, from, before }) => ({
    severity,
    check: 'journal',
    said: `${part === '' ? 'the journal' : part} has a gap: ${after} ends at ${from}, and ${before} does not begin there; points before it cannot be rolled forward over it`,
  }));
}

/** Up to when every part is covered without a gap, counted back from the newest file of each. */
export function coveredTo(files: readonly ShippedJournal[]): string | null {
  const newest = new Map<string, string>();
  for (const file of files) {
    const before = newest.get(file.part);
    if (before === undefined || Date.parse(file.coversTo) > Date.parse(before)) newest.set(file.part, file.coversTo);
  }
  return [...newest.values()].toSorted((a, b) => Date.parse(a) - Date.parse(b))[0] ?? null;
}

export function encodeShipment(files: Shipment['files'], repository: Repository): Uint8Array {
  const shipment: Shipment = {
    schema: 'stillpoint.journals/1',
    files,
    signature: repository.sign(Buffer.from(canonical(files))),
  };
  return Buffer.from(`${JSON.stringify(shipment, null, 1)}\n`);
}

/** What a shipment holds, with its signature proved. Throws `repository-damaged`. */
export async function readShipment(
  repository: Repository,
  snapshot: Pick<SnapshotInfo, 'id'>,
): Promise<readonly ShippedJournal[]> {
  const data = await repository.readFile(snapshot.id, shipmentPath);
  if (data === undefined) {
    throw new StillpointError('repository-damaged', `snapshot ${snapshot.id} holds no list of journal files`, {
      hint: 'it was not made by stillpoint, or was rewritten',
    });
  }
  const shipment = JSON.parse(Buffer.from(data).toString('utf8')) as Shipment;
  if (repository.sign(Buffer.from(canonical(shipment.files))) !== shipment.signature) {
    throw new StillpointError(
      'repository-damaged',
      `the list of journal files in snapshot ${snapshot.id} does not bear the repository's signature`,
      { hint: 'it was altered or made with another key: do not roll forward with it' },
    );
  }
  return shipment.files.map((file) => ({ ...file, snapshot: snapshot.id }));
}
