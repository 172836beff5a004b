import { cutAt, cutCalledAt, summarizeHold } from '../model/flight-record.ts';
import type { Evidence } from '../model/evidence.ts';
import type { Judgement } from '../model/judge.ts';
import { StillpointError } from '../model/errors.ts';
import type { Bytes, GroupPart, Level, Method, Point, PointRecord } from '../model/point.ts';
import type { PartEvidence } from '../model/together.ts';
import type { Repository, SnapshotInfo } from '../repository/api.ts';

/** Where the record lies inside a repository snapshot, beside the original paths. */
export const recordPath = '/.stillpoint/point.json';
/** The engine's own backup, one file a stream. Must sort before the record, which is known only after them. */
export const levelsPath = '/.stillpoint/levels';
export const pointTag = 'stillpoint-point';
/** On points of groups and of their parts, for whoever lets restic forget: a group's point needs all of its parts. */
export const groupTag = 'group';

export type UnsavedPoint = PointRecord['point'];

/** JSON with sorted keys: the same value always has the same bytes, so that a signature over it can be checked later. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

function signedBytes(point: UnsavedPoint, evidence: Evidence): Uint8Array {
  return Buffer.from(canonical({ point, evidence }));
}

export interface PointFacts {
  readonly id: string;
  readonly method: Method;
  readonly level: Level;
  readonly parent: string | null;
  readonly identity: string;
}

/** The point that this evidence is about. Pure. */
export function describePoint(facts: PointFacts, evidence: Evidence, judgement: Judgement): UnsavedPoint {
  const seen = evidence.members.find((each) => each.when === 'chosen')?.seen;
  const paths = new Map(evidence.required.map((each) => [each.name, each.path]));
  const journal = evidence.hold?.journal;
  return {
    ...facts,
    workload: evidence.workload,
    verdict: judgement.verdict,
    reasons: judgement.reasons,
    cutAt: cutAt(evidence),
    cutCalledAt: cutCalledAt(evidence),
    // What the engine calls itself (a cluster_name, host and port) is in the evidence; people and settings know members by the cluster's names.
    member: (evidence.split === undefined ? evidence.cluster?.chosen.member : undefined) ?? seen?.member ?? '',
    role: seen?.role ?? '',
    epoch: seen?.epoch ?? '',
    hold: summarizeHold(evidence),
    volumes: evidence.volumes.map((volume) => ({
      id: volume.id,
      provider: volume.provider,
      paths: volume.holds.map((name) => paths.get(name) ?? name),
      cutAt: evidence.cut.cuts.find((cut) => cut.volume === volume.id)?.fixed.wall ?? '',
      ...(evidence.split === undefined ? {} : { snapshot: evidence.split.snapshot.id }),
    })),
    journal: journal === undefined ? firstStart(evidence) : journal.to,
    starts: evidence.starts ?? [],
    marks: evidence.online?.to ?? null,
    ...(evidence.changedBlocks === undefined ? {} : { changedBlocks: evidence.changedBlocks }),
    ...(evidence.together === undefined ? {} : { parts: evidence.together.parts.flatMap(groupPart) }),
    ...(evidence.partOf === undefined ? {} : { partOf: evidence.partOf }),
  };
}

function groupPart({ name, host, workload, point }: PartEvidence): readonly GroupPart[] {
  if (point === null) return [];
  const { id, repositorySnapshot, verdict, bytes } = point;
  return [{ name, host, workload, point: id, repositorySnapshot, verdict, bytes }];
}

/** What the parts wrote, each into its own repository; a group's own record is not worth counting. */
function sumOf(parts: readonly GroupPart[]): Bytes {
  const sum = (of: (bytes: Bytes) => number): number => parts.reduce((total, part) => total + of(part.bytes), 0);
  return {
    logical: sum((bytes) => bytes.logical),
    read: sum((bytes) => bytes.read),
    changed: sum((bytes) => bytes.changed),
    stored: sum((bytes) => bytes.stored),
  };
}

/** For people, who mostly have one journal; all parts are in `starts`. */
function firstStart(evidence: Evidence): Point['journal'] {
  const first = evidence.starts?.[0];
  return first === undefined ? null : { file: first.file, position: first.position };
}

export function encodeRecord(point: UnsavedPoint, evidence: Evidence, repository: Repository): Uint8Array {
  const record: PointRecord = {
    schema: 'stillpoint.point/1',
    point,
    evidence,
    signature: repository.sign(signedBytes(point, evidence)),
  };
  return Buffer.from(`${JSON.stringify(record, null, 1)}\n`);
}

/** The record inside a snapshot, with its signature proved. Throws `repository-damaged`. */
export async function readRecord(repository: Repository, snapshot: string): Promise<PointRecord> {
  const data = await repository.readFile(snapshot, recordPath);
  if (data === undefined) {
    throw new StillpointError('repository-damaged', `snapshot ${snapshot} holds no record of a point`, {
      hint: 'it was not made by stillpoint, or was rewritten; restic can still restore its files',
    });
  }
  const record = JSON.parse(Buffer.from(data).toString('utf8')) as PointRecord;
  if (repository.sign(signedBytes(record.point, record.evidence)) !== record.signature) {
    throw new StillpointError(
      'repository-damaged',
      `the evidence in snapshot ${snapshot} does not bear the repository's signature`,
      {
        hint: 'it was altered or made with another key: do not trust its verdict',
      },
    );
  }
  return record;
}

const noBytes: Bytes = { logical: 0, read: 0, changed: 0, stored: 0 };

export function pointFrom(unsaved: UnsavedPoint, snapshot: Pick<SnapshotInfo, 'id' | 'bytes'>): Point {
  return {
    // Records of before these existed lack them.
    ...{ starts: [], marks: null },
    ...unsaved,
    bytes: unsaved.parts === undefined ? (snapshot.bytes ?? noBytes) : sumOf(unsaved.parts),
    repositorySnapshot: snapshot.id,
    drill: { at: null, rtoMs: null, outcome: 'none', findings: [] },
  };
}
