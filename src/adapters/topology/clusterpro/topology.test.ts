import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { quickReach } from '../../../../test/doubles/clusterpro/reach.ts';
import { needsOpenssl, ratio, shapeOf, signal, stage } from '../../../../test/doubles/clusterpro/stage.ts';
import type { ClusterproStandIn } from '../../../../test/doubles/clusterpro/stand-in.ts';
import { memberOf } from '../../../model/cluster.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import { systemExec } from '../../../platform/exec.ts';
import { clusterpro } from './topology.ts';

/** Breaks the mirror so that it stays broken. */
function breakMirror(standIn: ClusterproStandIn): void {
  for (const server of ['server1', 'server2']) standIn.ok('server1', 'clpmonctrl', '-s', '-h', server, '-m', 'mdw1');
  standIn.ok('server2', 'clpmdctrl', '--break', 'md1');
}

describe('the view of a cluster', () => {
  it('is the same by commands and by the API', async (t) => {
    if (await needsOpenssl(t)) return;
    await using on = await stage();
    const commands = on.commands();
    const rest = await on.rest();
    const view = await commands.view(signal);
    assert.deepEqual(shapeOf(view), shapeOf(await rest.view(signal)));
    assert.deepEqual(
      view.members.map(({ name, role, health, mayTakeOver, transfer }) => [name, role, health, mayTakeOver, transfer]),
      [
        ['server1', 'primary', 'healthy', false, undefined],
        ['server2', 'backup', 'healthy', true, { caughtUp: true }],
      ],
    );
    assert.equal(view.epoch, 'failover1@server1');
    assert.equal(view.failover.detectionMs, 30_000);
    assert.equal(view.failover.heldOff, undefined);
    assert.equal(failoverMargin(view, 'server1', { stunMs: 10_000, holdMs: 4_000 }).allowed, true);
    assert.equal(failoverMargin(view, 'server1', { stunMs: 10_000, holdMs: 6_000 }).allowed, false);
    assert.ok(on.seen.every(({ env, timeoutMs }) => env?.['LANG'] === 'C' && env['LC_ALL'] === 'C' && timeoutMs > 0));
    // Recovering, a dead server before and after it is missed, and the other one in its place.
    on.standIn.stun('server2', 5_000);
    for (const ms of [0, 6_000, 40_000, 120_000]) {
      on.standIn.advance(ms);
      assert.deepEqual(shapeOf(await commands.view(signal)).epoch, shapeOf(await rest.view(signal)).epoch);
    }
    on.standIn.crash('server1');
    on.standIn.advance(31_000);
    const [after, byRest] = [await commands.view(signal), await rest.view(signal)];
    assert.equal(after.epoch, 'failover1@server2');
    assert.equal(byRest.epoch, after.epoch);
    assert.deepEqual(
      after.members.map(({ role, health }) => [role, health]),
      [
        ['backup', 'down'],
        ['primary', 'healthy'],
      ],
    );
    assert.equal(memberOf(after, 'server1')?.transfer?.caughtUp, false);
    assert.equal(memberOf(after, 'server1')?.mayTakeOver, false);
  });

  it('is never better by the API than by commands, however the mirror is', async (t) => {
    if (await needsOpenssl(t)) return;
    await using on = await stage();
    const commands = on.commands();
    const rest = await on.rest();
    const compare = async (expected: boolean | undefined): Promise<void> => {
      const [one, other] = [await commands.view(signal), await rest.view(signal)];
      assert.equal(memberOf(one, 'server2')?.transfer?.caughtUp, expected);
      assert.notEqual(memberOf(other, 'server2')?.transfer?.caughtUp, true);
      for (const { name, health } of other.members) {
        if (health === 'healthy') assert.equal(memberOf(one, name)?.health, 'healthy');
      }
      assert.ok(one.findings.some(({ check }) => check === 'mirror'));
      assert.ok(other.findings.some(({ check }) => check === 'mirror'));
    };
    breakMirror(on.standIn);
    await compare(false);
    on.standIn.ok('server1', 'clpmonctrl', '-r', '-h', 'server1', '-m', 'mdw1');
    on.standIn.advance(15_000);
    assert.equal(on.standIn.mirror().status, 'Recovering');
    await compare(false);
    const view = await commands.view(signal);
    assert.equal(memberOf(view, 'server2')?.health, 'trouble');
    assert.equal(failoverMargin(view, 'server1', { stunMs: 1, holdMs: 0 }).allowed, false, 'one member at a time');
  });

  it('has nobody as primary while the group is stopped', async () => {
    await using on = await stage();
    on.standIn.ok('server1', 'clpgrp', '-t', 'failover1');
    const view = await on.commands().view(signal);
    assert.deepEqual(
      view.members.map(({ role }) => role),
      ['unknown', 'unknown'],
    );
    assert.equal(view.epoch, 'failover1@nobody');
    assert.ok(view.findings.some(({ said }) => said === 'the group failover1 is Offline'));
  });

  it('takes a server that cannot be asked for unknown, and says why', async () => {
    await using on = await stage();
    const topology = on.commands();
    on.standIn.fault({ where: 'clpstat --long', server: 'server2', how: 'lost' });
    const view = await topology.view(signal);
    assert.equal(memberOf(view, 'server2')?.health, 'unknown');
    assert.match(memberOf(view, 'server2')?.findings[0]?.said ?? '', /does not answer: clpstat --long ended in a way/);
    assert.equal(failoverMargin(view, 'server2', { stunMs: 0, holdMs: 0 }).allowed, false);
    for (const server of ['server1', 'server2'])
      on.standIn.fault({ where: 'clpmdstat', server, how: 'does-nothing', said: 'Spiegelstatus: Normal\n' });
    await assert.rejects(topology.view(signal), { code: 'cluster-unknown', message: /printed a line that is not/ });
    for (const server of ['server1', 'server2']) on.standIn.fault({ where: 'clpstat -m', server, how: 'hangs' });
    await assert.rejects(topology.view(signal), { code: 'cluster-unknown', message: /did not end within/ });
  });

  it('refuses when servers contradict each other about the primary', async () => {
    await using on = await stage();
    const split = on.standIn.ok('server2', 'clpstat', '--long').replace(': server1', ': server2');
    on.standIn.fault({ where: 'clpstat --long', server: 'server2', how: 'does-nothing', said: split });
    await assert.rejects(on.commands().view(signal), {
      code: 'cluster-unknown',
      message: /server1 says on server1, server2 says on server2/,
    });
    await assert.rejects(on.commands({ group: 'failover9' }).view(signal), {
      code: 'cluster-unknown',
      message: /failover9/,
    });
  });

  it('counts with monitors of the application and the resource that decides about partitions', async () => {
    await using on = await stage();
    const topology = on.commands({ watchers: { psqlw1: '20s' }, networkPartition: 'pingnp1' });
    const view = await topology.view(signal);
    assert.equal(view.failover.detectionMs, 20_000);
    assert.deepEqual([view.quorum.kind, view.quorum.health], ['arbiter', 'healthy']);
    on.standIn.ok('server1', 'clpmonctrl', '-s', '-h', 'server1', '-m', 'psqlw1');
    assert.equal((await topology.view(signal)).failover.detectionMs, 30_000, 'suspended, it does not act');
    const wrong = await on.commands({ watchers: { other: '20s' }, networkPartition: 'pingnp9' }).view(signal);
    assert.equal(wrong.failover.detectionMs, 20_000, 'one that nobody knows is not taken for suspended');
    assert.equal(wrong.quorum.health, 'unknown');
  });

  it('says by the API why it may not ask, or whom it does not trust', async (t) => {
    if (await needsOpenssl(t)) return;
    await using on = await stage();
    await assert.rejects((await on.rest({ password: 'wrong' })).view(signal), { code: 'database-login' });
    const stranger = join(on.stateDirectory, 'ca.pem');
    const key = join(on.stateDirectory, 'key.pem');
    const subject = ['-subj', '/CN=x', '-days', '1', '-nodes', '-keyout', key, '-out', stranger];
    const argv = ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', ...subject];
    await systemExec.check({ argv: argv as [string, ...string[]], timeoutMs: 60_000 });
    await assert.rejects((await on.rest({ ca: stranger })).view(signal), {
      code: 'cluster-unknown',
      message: /self-signed certificate/,
    });
    await assert.rejects((await on.rest({ ca: '/nonexistent' })).view(signal), { code: 'config-invalid' });
    const rest = await on.rest();
    for (const server of ['server1', 'server2'])
      on.standIn.fault({ where: 'GET /api/v1/groups', server, how: 'fails' });
    await assert.rejects(rest.view(signal), { code: 'cluster-unknown', message: /GET \/groups answered 500/ });
    for (const server of ['server1', 'server2'])
      on.standIn.fault({ where: 'GET /api/v1/servers', server, how: 'lost' });
    await assert.rejects(rest.view(signal), { code: 'cluster-unknown', message: /socket hang up/ });
    const cancelled = new AbortController();
    for (const server of ['server1', 'server2'])
      on.standIn.fault({ where: 'GET /api/v1/servers', server, how: 'hangs' });
    const asking = rest.view(cancelled.signal);
    cancelled.abort();
    await assert.rejects(asking, { code: 'cluster-unknown', message: /abort/ });
  });
});

