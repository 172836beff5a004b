import { type Catalog } from '../catalog/catalog.ts';
import { messageOf } from '../model/errors.ts';
import type { Finding, Point } from '../model/point.ts';
import type { Repository, SnapshotInfo } from '../repository/api.ts';
import { pointFrom, pointTag, readRecord } from './record.ts';
import { journalTag, readShipment } from './shipments.ts';

/** Makes the catalog list the points that the repository has: adds those it lacks, removes those that were forgotten elsewhere. Records that cannot be trusted are findings. */
export async function syncCatalog(
  repository: Repository,
  catalog: Catalog,
): Promise<{ readonly found: readonly Point[]; readonly findings: readonly Finding[] }> {
  const known = new Set(catalog.points().map((point) => point.repositorySnapshot));
  const found: Point[] = [];
  const findings: Finding[] = [];
  const snapshots = await repository.snapshots();
  const shipments = catalog.shipments();
  for (const snapshot of snapshots) {
    if (snapshot.tags.includes(journalTag) && !shipments.has(snapshot.id)) {
      await addShipment(repository, catalog, snapshot, findings);
      continue;
    }
    if (!snapshot.tags.includes(pointTag) || known.has(snapshot.id)) continue;
    try {
      const { point } = await readRecord(repository, snapshot.id);
      const whole = pointFrom(point, snapshot);
      catalog.addPoint(whole);
      found.push(whole);
    } catch (error) {
      findings.push({ severity: 'error', check: 'catalog', said: messageOf(error) });
    }
  }
  const there = new Set(snapshots.map((snapshot) => snapshot.id));
  for (const point of catalog.points()) {
    if (there.has(point.repositorySnapshot)) continue;
    catalog.removePoint(point.id);
    findings.push({ severity: 'warning', check: 'catalog', said: `point ${point.id} is no longer in the repository` });
  }
  for (const snapshot of shipments) if (!there.has(snapshot)) catalog.removeShipment(snapshot);
  return { found, findings };
}

async function addShipment(
  repository: Repository,
  catalog: Catalog,
  snapshot: SnapshotInfo,
  findings: Finding[],
): Promise<void> {
  try {
    catalog.addJournals(await readShipment(repository, snapshot));
  } catch (error) {
    findings.push({ severity: 'error', check: 'catalog', said: messageOf(error) });
  }
}
