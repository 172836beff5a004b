import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { describe, it, type TestContext } from 'node:test';
import { processReach, quickReach, type Around } from '../../../../test/doubles/clusterpro/reach.ts';
import { needsOpenssl, ratio, shapeOf, signal, stage, type Stage } from '../../../../test/doubles/clusterpro/stage.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import type { ClusterView } from '../../../model/cluster.ts';
import { systemClock } from '../../../platform/clock.ts';
import { systemExec } from '../../../platform/exec.ts';
import type { HoldOffToken, Topology } from '../../../ports/topology.ts';
import { clusterpro } from './topology.ts';

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
    assert.deepEqual(Object.keys(plain).toSorted(), ['manager', 'split', 'view']);
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

  it('is undone exactly, wherever its process was killed', async () => {
    await using on = await stage();
    const settings = {
      group: 'failover1',
      mirrors: { md1: { monitor: 'mdw1' } },
      servers: { server1: { ssh: { host: 'server1' } }, server2: { ssh: { host: 'server2' } } },
      holdOff: { monitors: ['psqlw1'], ratio },
    };
    const create = (around: Around = {}): Topology => {
      const module = clusterpro(quickReach(on.standIn, around));
      return module.create(module.config.parse(settings), realPlatform(on.stateDirectory), () => Promise.resolve(''));
    };
    const well = create();
    const view = await well.view(signal);
    for (const when of ['before', 'after'] as const) {
      let whole = false;
      let suspended = 0;
      for (let at = 1; !whole; at += 1) {
        const token = tokenOf(well, view, `run-${when}-${at}`);
        const killed = Promise.withResolvers<'killed'>();
        let commands = 0;
        const topology = create({
          [when]: (): Promise<void> | undefined => {
            commands += 1;
            if (commands < at) return undefined;
            killed.resolve('killed');
            return killed.promise.then(() => new Promise<void>(() => undefined));
          },
        });
        whole = (await Promise.race([killed.promise, hold(topology, token)])) !== 'killed';
        suspended += on.standIn.state.servers[0]?.suspended.length ?? 0;
        await release(well, token);
        assert.deepEqual(
          on.standIn.state.servers.map((server) => server.suspended),
          [[], []],
        );
        assert.equal(on.standIn.state.ratio, 1);
      }
      assert.ok(suspended > 1, 'some were killed while it was held off');
    }
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
    let hasEnded = false;
    void child.exited.then(() => (hasEnded = true));
    const isAt = (): boolean => on.standIn.state.calls.some(({ what }) => what.endsWith('-m psqlw1'));
    try {
      for (let waited = 0; !isAt(); waited += 50) {
        assert.ok(!hasEnded && waited < 60_000, `it did not come to the second monitor: ${child.stderrTail()}`);
        await systemClock.sleep(50);
      }
    } finally {
      child.kill('SIGKILL');
    }
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
