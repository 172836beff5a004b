import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { processReach, quickReach } from '../../../../test/doubles/clusterpro/reach.ts';
import { clusterproStandIn, type ClusterproStandIn } from '../../../../test/doubles/clusterpro/stand-in.ts';
import type { ClusterView } from '../../../model/cluster.ts';
import { memberOf } from '../../../model/cluster.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import { systemClock } from '../../../platform/clock.ts';
import { systemExec, type Command } from '../../../platform/exec.ts';
import type { HoldOffToken, Topology } from '../../../ports/topology.ts';
import { clusterpro } from './topology.ts';

const signal = new AbortController().signal;
const options = { otherMonitors: ['psqlw1'] };
const ratio = { factor: 40, time: '20m' };

interface Stage extends AsyncDisposable {
  readonly standIn: ClusterproStandIn;
  readonly stateDirectory: string;
  readonly seen: Command[];
  commands(more?: Readonly<Record<string, unknown>>): Topology;
  rest(more?: Readonly<Record<string, unknown>>): Promise<Topology>;
}

async function stage(): Promise<Stage> {
  await using stack = new AsyncDisposableStack();
  const standIn = stack.use(await clusterproStandIn(options));
  const stateDirectory = await mkdtemp(join(tmpdir(), 'sp-clusterpro-state-'));
  stack.defer(() => rm(stateDirectory, { recursive: true, force: true }));
  const seen: Command[] = [];
  const platform = realPlatform(stateDirectory);
  const module = clusterpro(quickReach(standIn, (command) => void seen.push(command)));
  const common = { group: 'failover1', mirrors: { md1: { monitor: 'mdw1' } } };
  const create = (settings: object, password = 'clusterpro'): Topology =>
    module.create(module.config.parse(settings), platform, () => Promise.resolve(password));
  const servers = { server1: { ssh: { host: 'server1' } }, server2: { ssh: { host: 'server2' } } };
  let served: ReturnType<ClusterproStandIn['serve']> | undefined;
  const kept = stack.move();
  return {
    standIn,
    stateDirectory,
    seen,
    commands: (more = {}) => create({ ...common, servers, ...more }),
    async rest({ password, ca, ...more } = {}) {
      served ??= standIn.serve();
      const { urls, ca: own } = await served;
      const rest = { servers: urls, user: 'root', password: { env: 'P' }, ca: ca ?? own };
      return create({ ...common, rest, ...more }, password as string | undefined);
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function needsOpenssl(t: TestContext): Promise<boolean> {
  if ((await systemExec.which('openssl')) !== undefined) return false;
  t.skip('needs openssl');
  return true;
}

function tokenOf(topology: Topology, view: ClusterView, runId = 'run-1'): HoldOffToken {
  const token = topology.holdOffToken?.(runId, view);
  assert.ok(token);
  return token;
}

async function hold(topology: Topology, token: HoldOffToken): Promise<void> {
  const held = topology.holdOff?.(token, signal);
  assert.ok(held);
  await held;
}

async function release(topology: Topology, token: HoldOffToken): Promise<void> {
  const released = topology.letGo?.(token);
  assert.ok(released);
  await released;
}

/** Breaks the mirror so that it stays broken. */
function breakMirror(standIn: ClusterproStandIn): void {
  for (const server of ['server1', 'server2']) standIn.ok('server1', 'clpmonctrl', '-s', '-h', server, '-m', 'mdw1');
  standIn.ok('server2', 'clpmdctrl', '--break', 'md1');
}

const shapeOf = ({ epoch, failover, quorum, members, name }: ClusterView) => ({
  name,
  epoch,
  failover,
  quorum,
  members: members.map((member) => ({ ...member, reported: '' })),
});

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

const ways = ['commands', 'rest'] as const;
const holdOff = { monitors: ['psqlw1'], ratio };

for (const way of ways) {
  describe(`failover held off by ${way}`, () => {
    const on = async (t: TestContext): Promise<(Stage & { readonly topology: Topology }) | undefined> => {
      if (way === 'rest' && (await needsOpenssl(t))) return undefined;
      const made = await stage();
      const topology = way === 'rest' ? await made.rest({ holdOff }) : made.commands({ holdOff });
      return { ...made, topology, [Symbol.asyncDispose]: () => made[Symbol.asyncDispose]() };
    };
    const suspend = way === 'rest' ? 'POST /api/v1/monitors/psqlw1/suspend' : 'clpmonctrl -s';
    const resume = way === 'rest' ? 'POST /api/v1/monitors/psqlw1/resume' : 'clpmonctrl -r';
    const everywhere = ['server1', 'server2'];

    it('suspends the monitors and extends the time-outs, and undoes exactly that, twice', async (t) => {
      await using test = await on(t);
      if (test === undefined) return;
      const { standIn, topology } = test;
      const before = await topology.view(signal);
      assert.equal(before.failover.heldOff, false);
      const token = tokenOf(topology, before);
      assert.equal(JSON.stringify(token).includes('clusterpro"'), true);
      await release(topology, token);
      assert.equal(
        standIn.state.calls.some(({ what }) => what.includes('resume') || what.includes('-r')),
        false,
      );
      await hold(topology, token);
      await hold(topology, token);
      const during = await topology.view(signal);
      assert.equal(during.failover.heldOff, true);
      assert.equal(during.failover.detectionMs, 1_200_000);
      assert.deepEqual(
        standIn.state.servers.map(({ suspended }) => suspended),
        [['psqlw1'], []],
      );
      standIn.stun('server1', 300_000);
      standIn.advance(310_000);
      assert.deepEqual(standIn.state.failovers, []);
      await release(topology, token);
      await release(topology, token);
      assert.deepEqual(
        standIn.state.servers.map(({ suspended }) => suspended),
        [[], []],
      );
      assert.equal(standIn.state.ratio, 1);
      assert.deepEqual(shapeOf(await topology.view(signal)), shapeOf(before));
      assert.deepEqual(
        (await readdir(test.stateDirectory)).filter((name) => name.startsWith('clusterpro')),
        [],
      );
    });

    it('leaves alone what somebody else holds off', async (t) => {
      await using test = await on(t);
      if (test === undefined) return;
      const { standIn, topology } = test;
      const token = tokenOf(topology, await topology.view(signal));
      standIn.ok('server1', 'clpmonctrl', '-s', '-h', 'server1', '-m', 'psqlw1');
      await assert.rejects(hold(topology, token), {
        code: 'role-unsuitable',
        message: /psqlw1 is suspended on server1/,
      });
      await release(topology, token);
      assert.deepEqual(standIn.state.servers[0]?.suspended, ['psqlw1']);
      standIn.ok('server1', 'clpmonctrl', '-r', '-h', 'server1', '-m', 'psqlw1');
      standIn.ok('server1', 'clptoratio', '-r', '2', '-t', '1h');
      await assert.rejects(hold(topology, token), { code: 'role-unsuitable', message: /ratio is 2 already/ });
      await release(topology, token);
      assert.equal(standIn.state.ratio, 2);
    });

    it('does not believe a word, and takes back what it did', async (t) => {
      await using test = await on(t);
      if (test === undefined) return;
      const { standIn, topology } = test;
      const token = tokenOf(topology, await topology.view(signal));
      standIn.fault({ where: suspend, how: 'does-nothing' });
      await assert.rejects(hold(topology, token), { code: 'command-failed', message: /psqlw1 is Online on server1/ });
      assert.equal(standIn.state.ratio, 1);
      for (const server of everywhere) standIn.fault({ where: suspend, server, how: 'fails', said: 'Not now.' });
      await assert.rejects(hold(topology, token), { code: 'command-failed', message: /Not now\./ });
      assert.equal(standIn.state.ratio, 1);
      assert.deepEqual(
        standIn.state.servers.map(({ suspended }) => suspended),
        [[], []],
      );
    });

    it('goes on where the connection is lost, before or after it acted', async (t) => {
      await using test = await on(t);
      if (test === undefined) return;
      const { standIn, topology } = test;
      const token = tokenOf(topology, await topology.view(signal));
      standIn.fault({ where: suspend, how: 'acts-then-lost' });
      standIn.fault({ where: way === 'rest' ? 'POST /api/v1/cluster/toratio/set' : 'clptoratio -r', how: 'lost' });
      await hold(topology, token);
      assert.equal((await topology.view(signal)).failover.heldOff, true);
      standIn.fault({ where: resume, how: 'lost' });
      await release(topology, token);
      assert.deepEqual(
        standIn.state.servers.map(({ suspended }) => suspended),
        [[], []],
      );
    });

    it('raises an alarm as long as it is not proved that the cluster watches again', async (t) => {
      await using test = await on(t);
      if (test === undefined) return;
      const { standIn, topology } = test;
      const token = tokenOf(topology, await topology.view(signal));
      await hold(topology, token);
      standIn.fault({ where: resume, how: 'does-nothing' });
      await assert.rejects(release(topology, token), { code: 'undo-failed', message: /psqlw1 is Suspend on server1/ });
      for (const server of everywhere) standIn.fault({ where: resume, server, how: 'fails', said: 'Not now.' });
      await assert.rejects(release(topology, token), { code: 'undo-failed', message: /Not now\./ });
      standIn.stun('server1', 5_000);
      standIn.stun('server2', 5_000);
      await assert.rejects(release(topology, token), {
        code: 'undo-failed',
        message: /no server of the cluster tells/,
      });
      standIn.advance(6_000);
      await release(topology, token);
      assert.deepEqual(
        standIn.state.servers.map(({ suspended }) => suspended),
        [[], []],
      );
    });

    it('does not touch a ratio that somebody set meanwhile, nor miss one that has lapsed', async (t) => {
      await using test = await on(t);
      if (test === undefined) return;
      const { standIn, topology } = test;
      const token = tokenOf(topology, await topology.view(signal));
      await hold(topology, token);
      standIn.ok('server1', 'clptoratio', '-r', '7', '-t', '1h');
      assert.equal((await topology.view(signal)).failover.heldOff, false);
      await release(topology, token);
      assert.equal(standIn.state.ratio, 7);
      standIn.ok('server1', 'clptoratio', '-i');
      await hold(topology, token);
      standIn.advance(21 * 60_000);
      assert.equal((await topology.view(signal)).failover.heldOff, false);
      await release(topology, token);
    });
  });
}

describe('holding off', () => {
  it('is not offered where nothing is configured, and not claimed for suspended monitors alone', async () => {
    await using on = await stage();
    const plain = on.commands();
    assert.deepEqual(Object.keys(plain).toSorted(), ['manager', 'view']);
    const monitors = on.commands({ holdOff: { monitors: ['psqlw1'] }, watchers: { psqlw1: '10s' } });
    const token = tokenOf(monitors, await monitors.view(signal));
    await hold(monitors, token);
    const { failover } = await monitors.view(signal);
    assert.deepEqual([failover.heldOff, failover.detectionMs], [false, 30_000]);
    await release(monitors, token);
    const absent = on.commands({ holdOff: { monitors: ['other'] } });
    await assert.rejects(hold(absent, token), { code: 'command-failed', message: /other runs on no server/ });
  });

  it('waits for a server that died with a suspended monitor', async () => {
    await using on = await stage();
    const topology = on.commands({ holdOff: { monitors: ['psqlw1'] } });
    const token = tokenOf(topology, await topology.view(signal));
    await hold(topology, token);
    on.standIn.crash('server1');
    on.standIn.advance(31_000);
    await assert.rejects(release(topology, token), { code: 'undo-failed', message: /psqlw1 is Offline on server1/ });
    on.standIn.boot('server1');
    on.standIn.advance(200_000);
    assert.equal(on.standIn.state.group.current, 'server2');
    await release(topology, token);
  });

  it('is undone by another process after a kill in between', async () => {
    await using on = await stage();
    const settings = {
      group: 'failover1',
      mirrors: { md1: { monitor: 'mdw1' } },
      servers: { server1: { ssh: { host: 'server1' } }, server2: { ssh: { host: 'server2' } } },
      holdOff: { monitors: ['mdnw1', 'psqlw1'], ratio },
    };
    on.standIn.change((state) => void Object.assign(state.options, { otherMonitors: ['mdnw1', 'psqlw1'] }));
    const module = clusterpro(processReach(on.standIn.root));
    const topology = module.create(module.config.parse(settings), realPlatform(on.stateDirectory), () =>
      Promise.reject(new Error('no secret is needed')),
    );
    const token = tokenOf(topology, await topology.view(signal));
    on.standIn.fault({ where: 'clpmonctrl -s -h server1 -m psqlw1', how: 'hangs' });
    const here = import.meta.dirname;
    const child = systemExec.start({
      argv: [
        process.execPath,
        '--input-type=module',
        '--eval',
        `import { clusterpro } from '${here}/topology.ts';
         import { processReach } from '${here}/../../../../test/doubles/clusterpro/reach.ts';
         import { realPlatform } from '${here}/../../../../test/doubles/platform.ts';
         const module = clusterpro(processReach(${JSON.stringify(on.standIn.root)}));
         const settings = module.config.parse(${JSON.stringify(settings)});
         const topology = module.create(settings, realPlatform(${JSON.stringify(on.stateDirectory)}), () => '');
         await topology.holdOff(${JSON.stringify(token)}, new AbortController().signal);`,
      ],
    });
    const isAt = (): boolean => on.standIn.state.calls.some(({ what }) => what.endsWith('-m psqlw1'));
    for (let waited = 0; !isAt(); waited += 50) {
      assert.ok(waited < 60_000, `it did not come to the second monitor: ${child.stderrTail()}`);
      await systemClock.sleep(50);
    }
    child.kill('SIGKILL');
    await child.exited;
    assert.deepEqual(
      on.standIn.state.servers.map(({ suspended }) => suspended),
      [['mdnw1'], []],
    );
    await release(topology, token);
    assert.deepEqual(
      on.standIn.state.servers.map(({ suspended }) => suspended),
      [[], []],
    );
    assert.equal(on.standIn.state.ratio, 1);
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
    const read = config.parse({ ...good, holdOff });
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
