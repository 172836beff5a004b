import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { gate, installGate } from '../../../../test/doubles/reach/gate.ts';
import { reached, type Reached } from '../../../../test/doubles/reach/clients.ts';
import { launchGuard } from '../../../guard/launch.ts';
import type { GuardSpec, HoldReport } from '../../../guard/protocol.ts';
import type { HoldToken } from '../../../model/hold.ts';
import { systemClock } from '../../../platform/clock.ts';
import { systemExec } from '../../../platform/exec.ts';
import type { Platform } from '../../../ports/module.ts';
import { platformAt } from '../../registry.ts';

const timeoutMs = 20_000;
const guardMain = join(import.meta.dirname, '../../../../test/doubles/reach/guard-main.ts');
const reaches = {
  docker: { kind: 'docker', config: { container: 'iris', user: 'irisowner' } },
  podman: { kind: 'docker', config: { container: 'iris', program: 'podman' } },
  kubernetes: { kind: 'kubernetes', config: { namespace: 'db', pod: 'iris-0', container: 'iris', context: 'prod' } },
} as const;

async function waitUntil(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = systemClock.monoMs() + 30_000;
  while (!(await holds())) {
    assert.ok(systemClock.monoMs() < giveUp, `waited 30 s for: ${what}`);
    await systemClock.sleep(20);
  }
}

/** A guard or sentinel that ends may still write its result. */
async function gone(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 20 });
}

describe('a container', () => {
  let place: Reached;
  let local: Platform;
  before(async () => {
    place = await reached();
    local = realPlatform(place.directory);
  });
  after(async () => {
    await place[Symbol.asyncDispose]();
  });

  it('is called as configured, and as another user only where that can be', async () => {
    const { docker, podman, kubernetes } = {
      docker: platformAt(reaches.docker, local),
      podman: platformAt(reaches.podman, local),
      kubernetes: platformAt(reaches.kubernetes, local),
    };
    assert.deepEqual([docker.host.name, kubernetes.host.name], ['iris', 'iris-0']);
    assert.equal(docker.exec, docker.host.exec);
    const last = async (platform: Platform, uid?: number): Promise<string> => {
      await writeFile(join(place.directory, 'calls'), '');
      const { stdout } = await platform.exec.check({
        argv: ['echo', 'a  b'],
        timeoutMs,
        ...(uid === undefined ? {} : { uid }),
      });
      assert.equal(stdout, 'a  b\n');
      return (await place.calls()).replace(/ \[sh\] .*$/s, '');
    };
    assert.equal(await last(docker), 'docker [exec] [-i] [-u] [irisowner] [iris]');
    assert.equal(await last(docker, 1000), 'docker [exec] [-i] [-u] [1000:1000] [iris]');
    assert.equal(await last(podman), 'podman [exec] [-i] [iris]');
    assert.equal(await last(kubernetes), 'kubectl [exec] [-i] [--context] [prod] [-n] [db] [iris-0] [-c] [iris] [--]');
    await assert.rejects(kubernetes.exec.run({ argv: ['true'], uid: 1000, timeoutMs }), {
      code: 'command-failed',
      hint: /runAsUser/,
    });
  });

  it('gives the client what it needs of our environment, and not our passwords', async () => {
    process.env['DOCKER_HOST'] = 'unix:///nowhere';
    process.env['STILLPOINT_TEST_SECRET'] = 'x';
    try {
      const seen: (Readonly<Record<string, string>> | undefined)[] = [];
      const host = {
        ...local.host,
        exec: {
          ...systemExec,
          run: (command: Parameters<typeof systemExec.run>[0]) => {
            seen.push(command.env);
            return systemExec.run(command);
          },
        },
      };
      await platformAt(reaches.docker, { ...local, host }).exec.check({ argv: ['true'], timeoutMs });
      assert.equal(seen[0]?.['DOCKER_HOST'], 'unix:///nowhere');
      assert.equal(seen[0]['STILLPOINT_TEST_SECRET'], undefined);
    } finally {
      delete process.env['DOCKER_HOST'];
      delete process.env['STILLPOINT_TEST_SECRET'];
    }
  });

  it('shows its files here only where that is proved', async () => {
    const { host } = platformAt(reaches.docker, local);
    await writeFile(join(place.outside, 'file'), '');
    assert.equal(await host.pathHere(place.inside), place.outside);
    assert.equal(await host.pathHere(join(place.inside, 'file')), join(place.outside, 'file'));
    assert.equal(await host.pathHere('/etc/passwd'), undefined);
    const { signal } = new AbortController();
    assert.equal((await host.stackOf(place.inside, signal)).path, place.outside);
    assert.ok((await host.freeBytes(place.inside)) > 0);
    await assert.rejects(host.stackOf('/etc/passwd', signal), { code: 'path-outside-group' });
    await assert.rejects(host.pathHere(join(place.inside, 'missing')), { code: 'command-failed' });
    // The daemon's machine is another one: the same name here, and another file.
    const mounts = join(place.directory, 'mounts.json');
    const was = await readFile(mounts, 'utf8');
    await writeFile(mounts, JSON.stringify([{ Source: '/tmp', Destination: place.inside }]));
    assert.equal(await host.pathHere(place.inside), undefined);
    await writeFile(mounts, JSON.stringify([{ Source: '/no/such', Destination: place.inside }]));
    assert.equal(await host.pathHere(place.inside), undefined);
    await writeFile(mounts, was);

    const pod = platformAt(reaches.kubernetes, local).host;
    assert.equal(await pod.pathHere(place.inside), undefined);
    await assert.rejects(pod.stackOf(place.inside, signal), { code: 'path-outside-group' });
    await assert.rejects(pod.freeBytes(place.inside), { code: 'path-outside-group', hint: /stillpoint freeze/ });
  });
});

