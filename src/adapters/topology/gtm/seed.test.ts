import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { copyFiles } from '../../../../test/contract/application.ts';
import { gtmTopologyOf } from '../../../../test/doubles/gtm-cluster.ts';
import { freePort } from '../../../../test/doubles/free-ports.ts';
import { type GtmInstance, type GtmPair, openGtmPair } from '../../../../test/doubles/gtm-pair.ts';
import { whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { memberOf } from '../../../model/cluster.ts';
import { systemExec, type Exec } from '../../../platform/exec.ts';
import { processesMarked } from '../../../platform/process.ts';
import type { Gtm } from '../../application/gtm/engine.ts';
import type { MemberPlace } from './config.ts';
import { startActive } from './commands.ts';
import { makeReplica, type ReplicaRequest } from './seed.ts';
import { gtmReplication } from './topology.ts';

const limits = { limitMs: 60_000 };
const never = new AbortController().signal;
const { clock, host } = testPlatform;

function placeOf({ place }: Gtm): MemberPlace {
  const { distribution, globalDirectory, replicationInstance = '', variables } = place;
  return { distribution, globalDirectory, replicationInstance, environment: variables };
}

/** Files of the instance as a restore from a backup leaves them, and C as the instance that is to be made of them. */
async function restored(
  t: TestContext,
  from: GtmInstance,
  how: readonly string[] = [],
): Promise<{ readonly c: Gtm; readonly request: ReplicaRequest }> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-gtm-seed-'));
  const ends: (() => Promise<unknown>)[] = [];
  t.after(async () => {
    for (const end of ends) await end();
    await rm(directory, { recursive: true, force: true });
  });
  await chmod(directory, 0o755);
  const application = from.application();
  const { paths, facts } = await application.locate(never);
  await from.gtm.mupip(['freeze', '-on', ...how, '*'], limits);
  await copyFiles(await application.locate(never), directory);
  await from.gtm.mupip(['freeze', '-off', '*'], limits);
  const scratch = join(directory, 'scratch');
  await mkdir(scratch);
  const at = (original: string): string => join(directory, original);
  await application.adopt?.({ at, required: paths, facts, scratch });
  const c = from.gtm.at({
    globalDirectory: at(from.gtm.place.globalDirectory),
    replicationInstance: join(directory, 'c.repl'),
    // By its own directory, its servers are told from those of the pair.
    variables: { SPDB: directory },
  });
  for (const args of [
    ['replicate', '-receiver', '-shutdown', '-timeout=0'],
    ['replicate', '-source', '-shutdown', '-timeout=0'],
    ['rundown', '-region', '*'],
  ])
    ends.push(() => c.mupip(args, limits));
  const request = {
    ...{ name: 'C', place: placeOf(c), restored: at(from.gtm.place.replicationInstance ?? '') },
    ...{ primary: { name: 'A', place: placeOf(from.gtm) }, listenPort: await freePort() },
    directory: join(directory, 'replica'),
  };
  return { c, request };
}

async function connected(t: TestContext, regions: 1 | 2 = 2): Promise<GtmPair> {
  const pair = await openGtmPair({ regions });
  t.after(() => pair[Symbol.asyncDispose]());
  await pair.a.startSource();
  await pair.b.startReceiver();
  await pair.a.update(50);
  await pair.a.update(5, 'b');
  await pair.caughtUp(pair.a, pair.b);
  return pair;
}

async function start(script: string): Promise<void> {
  await systemExec.check({ argv: ['sh', script], timeoutMs: 60_000 });
}

async function contentOf(gtm: Gtm, file: string): Promise<string> {
  const answer = await gtm.mupip(['extract', '-format=zwr', '-nolog', file], limits);
  assert.ok(answer.exitedWell, answer.text);
  const text = await readFile(file, 'latin1');
  // The first two lines are a title and the time.
  return text.slice(text.indexOf('\n', text.indexOf('\n') + 1));
}

