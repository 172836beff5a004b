import type { Finding } from '../../../model/point.ts';
import { mariadbSaid } from '../../../platform/mariadb-session.ts';
import { identifier } from './commands.ts';
import type { MariadbConfig } from './config.ts';
import type { Connection } from './connection.ts';
import { checkFindings, prefixLength } from './parse.ts';

/** Counting reads a whole table; the largest by their size are counted. */
const countedTables = 10;

const tablesSql = `SELECT TABLE_SCHEMA AS db, TABLE_NAME AS name, COALESCE(DATA_LENGTH, 0) AS bytes FROM information_schema.TABLES
  WHERE TABLE_TYPE IN ('BASE TABLE', 'SEQUENCE') AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')
  ORDER BY TABLE_SCHEMA, TABLE_NAME`;

/** Everything that a drill asks a copy. A table that cannot be asked is a finding; a server that is gone is thrown. */
export async function* questions(connection: Connection, config: MariadbConfig): AsyncGenerator<Finding> {
  const tables = (await connection.query(tablesSql)).map((row) => ({
    name: `${identifier(row['db'] ?? '')}.${identifier(row['name'] ?? '')}`,
    system: ['mysql', 'sys'].includes(row['db'] ?? ''),
    bytes: Number(row['bytes']),
  }));
  if (config.verify.checkTables) {
    let passed = 0;
    for (const { name } of tables) {
      const findings = checkFindings(name, await checked(connection, name));
      yield* findings;
      if (findings.length === 0) passed += 1;
    }
    yield { severity: 'info', check: 'check-table', said: `${passed} of ${tables.length} tables pass CHECK TABLE` };
  }
  const own = tables.filter(({ system }) => !system).toSorted((a, b) => b.bytes - a.bytes);
  for (const { name } of own.slice(0, countedTables)) yield await count(connection, name);
  if (own.length > countedTables) {
    yield { severity: 'info', check: 'row-count', said: `${own.length - countedTables} more tables were not counted` };
  }
  yield* canary(connection);
}

async function checked(connection: Connection, name: string): ReturnType<Connection['query']> {
  try {
    return await connection.query(`CHECK TABLE ${name}`);
  } catch (cause) {
    if (connection.lost !== undefined) throw cause;
    return [{ Msg_type: 'error', Msg_text: mariadbSaid(cause) }];
  }
}

async function count(connection: Connection, name: string): Promise<Finding> {
  try {
    const [row] = await connection.query(`SELECT COUNT(*) AS n FROM ${name}`);
    return { severity: 'info', check: 'row-count', said: `${name} has ${row?.['n'] ?? ''} rows` };
  } catch (cause) {
    if (connection.lost !== undefined) throw cause;
    return { severity: 'error', check: 'row-count', said: `${name} cannot be read: ${mariadbSaid(cause)}` };
  }
}

async function* canary(connection: Connection): AsyncGenerator<Finding> {
  const [there] = await connection.query(
    `SELECT 1 AS there FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'stillpoint' AND TABLE_NAME = 'canary'`,
  );
  if (there === undefined) return;
  const [row] = await connection.query(
    'SELECT COUNT(*) AS n, COALESCE(MIN(n), 0) AS lowest, COALESCE(MAX(n), 0) AS highest FROM stillpoint.canary',
  );
  const [n, lowest, highest] = [Number(row?.['n']), Number(row?.['lowest']), Number(row?.['highest'])];
  const length = prefixLength(n, lowest, highest);
  if (length === undefined) {
    const said = `${n} records between ${lowest} and ${highest} are no prefix`;
    yield { severity: 'error', check: 'canary', said };
  } else yield { severity: 'info', check: 'canary', said: `prefix 1..${length}`, value: length };
}
