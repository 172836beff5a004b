import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { systemExec } from '../../../src/platform/exec.ts';
import { postgresBin } from '../../doubles/patroni/settings.ts';
import { until } from '../../doubles/streaming-cluster.ts';

/** The engine of the copy has no port but this one, on a socket of its own. */
const copyPort = 5432;

/** Patroni's settings in the copy are overruled: it must listen to nobody but us, and follow nobody. */
export async function withServer<T>(
  directory: string,
  dataDirectory: string,
  work: (connect: () => Promise<pg.Client>) => Promise<T>,
): Promise<T> {
  const data = directory + dataDirectory;
  const sockets = join(directory, 's');
  await mkdir(sockets);
  await chmod(directory, 0o711);
  await chmod(sockets, 0o777);
  const { stdout } = await systemExec.check({ argv: ['stat', '-c', '%u %g', data], timeoutMs: 10_000 });
  const [uid = 0, gid = 0] = stdout.split(' ').map(Number);
  const settings = {
    ...{ listen_addresses: '', port: String(copyPort), unix_socket_directories: sockets },
    ...{ hba_file: join(data, 'pg_hba.conf'), ident_file: join(data, 'pg_ident.conf'), cluster_name: 'copy' },
  };
  const server = systemExec.start({
    argv: [
      join(postgresBin, 'postgres'),
      ...['-D', data],
      ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
    ],
    uid,
    gid,
  });
  let ended = false;
  void server.exited.then(() => (ended = true));
  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({ host: sockets, port: copyPort, user: 'postgres', database: 'postgres' });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  try {
    await until('the copy answers', async () => {
      if (ended) throw new Error(`the copy did not start: ${server.stderrTail().slice(-1500)}`);
      return await connect().then(
        async (client) => client.end().then(() => true),
        () => false,
      );
    });
    return await work(connect);
  } finally {
    server.kill('SIGINT');
    await server.exited;
  }
}