describe('a replica from a restored copy', { skip: whyNoGtm() ?? false, timeout: 300_000 }, () => {
  for (const [what, side, regions, freeze] of [
    ['the primary', 'a', 2, []],
    ['the replica', 'b', 2, []],
    ['the primary under an online freeze', 'a', 1, ['-online', '-noautorelease']],
  ] as const) {
    it(`of ${what} follows a primary that goes on, and may take over`, async (t) => {
      const pair = await connected(t, regions);
      const load = await pair.a.load(1, 10);
      const made = await restored(t, pair[side], freeze);
      const request = { ...made.request, primary: { name: 'A', place: placeOf(pair.a.gtm) } };
      const seeded = await makeReplica(request, host, never);
      assert.ok(seeded.next > 1n);
      await start(seeded.script);
      const log = join(request.directory, 'source.log');
      const [, ...args] = startActive(placeOf(pair.a.gtm), 'C', `127.0.0.1:${request.listenPort}`, log);
      assert.ok((await pair.a.gtm.mupip(args, limits)).exitedWell);

      const { config, create } = gtmReplication();
      const members = { A: placeOf(pair.a.gtm), B: placeOf(pair.b.gtm), C: request.place };
      const topology = create(config.parse({ members }), testPlatform);
      const first = await topology.view(never);
      const untilMs = clock.monoMs() + 60_000;
      let seen = first;
      while (memberOf(seen, 'C')?.apply?.caughtUp !== true || seen.members.some(({ health }) => health !== 'healthy')) {
        assert.ok(clock.monoMs() < untilMs, JSON.stringify(seen));
        await clock.sleep(200);
        seen = await topology.view(never);
      }
      assert.equal(memberOf(seen, 'C')?.role, 'replica');
      assert.equal(seen.epoch, first.epoch);
      await load.stop();
      const posted = await pair.a.posted();
      const isEqual = (): boolean => memberOf(seen, 'C')?.reported.includes(`processed ${posted}`) === true;
      while (!isEqual()) {
        assert.ok(clock.monoMs() < untilMs, JSON.stringify(seen));
        seen = await topology.view(never);
      }
      const mine = await contentOf(made.c, join(request.directory, 'mine'));
      assert.ok(mine === (await contentOf(pair.a.gtm, join(request.directory, 'theirs'))), 'both ends are equal');
      await assert.rejects(makeReplica(request, host, never), { code: 'target-not-empty' });

      await pair.a.stopSource();
      await made.c.mupip(['replicate', '-receiver', '-shutdown', '-timeout=0'], limits);
      const to = ['-instsecondary=A', '-secondary=127.0.0.1:9', '-rootprimary', `-log=${request.directory}/active.log`];
      assert.ok((await made.c.mupip(['replicate', '-source', '-activate', ...to], limits)).exitedWell);
      assert.ok((await made.c.xecute('set ^a("from","c")=1', limits)).exitedWell);
      const after = await topology.view(never);
      assert.equal(memberOf(after, 'C')?.role, 'primary');
      assert.ok(after.epoch.startsWith(`C.${posted + 1n}@`), after.epoch);
      // The other replica knows an older history, and all of it is that of the new primary.
      assert.doesNotMatch(JSON.stringify(memberOf(after, 'B')?.findings), /rollback/);
    });
  }

  it('is not begun where the primary does not know its updates, and leaves nothing behind', async (t) => {
    const pair = await connected(t);
    // Updates that only A has, and then a failover.
    await pair.b.stopReceiver();
    await pair.a.update(3);
    const { c, request } = await restored(t, pair.a);
    const { place } = request;
    await pair.a.crash();
    await assert.rejects(makeReplica(request, host, never), { code: 'role-unsuitable', message: /not a root primary/ });
    await pair.b.startSource();
    const b = { ...request, primary: { name: 'B', place: placeOf(pair.b.gtm) } };
    await assert.rejects(makeReplica(b, host, never), {
      code: 'role-unsuitable',
      message: /has updates up to 58, and the primary up to 55/,
    });
    // The primary has as many by now, but others.
    await pair.b.update(10);
    await assert.rejects(makeReplica(b, host, never), {
      code: 'role-unsuitable',
      message: /its updates from 56 on are not the primary's/,
    });
    assert.equal(existsSync(place.replicationInstance), false);
    assert.match((await c.mupip(['rundown', '-region', '*'], limits)).text, /MUFILRNDWNSUC/);
    assert.equal((await gtmTopologyOf(pair).view(never)).members.find(({ name }) => name === 'B')?.role, 'primary');
  });

  it('undoes what was begun when it is cancelled', async (t) => {
    const pair = await connected(t);
    const { c, request } = await restored(t, pair.a);
    const controller = new AbortController();
    const run: Exec['run'] = async (command) => {
      const result = await host.exec.run(command);
      if (command.argv.includes('-instance_create')) controller.abort(new Error('cancelled'));
      return result;
    };
    const cancelling = { ...host, exec: { ...host.exec, run } };
    await assert.rejects(makeReplica(request, cancelling, controller.signal), /cancelled/);
    assert.equal(existsSync(request.place.replicationInstance), false);
    assert.equal(existsSync(request.directory), false);
    const regions = await c.dse(['all', '-dump'], limits);
    assert.equal(regions.text.match(/Replication State +OFF/g)?.length, 2);
    assert.deepEqual(processesMarked('gtm_repl_instance', request.place.replicationInstance), []);
  });

  it('is started by a script that ends what it began when the receiver does not stay, and can be called again', async (t) => {
    const pair = await connected(t);
    const { c, request } = await restored(t, pair.a);
    const { next, script } = await makeReplica(request, host, never);
    assert.equal(next, 56n);
    // A log that cannot be made ends the receiver server before it is one.
    const log = join(request.directory, 'receiver.log');
    await mkdir(log);
    await assert.rejects(start(script), /did not start/);
    assert.deepEqual(processesMarked('gtm_repl_instance', request.place.replicationInstance), []);
    await rename(log, `${log}-away`);
    await start(script);
    assert.match((await c.mupip(['replicate', '-receiver', '-checkhealth'], limits)).text, /Update process is alive/);
  });

  it('is not begun where the primary lacks journals of what it would ask for', async (t) => {
    const pair = await connected(t);
    const { c, request } = await restored(t, pair.a);
    const switched = async (): Promise<string> => {
      await pair.a.update(5);
      const { text } = await pair.a.gtm.mupip(['set', '-region', 'DEFAULT', '-journal=on,before'], limits);
      const file = /renamed to (\S+)/.exec(text)?.[1];
      assert.ok(file, text);
      return file;
    };
    const first = await switched();
    const second = await switched();
    await pair.a.update(5);
    for (const file of [first, second]) {
      await rename(file, `${file}.away`);
      await assert.rejects(makeReplica(request, host, never), {
        code: 'journal-gap',
        message: new RegExp(`A lacks journals from update 56 on: ${file}`),
      });
      await rename(`${file}.away`, file);
    }
    assert.equal(existsSync(request.directory), false);
    assert.equal((await makeReplica(request, host, never)).next, 56n);
    assert.match((await c.mupip(['rundown', '-region', '*'], limits)).text, /MUFILRNDWNSUC/);
  });
});
