import { chmod, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import { mariadbPlace } from '../../../src/platform/mariadb-place.ts';
import { type MariadbRow, MariadbSession } from '../../../src/platform/mariadb-session.ts';
import { until } from '../../doubles/mariadb-server.ts';
import { ring } from './mariadb-witness.ts';
import type { Judged } from './subject.ts';

const check = `SELECT (SELECT COUNT(*) FROM app.written) AS row_count, (SELECT COUNT(*) FROM app.paired) AS pairs,
  (SELECT COALESCE(MAX(n), 0) FROM app.written) AS last, (SELECT COALESCE(MIN(n), 0) FROM app.written) AS first,
  (SELECT COUNT(*) FROM app.written w LEFT JOIN app.paired p USING (slot)
    WHERE p.n IS NULL OR p.n <> w.n OR w.slot <> w.n % ${ring} OR p.payload <> MD5(p.n) OR w.payload <> REPEAT(MD5(w.n), 3)) AS torn`;
const checkTables = 'CHECK TABLE app.written, app.paired, mysql.gtid_slave_pos, mysql.global_priv EXTENDED';

type Ask = (sql: string) => Promise<readonly MariadbRow[]>;

/** By a server of its own on the copy, which has no network and follows nobody. `data` is where its data directory lies. */
export async function judgeMariadb(directory: string, data: string): Promise<Judged> {
  return await withServer(directory, data, async (ask) => {
    const wrong: string[] = [];
    for (const row of await ask(checkTables)) {
      if (row['Msg_type'] !== 'status' || row['Msg_text'] !== 'OK') wrong.push(Object.values(row).join(' '));
    }
    if ((await ask('SHOW ALL SLAVES STATUS')).length > 0) wrong.push('the copy follows somebody');
    const [row] = await ask(check);
    const number = (name: string): number => Number(row?.[name]);
    const [rows, pairs, last, first, torn] = ['row_count', 'pairs', 'last', 'first', 'torn'].map(number);
    if (rows === undefined || last === undefined || !(last > 0))
      return { last: 0, wrong: [...wrong, 'there are no rows'] };
    if (torn !== 0) wrong.push(`${torn} pairs are torn`);
    if (rows !== pairs) wrong.push(`${rows} rows and ${pairs} pairs`);
    if (rows !== Math.min(last, ring) || first !== last - rows + 1) wrong.push(`${rows} rows from ${first} to ${last}`);
    return { last, wrong };
  });
}

async function withServer<T>(directory: string, data: string, work: (ask: Ask) => Promise<T>): Promise<T> {
  const scratch = join(directory, 's');
  await mkdir(scratch);
  await chmod(directory, 0o711);
  await chmod(scratch, 0o777);
  const { uid, gid } = await stat(data);
  const socket = join(scratch, 'r.sock');
  const server = systemExec.start({
    argv: [
      ...(['mariadbd', '--no-defaults', `--datadir=${data}`, `--socket=${socket}`] as const),
      ...['--skip-networking', '--skip-grant-tables', '--log-bin=bin', `--pid-file=${join(scratch, 'r.pid')}`],
      ...[`--tmpdir=${scratch}`, '--innodb-buffer-pool-size=8M', '--innodb-log-file-size=4M'],
      ...['--aria-pagecache-buffer-size=1M', '--key-buffer-size=1M', '--performance-schema=off'],
    ],
    cwd: '/',
    ...(process.getuid?.() === 0 ? { uid, gid } : {}),
  });
  let ended = false;
  void server.exited.then(() => (ended = true));
  const limits = { signal: new AbortController().signal, limitMs: 60_000 };
  const ask: Ask = async (sql) => {
    const place = mariadbPlace.parse({ host: socket, user: 'root' });
    await using session = await MariadbSession.open(place, systemClock, async () => '', limits);
    return await session.query(sql);
  };
  try {
    await until('the copy answers', async () => {
      if (ended) throw new Error(`the copy did not start: ${server.stderrTail().slice(-1500)}`);
      return await ask('SELECT 1').then(
        () => true,
        () => false,
      );
    });
    return await work(ask);
  } finally {
    server.kill('SIGTERM');
    await server.exited;
  }
}
