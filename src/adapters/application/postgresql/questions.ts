import { messageOf } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import type { PostgresqlConfig } from './config.ts';
import type { Connection } from './connection.ts';
import { text } from './locate.ts';
import { prefixLength } from './parse.ts';

const countedTables = 200;
const complaintsPerRelation = 10;

type Open = (database: string) => Promise<Connection>;

function finding(severity: Finding['severity'], check: string, said: string): Finding {
  return { severity, check, said };
}

/** Asks every database of a started copy. A database that cannot be asked is an error finding, and the next one is tried. */
export async function* questions(cluster: Connection, open: Open, config: PostgresqlConfig): AsyncGenerator<Finding> {
  const rows = await cluster.query(
    'SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname',
  );
  const names = rows.map((row) => text(row, 'datname'));
  const wanted = config.verify.databases ?? names;
  for (const name of wanted.filter((each) => !names.includes(each))) {
    yield finding('error', 'databases', `database ${name} is not in the copy`);
  }
  for (const name of wanted.filter((each) => names.includes(each))) {
    let connection: Connection;
    try {
      connection = await open(name);
    } catch (cause) {
      yield finding('error', 'databases', `database ${name} cannot be opened: ${messageOf(cause)}`);
      continue;
    }
    try {
      yield* rowCounts(connection, name);
      if (config.verify.amcheck) yield* amcheck(connection, name);
      yield* canary(connection, name);
    } catch (cause) {
      yield finding('error', 'databases', `database ${name}: ${messageOf(cause)}`);
    } finally {
      await connection.close();
    }
  }
  yield finding('info', 'databases', `looked into ${wanted.join(', ')}`);
}

async function* rowCounts(connection: Connection, database: string): AsyncGenerator<Finding> {
  const tables = await connection.query(
    `SELECT format('%I.%I', nspname, relname) AS name FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
      WHERE relkind IN ('r', 'm') AND relpersistence = 'p' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
      ORDER BY 1`,
  );
  for (const table of tables.slice(0, countedTables)) {
    const name = text(table, 'name');
    try {
      const [row] = await connection.query(`SELECT count(*) AS rows FROM ${name}`);
      yield finding('info', 'row-count', `${database}: ${name} has ${text(row, 'rows')} rows`);
    } catch (cause) {
      yield finding('error', 'row-count', `${database}: ${name} cannot be read: ${messageOf(cause)}`);
      if (connection.lost !== undefined) throw cause;
    }
  }
  if (tables.length > countedTables) {
    yield finding('info', 'row-count', `${database}: ${tables.length - countedTables} more tables were not counted`);
  }
}

async function* amcheck(connection: Connection, database: string): AsyncGenerator<Finding> {
  const [available] = await connection.query(`SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'`);
  if (available === undefined) {
    yield finding('info', 'amcheck', `${database}: not checked, the extension amcheck is not installed`);
    return;
  }
  await connection.query(
    `SET client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS stillpoint_drill; CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA stillpoint_drill`,
  );
  const [extension] = await connection.query(
    `SELECT format('%I', nspname) AS schema FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'amcheck'`,
  );
  const schema = text(extension, 'schema');
  let passed = 0;
  // Indexes and tables one by one: the first damage must not hide the next.
  for (const [kind, list, check] of [
    ['index', indexesSql, `SELECT ${schema}.bt_index_check($1::oid::regclass, true)::text AS msg`],
    [
      'table',
      tablesSql,
      `SELECT format('block %s, item %s: %s', blkno, offnum, msg) AS msg
        FROM ${schema}.verify_heapam(relation => $1::oid::regclass, check_toast => true)`,
    ],
  ] as const) {
    for (const relation of await connection.query(list)) {
      const name = `${database}: ${kind} ${text(relation, 'name')}`;
      try {
        const complaints = (await connection.query(check, [relation['oid']])).filter((row) => text(row, 'msg') !== '');
        if (complaints.length === 0) passed += 1;
        for (const row of complaints.slice(0, complaintsPerRelation)) {
          yield finding('error', 'amcheck', `${name}: ${text(row, 'msg')}`);
        }
        if (complaints.length > complaintsPerRelation) {
          yield finding('error', 'amcheck', `${name}: and ${complaints.length - complaintsPerRelation} more`);
        }
      } catch (cause) {
        yield finding('error', 'amcheck', `${name}: ${messageOf(cause)}`);
        if (connection.lost !== undefined) throw cause;
      }
    }
  }
  yield finding('info', 'amcheck', `${database}: ${passed} indexes and tables pass`);
}

const indexesSql = `
  SELECT c.oid::text AS oid, c.oid::regclass::text AS name FROM pg_class c
    JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am a ON a.oid = c.relam
    WHERE c.relkind = 'i' AND c.relpersistence = 'p' AND a.amname = 'btree' AND i.indisready AND i.indisvalid ORDER BY c.oid`;

const tablesSql = `
  SELECT c.oid::text AS oid, c.oid::regclass::text AS name FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam
    WHERE c.relkind IN ('r', 't', 'm') AND c.relpersistence = 'p' AND a.amname = 'heap' ORDER BY c.oid`;

async function* canary(connection: Connection, database: string): AsyncGenerator<Finding> {
  const [there] = await connection.query(`SELECT to_regclass('stillpoint.canary') IS NOT NULL AS there`);
  if (there?.['there'] !== true) return;
  const [row] = await connection.query(
    `SELECT count(*) AS count, coalesce(min(n), 0) AS lowest, coalesce(max(n), 0) AS highest FROM stillpoint.canary`,
  );
  const [count, lowest, highest] = [Number(row?.['count']), Number(row?.['lowest']), Number(row?.['highest'])];
  const length = prefixLength(count, lowest, highest);
  if (length === undefined) {
    yield finding('error', 'canary', `${database}: ${count} records between ${lowest} and ${highest} are no prefix`);
  } else yield { ...finding('info', 'canary', `prefix 1..${length}`), value: length };
}
