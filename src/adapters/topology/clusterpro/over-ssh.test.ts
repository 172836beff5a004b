import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { clusterproStandIn } from '../../../../test/doubles/clusterpro/stand-in.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { sshServer } from '../../../../test/doubles/ssh/sshd.ts';
import { memberOf } from '../../../model/cluster.ts';
import { ssh } from '../../host/ssh/host.ts';
import { clusterpro } from './topology.ts';

it('asks and tells over a real SSH, and takes a server whose SSH is gone for unknown', async (t) => {
  await using stack = new AsyncDisposableStack();
  const first = await sshServer();
  if ('skip' in first) {
    t.skip(first.skip);
    return;
  }
  stack.use(first);
  const second = await sshServer();
  if ('skip' in second) throw new Error(second.skip);
  stack.use(second);
  const standIn = stack.use(await clusterproStandIn({ otherMonitors: ['psqlw1'] }));
  const places = { server1: first, server2: second };
  for (const [server, { bin }] of Object.entries(places)) {
    for (const program of await readdir(standIn.bin(server)))
      await copyFile(join(standIn.bin(server), program), join(bin, program));
  }
  const stateDirectory = await mkdtemp(join(tmpdir(), 'sp-clusterpro-state-'));
  stack.defer(() => rm(stateDirectory, { recursive: true, force: true }));
  const module = clusterpro(ssh);
  const settings = module.config.parse({
    group: 'failover1',
    mirrors: { md1: { monitor: 'mdw1' } },
    servers: { server1: { ssh: first.config }, server2: { ssh: second.config } },
    holdOff: { monitors: ['psqlw1'], ratio: { factor: 40, time: '20m' } },
  });
  const topology = module.create(settings, realPlatform(stateDirectory), () => Promise.resolve(''));
  const { signal } = new AbortController();
  const view = await topology.view(signal);
  assert.deepEqual(
    view.members.map(({ name, role, health }) => [name, role, health]),
    [
      ['server1', 'primary', 'healthy'],
      ['server2', 'backup', 'healthy'],
    ],
  );
  const token = topology.holdOffToken?.('run-1', view);
  assert.ok(token);
  await topology.holdOff?.(token, signal);
  assert.equal((await topology.view(signal)).failover.heldOff, true);

  await second.stop();
  const half = await topology.view(signal);
  assert.equal(memberOf(half, 'server2')?.health, 'unknown');
  assert.equal(memberOf(half, 'server1')?.health, 'healthy');
  // The monitor of server1 is resumed, and the ratio reset, by the server that is left.
  await topology.letGo?.(token);
  assert.deepEqual(
    standIn.state.servers.map(({ suspended }) => suspended),
    [[], []],
  );
  assert.equal(standIn.state.ratio, 1);
  await first.stop();
  await assert.rejects(topology.view(signal), { code: 'cluster-unknown', message: /no server of the cluster tells/ });
});