for (const [name, reach] of Object.entries(reaches)) {
  describe(`a guard that holds an engine through ${name}`, () => {
    let place: Reached;
    let state = '';
    const token: HoldToken = { runId: 'r', workload: 'gates', engine: 'gate', identity: 'r' };
    const frozen = (): boolean => existsSync(join(place.outside, 'frozen'));
    const spec = (budgetMs: number): GuardSpec => ({
      workload: 'gates',
      application: { kind: 'gate', config: { directory: place.inside }, reach },
      token,
      budgetMs,
      socket: join(state, 'g.sock'),
      stateDirectory: state,
      resultFile: join(state, 'result.json'),
    });
    beforeEach(async () => {
      place = await reached();
      state = await mkdtemp(join(tmpdir(), 'sp-reach-state-'));
      await installGate(place.outside);
    });

    it('freezes, asks and thaws on the word', async () => {
      await using _ = place;
      const { client } = await launchGuard(spec(20_000), systemExec, guardMain);
      await client.call('prepare');
      const { answer, seen } = await client.call('freeze');
      assert.deepEqual([answer.frozen, frozen()], [true, true]);
      assert.equal(seen.member, name === 'kubernetes' ? 'iris-0' : 'iris');
      const report = await client.call('thaw');
      assert.deepEqual([report.answer.thawed, report.answer.heldThroughout, report.by], [true, true, 'word']);
      assert.equal(report.before?.asked?.frozen, true);
      assert.equal(frozen(), false);
      await client.call('release');
      client.close();
      await client.closed;
      await gone(state);
    });

    it('thaws when the freeze hangs, and leaves nothing of it', async () => {
      await using _ = place;
      await writeFile(join(place.outside, 'hang'), '');
      const { client } = await launchGuard(spec(1_500), systemExec, guardMain);
      await client.call('prepare');
      const freezing = client.call('freeze').catch((error: unknown) => error);
      await waitUntil('it is frozen', frozen);
      await waitUntil('it is thawed', () => !frozen());
      assert.ok(place.alive().length > 0, 'the hung command is not waited for');
      await freezing;
      client.close();
      await client.closed;
      await waitUntil('the hung command is gone', () => place.alive().length === 0);
      assert.equal(frozen(), false);
      await gone(state);
    });

    it('is replaced by its sentinel when it is killed', async () => {
      await using _ = place;
      const { client, status } = await launchGuard(spec(20_000), systemExec, guardMain);
      await client.call('prepare');
      await client.call('freeze');
      process.kill(status.guard.pid, 'SIGKILL');
      await waitUntil('it is thawed', () => !frozen());
      await waitUntil('the sentinel wrote it down', () => existsSync(join(state, 'result.json')));
      const { report } = JSON.parse(await readFile(join(state, 'result.json'), 'utf8')) as { report: HoldReport };
      assert.deepEqual([report.by, report.answer.thawed, report.answer.heldThroughout], ['sentinel', true, false]);
      await gone(state);
    });

    it('does not say thawed of a container that died in the hold, until it is there again', async () => {
      await using _ = place;
      const { client } = await launchGuard(spec(60_000), systemExec, guardMain);
      await client.call('prepare');
      assert.equal((await client.call('freeze')).answer.frozen, true);
      await place.die();
      const application = gate.create(
        { directory: place.inside },
        'gates',
        platformAt(reach, realPlatform(state)),
        () => Promise.reject(new Error('no secret')),
      );
      assert.equal((await application.status(token)).state, 'unknown');
      assert.equal((await application.thaw(token)).thawed, false);
      const thawing = client.call('thaw');
      await systemClock.sleep(1_000);
      assert.equal(frozen(), true);
      await writeFile(join(place.directory, 'running'), '');
      const report = await thawing.catch((error: unknown) => error);
      await waitUntil('it is thawed', async () => {
        if (frozen()) await application.thaw(token);
        return !frozen();
      });
      if (!(report instanceof Error)) {
        assert.equal((report as HoldReport).answer.heldThroughout, false);
      }
      assert.equal((await application.status(token)).state, 'thawed');
      await client.call('release').catch(() => undefined);
      client.close();
      await client.closed;
      await gone(state);
    });
  });
}
