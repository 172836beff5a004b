import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { it } from 'node:test';
import { systemExec } from '../../../src/platform/exec.ts';
import { clusterproStandIn } from './stand-in.ts';

interface Reply {
  readonly status: number;
  readonly body: {
    readonly result?: { readonly code: number; readonly message: string };
    readonly detail?: { readonly status: string };
    readonly resources?: readonly { readonly name: string; readonly current: string }[];
  };
}

it('backs up, restores, starts and stops by the API, asynchronously where the real one does', async (t) => {
  if ((await systemExec.which('openssl')) === undefined) {
    t.skip('needs openssl');
    return;
  }
  await using standIn = await clusterproStandIn();
  const { urls, ca } = await standIn.serve();
  const authority = await readFile(ca, 'utf8');
  const call = (server: string, method: string, path: string, body?: object): Promise<Reply> =>
    new Promise((resolve, reject) => {
      const options = { method, ca: authority, agent: false, auth: 'root:clusterpro' };
      const sent = request(`${urls[server]}/api/v1${path}`, options, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => (text += part));
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as Reply['body'] }),
        );
      });
      sent.once('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  const post = async (server: string, path: string, body?: object): Promise<string> => {
    const { status, body: said } = await call(server, 'POST', path, body);
    return `${status} ${said.result?.code} ${said.result?.message}`;
  };
  const done = '200 0 ';

  assert.equal(await post('server1', '/groups/failover1/stop'), done);
  assert.equal(await post('server1', '/groups/failover1/stop'), '200 1 The group is already offline.');
  for (const target of ['server1', 'server2'])
    assert.equal(await post('server1', '/monitors/mdw1/suspend', { target }), done);
  // The API has no verb that breaks a mirror.
  assert.match(await post('server2', '/mirrors/break'), /^404/);
  standIn.ok('server2', 'clpmdctrl', '--break', 'md1');
  assert.equal(await post('server1', '/groups/failover1/start', { target: 'server1' }), done);
  const resources = await call('server2', 'GET', '/resources/md1');
  assert.equal(resources.body.resources?.[0]?.current, 'server1');

  assert.equal(await post('server2', '/mirrors/backup/preaction', { 'no-shutdown': false }), done);
  const status = async (): Promise<string | undefined> =>
    (await call('server2', 'GET', '/mirrors/backup/status')).body.detail?.status;
  assert.equal(await status(), 'running');
  assert.equal(await post('server2', '/mirrors/backup/preaction'), '200 1 The command is already running.');
  assert.equal(standIn.state.servers[1]?.power, 'running', 'nothing is done yet');
  standIn.advance(6_000);
  assert.equal(standIn.state.servers[1]?.power, 'stopping');
  await assert.rejects(status(), /socket hang up|ECONNRESET/);
  standIn.advance(60_000);
  standIn.ec2('start-instances', '--instance-ids', 'i-2');
  standIn.advance(60_000);
  assert.equal(await status(), 'clpbackup.sh : Command succeeded.');
  assert.equal(await post('server2', '/mirrors/backup/postaction'), done);
  standIn.advance(120_000);
  assert.equal(standIn.state.servers[1]?.startup, 'auto');

  standIn.fault({ where: 'POST /api/v1/mirrors/restore/preaction', how: 'acts-then-lost' });
  await assert.rejects(post('server2', '/mirrors/restore/preaction'), /socket hang up|ECONNRESET/);
  standIn.advance(6_000);
  assert.equal(standIn.state.servers[1]?.power, 'stopping', 'it was done all the same');
  standIn.fault({ where: 'GET /api/v1/cluster', how: 'fails' });
  assert.equal((await call('server1', 'GET', '/cluster')).status, 500);
  assert.equal((await call('server1', 'GET', '/cluster')).status, 200);
});