describe('the settings', () => {
  const good = {
    group: 'failover1',
    mirrors: { md1: { monitor: 'mdw1' } },
    servers: { server1: { ssh: { host: 'a' } }, server2: { ssh: { host: 'b' } } },
  };
  it('are taken as they were put out', async () => {
    await using on = await stage();
    const { config } = clusterpro(quickReach(on.standIn));
    const read = config.parse({ ...good, holdOff: { monitors: ['psqlw1'], ratio } });
    assert.deepEqual(config.parse(read), read);
    const rest = { user: 'root', password: { file: '/p' }, servers: { a: 'https://a:29009', b: 'https://b:29009' } };
    const wrong: readonly object[] = [
      { ...good, rest },
      { ...good, servers: undefined },
      { ...good, servers: { server1: { ssh: { host: 'a' } } } },
      { ...good, mirrors: {} },
      { ...good, group: '-t' },
      { ...good, holdOff: {} },
      { ...good, holdOff: { monitors: ['mdw1'] } },
      { ...good, holdOff: { ratio: { factor: 2, time: '5m' } } },
      { ...good, holdOff: { ratio: { factor: 10_000, time: '31d' } } },
      { ...good, servers: undefined, rest: { ...rest, servers: { a: 'http://a:29009', b: 'https://b:29009' } } },
      { ...good, servers: undefined, rest: { ...rest, password: {} } },
    ];
    for (const each of wrong) assert.equal(config.safeParse(each).success, false, JSON.stringify(each));
    assert.equal(config.safeParse({ ...good, servers: undefined, rest }).success, true);
  });
});
