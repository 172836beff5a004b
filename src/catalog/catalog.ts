import { DatabaseSync } from 'node:sqlite';
import { existsSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StillpointError, messageOf } from '../model/errors.ts';
import type { ShippedJournal } from '../model/journal.ts';
import type { DrillResult, Point } from '../model/point.ts';

/** How one hold of a workload went: the past that `plan` predicts from. */
export interface HoldHistory {
  readonly heldMs: number;
  readonly overheadMs: number;
  readonly bytesRead: number;
  readonly copyMs: number;
}

/**
 * Points, drills and holds of this machine. Points can be rebuilt from the repository; drills and hold times are a diary and cannot.
 * One process at a time writes a row; SQLite's own locking orders them.
 */
export interface Catalog {
  /** True when the file did not exist before: the caller may fill it from the repository. */
  readonly isNew: boolean;
  addPoint(point: Point): void;
  removePoint(id: string): void;
  /** Newest cut first. */
  points(workload?: string): readonly Point[];
  /** By id or by an unambiguous beginning of it. */
  point(id: string): Point | undefined;
  addDrill(point: string, drill: DrillResult): void;
  addHold(workload: string, at: string, hold: HoldHistory): void;
  /** Newest first, at most `limit`. */
  holds(workload: string, limit: number): readonly HoldHistory[];
  addJournals(files: readonly ShippedJournal[]): void;
  /** Oldest first. */
  journals(workload: string): readonly ShippedJournal[];
  /** Forgets what a repository snapshot held. */
  removeShipment(snapshot: string): void;
  /** Repository snapshots that hold shipped journal files, of all workloads. */
  shipments(): ReadonlySet<string>;
  close(): void;
}

export function catalogFile(stateDirectory: string): string {
  return join(stateDirectory, 'catalog.sqlite');
}

const schema = `
  CREATE TABLE IF NOT EXISTS point (id TEXT PRIMARY KEY, workload TEXT NOT NULL, cut_at TEXT NOT NULL, document TEXT NOT NULL) STRICT;
  CREATE INDEX IF NOT EXISTS point_by_workload ON point (workload, cut_at);
  CREATE TABLE IF NOT EXISTS drill (point TEXT NOT NULL, at TEXT, document TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS journal (workload TEXT NOT NULL, snapshot TEXT NOT NULL, key TEXT NOT NULL, began_at TEXT NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (workload, key)) STRICT;
  CREATE TABLE IF NOT EXISTS hold (workload TEXT NOT NULL, at TEXT NOT NULL, document TEXT NOT NULL) STRICT;
`;

/** Throws `catalog-damaged`; `stillpoint recover` then sets the file aside and rebuilds it. */
export async function openCatalog(stateDirectory: string): Promise<Catalog> {
  const file = catalogFile(stateDirectory);
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const isNew = !existsSync(file);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { timeout: 5000 });
    const said = database.prepare('PRAGMA quick_check(1)').get();
    if (said?.['quick_check'] !== 'ok') throw new Error(String(said?.['quick_check']));
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    database.exec(schema);
  } catch (error) {
    database?.close();
    throw new StillpointError('catalog-damaged', `the catalog ${file} cannot be read: ${messageOf(error)}`, {
      hint: 'run `stillpoint recover`: it sets the file aside and rebuilds the points from the repository',
      cause: error,
    });
  }
  return new SqliteCatalog(database, isNew);
}

/** Renames a damaged catalog with its companions; nothing is deleted. Returns the new name. */
export async function setCatalogAside(stateDirectory: string, suffix: string): Promise<string> {
  const file = catalogFile(stateDirectory);
  for (const end of ['', '-wal', '-shm']) {
    if (existsSync(file + end)) await rename(file + end, `${file}.damaged-${suffix}${end}`);
  }
  return `${file}.damaged-${suffix}`;
}

class SqliteCatalog implements Catalog {
  readonly isNew: boolean;
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync, isNew: boolean) {
    this.#database = database;
    this.isNew = isNew;
  }

  addPoint(point: Point): void {
    this.#database
      .prepare('INSERT OR REPLACE INTO point (id, workload, cut_at, document) VALUES (?, ?, ?, ?)')
      .run(point.id, point.workload, point.cutAt, JSON.stringify(point));
  }

  removePoint(id: string): void {
    this.#database.prepare('DELETE FROM point WHERE id = ?').run(id);
  }

  points(workload?: string): readonly Point[] {
    const rows =
      workload === undefined
        ? this.#database.prepare('SELECT id, document FROM point ORDER BY cut_at DESC, id DESC').all()
        : this.#database
            .prepare('SELECT id, document FROM point WHERE workload = ? ORDER BY cut_at DESC, id DESC')
            .all(workload);
    return rows.map((row) => this.#withDrill(row));
  }

  point(id: string): Point | undefined {
    const rows = this.#database
      .prepare('SELECT id, document FROM point WHERE substr(id, 1, ?) = ? LIMIT 2')
      .all(id.length, id);
    const exact = rows.find((row) => row['id'] === id) ?? (rows.length === 1 ? rows[0] : undefined);
    return exact === undefined ? undefined : this.#withDrill(exact);
  }

  addDrill(point: string, drill: DrillResult): void {
    this.#database
      .prepare('INSERT INTO drill (point, at, document) VALUES (?, ?, ?)')
      .run(point, drill.at, JSON.stringify(drill));
  }

  addHold(workload: string, at: string, hold: HoldHistory): void {
    this.#database
      .prepare('INSERT INTO hold (workload, at, document) VALUES (?, ?, ?)')
      .run(workload, at, JSON.stringify(hold));
  }

  holds(workload: string, limit: number): readonly HoldHistory[] {
    const rows = this.#database
      .prepare('SELECT document FROM hold WHERE workload = ? ORDER BY at DESC LIMIT ?')
      .all(workload, limit);
    return rows.map((row) => JSON.parse(String(row['document'])) as HoldHistory);
  }

  addJournals(files: readonly ShippedJournal[]): void {
    const insert = this.#database.prepare(
      'INSERT OR REPLACE INTO journal (workload, snapshot, key, began_at, document) VALUES (?, ?, ?, ?, ?)',
    );
    for (const file of files) {
      // With the name: of an idle engine several files may begin at one position.
      const key = `${file.identity}\n${file.part}\n${file.begin}\n${file.name}`;
      insert.run(file.workload, file.snapshot, key, file.beganAt, JSON.stringify(file));
    }
  }

  journals(workload: string): readonly ShippedJournal[] {
    const rows = this.#database
      .prepare('SELECT document FROM journal WHERE workload = ? ORDER BY began_at, key')
      .all(workload);
    return rows.map((row) => JSON.parse(String(row['document'])) as ShippedJournal);
  }

  removeShipment(snapshot: string): void {
    this.#database.prepare('DELETE FROM journal WHERE snapshot = ?').run(snapshot);
  }

  shipments(): ReadonlySet<string> {
    const rows = this.#database.prepare('SELECT DISTINCT snapshot FROM journal').all();
    return new Set(rows.map((row) => String(row['snapshot'])));
  }

  close(): void {
    this.#database.close();
  }

  #withDrill(row: Record<string, unknown>): Point {
    // Points of before these existed lack them.
    const point = { ...{ starts: [], marks: null }, ...(JSON.parse(String(row['document'])) as Point) };
    const drill = this.#database
      .prepare('SELECT document FROM drill WHERE point = ? ORDER BY at DESC LIMIT 1')
      .get(point.id);
    return drill === undefined ? point : { ...point, drill: JSON.parse(String(drill['document'])) as DrillResult };
  }
}
