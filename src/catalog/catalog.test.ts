import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import type { ShippedJournal } from '../model/journal.ts';
import type { Point } from '../model/point.ts';
import { catalogFile, openCatalog, type Catalog } from './catalog.ts';

async function opened(): Promise<{ readonly catalog: Catalog; readonly directory: string } & AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-catalog-'));
  const catalog = await openCatalog(directory);
  return {
    catalog,
    directory,
    async [Symbol.asyncDispose]() {
      catalog.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function journal(name: string, minute: number, more: Partial<ShippedJournal> = {}): ShippedJournal {
  const at = (minutes: number): string => new Date(Date.UTC(2026, 0, 1, 0, minutes)).toISOString();
  return {
    part: '',
    name,
    path: `/j/${name}`,
    begin: String(minute),
    end: String(minute + 1),
    beganAt: at(minute),
    endedAt: at(minute + 1),
    coversTo: at(minute + 1),
    bytes: 10,
    workload: 'orders',
    identity: 'this',
    snapshot: 'one',
    sha256: 'x',
    ...more,
  };
}

describe('shipped journals in the catalog', () => {
  it('come back oldest first, as they were given, by workload', async () => {
    await using stage = await opened();
    const { catalog } = stage;
    const files = [journal('c', 3), journal('a', 1), journal('b', 2)];
    catalog.addJournals(files);
    catalog.addJournals([journal('x', 0, { workload: 'invoices' })]);
    assert.deepEqual(catalog.journals('orders'), [files[1], files[2], files[0]]);
    assert.deepEqual(catalog.journals('nothing'), []);
  });

  it('are there once, however often they are added, and survive the process', async () => {
    await using stage = await opened();
    for (const _round of [1, 2]) stage.catalog.addJournals([journal('a', 1), journal('b', 2)]);
    assert.equal(stage.catalog.journals('orders').length, 2);
    const again = await openCatalog(stage.directory);
    try {
      assert.equal(again.isNew, false);
      assert.deepEqual(again.journals('orders'), stage.catalog.journals('orders'));
    } finally {
      again.close();
    }
  });

  it('do not replace each other where part, data set or name differ', async () => {
    await using stage = await opened();
    const one = journal('a', 1);
    const files = [one, { ...one, part: 'p' }, { ...one, identity: 'other' }, { ...one, name: 'idle', end: one.begin }];
    stage.catalog.addJournals(files);
    assert.equal(stage.catalog.journals('orders').length, 4);
  });

  it('go with the snapshot that held them, of whatever workload', async () => {
    await using stage = await opened();
    const { catalog } = stage;
    catalog.addJournals([journal('a', 1), journal('b', 2, { snapshot: 'two' })]);
    catalog.addJournals([journal('x', 0, { workload: 'invoices', snapshot: 'three' })]);
    assert.deepEqual(catalog.shipments(), new Set(['one', 'two', 'three']));
    catalog.removeShipment('one');
    catalog.removeShipment('never was');
    assert.deepEqual(catalog.shipments(), new Set(['two', 'three']));
    assert.deepEqual(
      catalog.journals('orders').map((file) => file.name),
      ['b'],
    );
  });
});

describe('points in the catalog', () => {
  it('of before journals existed are read as points without any', async () => {
    await using stage = await opened();
    const old: Partial<Point> = { id: 'p', workload: 'orders', cutAt: '2026-01-01T00:00:00.000Z' };
    const database = new DatabaseSync(catalogFile(stage.directory));
    database
      .prepare('INSERT INTO point (id, workload, cut_at, document) VALUES (?, ?, ?, ?)')
      .run('p', 'orders', '2026-01-01T00:00:00.000Z', JSON.stringify(old));
    database.close();
    const [point] = stage.catalog.points('orders');
    assert.deepEqual([point?.starts, point?.marks], [[], null]);
  });
});
