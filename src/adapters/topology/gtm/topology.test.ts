import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { gtmTopologyOf, serverOf } from '../../../../test/doubles/gtm-cluster.ts';
import { type GtmInstance, type GtmPair, openGtmPair } from '../../../../test/doubles/gtm-pair.ts';
import { type GtmOptions, whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { smallDisk } from '../../../../test/doubles/small-disk.ts';
import { z } from 'zod';
import { changeBetween, type ClusterMember, type ClusterView, memberOf, observe } from '../../../model/cluster.ts';
import type { Command, CommandResult } from '../../../platform/exec.ts';
import type { ReachModule } from '../../../ports/module.ts';
import { gtmReplication } from './topology.ts';

const limits = { limitMs: 60_000 };
const never = new AbortController().signal;
const { clock } = testPlatform;
/** How long a pair may take to be as it was, however slow the machine is. */
const settleMs = 60_000;

async function pairOf(t: TestContext, options: Partial<GtmOptions> = {}): Promise<GtmPair> {
  const pair = await openGtmPair({ regions: 2, ...options });
  t.after(() => pair[Symbol.asyncDispose]());
  return pair;
}

async function connected(t: TestContext, options: Partial<GtmOptions> = {}): Promise<GtmPair> {
  const pair = await pairOf(t, options);
  await pair.a.startSource();
  await pair.b.startReceiver();
  await pair.a.update(3);
  return pair;
}

async function viewWhen(pair: GtmPair, what: string, has: (view: ClusterView) => boolean): Promise<ClusterView> {
  const untilMs = clock.monoMs() + settleMs;
  for (;;) {
    const seen = await gtmTopologyOf(pair).view(never);
    if (has(seen)) return seen;
    if (clock.monoMs() > untilMs) throw new Error(`not seen: ${what}: ${JSON.stringify(seen, undefined, 1)}`);
    await clock.sleep(100);
  }
}

function isWell(view: ClusterView): boolean {
  return view.members.every(({ health }) => health === 'healthy') && followed(view);
}

function followed(view: ClusterView): boolean {
  const replica = view.members.find(({ role }) => role === 'replica');
  return replica?.transfer?.caughtUp === true && replica.apply?.caughtUp === true;
}

const well = (pair: GtmPair): Promise<ClusterView> => viewWhen(pair, 'all is well', isWell);

function member(view: ClusterView, name: string): ClusterMember {
  const found = memberOf(view, name);
  assert.ok(found !== undefined);
  return found;
}

function said(member_: ClusterMember): string {
  return member_.findings.map(({ severity, check, said: words }) => `${severity} ${check}: ${words}`).join('\n');
}

async function mupip({ gtm }: GtmInstance, ...args: readonly string[]): Promise<string> {
  return (await gtm.mupip(args, limits)).text;
}

describe('the topology of a pair of GT.M instances', { skip: whyNoGtm() ?? false, timeout: 600_000 }, () => {
  it('says who is primary and who follows, the same twice, and changes nothing', async (t) => {
    const pair = await connected(t);
    const first = await well(pair);
    assert.deepEqual(JSON.parse(JSON.stringify(first)), first);
    assert.deepEqual([first.manager, first.name, first.findings], ['gtm', 'A-B', []]);
    assert.match(first.epoch, /^A\.1@A\.\d+\.\d{14}$/);
    assert.deepEqual(first.failover.automatic, false);
    const [a, b] = [member(first, 'A'), member(first, 'B')];
    assert.deepEqual(
      [a.role, a.health, a.transfer, a.apply, a.findings],
      ['primary', 'healthy', undefined, undefined, []],
    );
    assert.match(a.reported, /^updates enabled, posted 3; source server for B ACTIVE SENDING_JNLRECS/);
    assert.deepEqual([b.role, b.health, b.findings], ['replica', 'healthy', []]);
    assert.match(b.reported, /^updates disabled, received 3, processed 3; source server for A PASSIVE$/);
    const second = await gtmTopologyOf(pair).view(never);
    assert.equal(changeBetween(observe(first, 'B'), observe(second, 'B')), undefined);
    assert.equal(await pair.a.posted(), 3n);
  });

  it('calls the replica of a busy primary one that follows', async (t) => {
    const pair = await connected(t);
    const load = await pair.a.load(1);
    try {
      const seen = await viewWhen(pair, 'it follows under load', isWell);
      const lag = member(seen, 'B').apply;
      assert.ok(lag?.ms !== undefined && lag.ms < settleMs);
    } finally {
      await load.stop();
    }
  });

  it('asks as the owner of the files', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('needs root');
    const pair = await connected(t, { owner: { uid: 65_534, gid: 65_534 } });
    await well(pair);
  });

  it('shows a replica whose receiver was killed', async (t) => {
    const pair = await connected(t);
    const { epoch } = await well(pair);
    await pair.b.killReceiver();
    await pair.a.update(5);
    const seen = await viewWhen(pair, 'the link is down', (view) => /link/.test(said(member(view, 'A'))));
    const [a, b] = [member(seen, 'A'), member(seen, 'B')];
    assert.equal(b.health, 'trouble');
    assert.match(
      said(b),
      /error servers: the receiver server \(\d+\) is gone\nerror servers: the update process \(\d+\) is gone/,
    );
    assert.match(said(b), /error link: A does not reach it/);
    assert.deepEqual([b.transfer, b.apply], [{ caughtUp: false }, { caughtUp: false }]);
    assert.match(b.reported, /5 to receive and 5 to process in all/);
    // The one that sends is well: mupip calls its server alive and active.
    assert.equal(a.health, 'healthy');
    assert.match(
      said(a),
      /^warning link: nothing is sent to B: its source server is in state WAITING_FOR_CONNECTION, [03] of 8 acknowledged$/,
    );
    assert.equal(seen.epoch, epoch);
    await pair.b.stopReceiver().catch(() => undefined);
    assert.match(said(member(await gtmTopologyOf(pair).view(never), 'B')), /no receiver server was started/);
    await pair.b.startReceiver();
    assert.equal((await well(pair)).epoch, epoch);
  });

  it('shows a primary whose source server was killed, and the same epoch after a new start', async (t) => {
    const pair = await connected(t);
    const { epoch } = await well(pair);
    const load = await pair.a.load(1, 100);
    try {
      await pair.a.killSource();
      const seen = await gtmTopologyOf(pair).view(never);
      assert.deepEqual([member(seen, 'A').role, member(seen, 'A').health], ['primary', 'trouble']);
      assert.match(said(member(seen, 'A')), /error servers: the source server for B \(\d+\) is gone/);
      assert.deepEqual([member(seen, 'B').role, member(seen, 'B').health], ['replica', 'trouble']);
      assert.equal(seen.epoch, epoch);
    } finally {
      await load.stop();
    }
    // Nobody has it open any more, although its memory still answers.
    const dead = member(await gtmTopologyOf(pair).view(never), 'A');
    assert.deepEqual([dead.role, dead.health], ['primary', 'down']);
    await pair.a.stopSource().catch(() => undefined);
    await mupip(pair.a, 'rundown', '-region', '*');
    await pair.a.startSource();
    await pair.a.update(2);
    assert.equal((await well(pair)).epoch, epoch);
  });

  it('shows a replica that is behind, and one that has caught up', async (t) => {
    const pair = await connected(t);
    await well(pair);
    const pid = serverOf(pair.b, / -updateproc /);
    process.kill(pid, 'SIGSTOP');
    try {
      await pair.a.update(100);
      const seen = await viewWhen(pair, 'all is received', (view) => member(view, 'B').transfer?.caughtUp === true);
      const b = member(seen, 'B');
      assert.deepEqual([b.role, b.health, b.apply], ['replica', 'trouble', { caughtUp: false }]);
      assert.match(said(b), /^error servers: the update process \(\d+\) is stopped by a signal$/);
      assert.match(b.reported, /received 103, processed 3; 0 to receive and 100 to process in all/);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await well(pair);
  });

  it('shows another epoch and swapped roles after a switchover, but not after a restart', async (t) => {
    const pair = await connected(t);
    const before = await well(pair);
    await pair.a.stopSource();
    const down = await gtmTopologyOf(pair).view(never);
    assert.deepEqual(
      [member(down, 'A').role, member(down, 'A').health, said(member(down, 'A'))],
      ['primary', 'down', ''],
    );
    assert.equal(member(down, 'B').apply, undefined);
    assert.equal(down.epoch, before.epoch);
    await pair.a.startSource();
    await pair.a.update(1);
    const restarted = await well(pair);
    assert.equal(restarted.epoch, before.epoch);

    await pair.switchover(pair.a, pair.b);
    const after = await well(pair);
    assert.deepEqual([member(after, 'A').role, member(after, 'B').role], ['replica', 'primary']);
    assert.match(after.epoch, /^B\.5@A\./);
    assert.match(
      changeBetween(observe(before, 'B'), observe(after, 'B')) ?? '',
      /epoch.*role of B.*primary was A and is B/,
    );
    await pair.b.update(1);
    assert.equal((await well(pair)).epoch, after.epoch);
  });

  it('shows a crash of the primary, the failover, and that the old one must go back', async (t) => {
    const pair = await connected(t);
    const before = await well(pair);
    await pair.b.stopReceiver();
    await pair.a.update(4);
    await pair.a.crash();
    const crashed = await gtmTopologyOf(pair).view(never);
    assert.deepEqual([member(crashed, 'A').role, member(crashed, 'A').health], ['primary', 'down']);
    assert.match(said(member(crashed, 'A')), /^error rollback: it was not closed down in order/);
    assert.equal(crashed.epoch, before.epoch);

    await pair.b.startSource();
    await pair.b.update(2);
    const failed = await gtmTopologyOf(pair).view(never);
    assert.deepEqual([member(failed, 'A').role, member(failed, 'A').health], ['unknown', 'down']);
    assert.match(said(member(failed, 'A')), /-fetchresync/);
    assert.deepEqual([member(failed, 'B').role, member(failed, 'B').health], ['primary', 'healthy']);
    assert.match(failed.epoch, /^B\.4@A\./);

    // Recovered for itself, with updates that nobody else has.
    await mupip(pair.a, 'rundown', '-region', '*');
    await mupip(pair.a, 'journal', '-rollback', '-backward', '*');
    await pair.a.startReceiver();
    const parted = await viewWhen(pair, 'the receiver gave up', (view) =>
      /no receiver server/.test(said(member(view, 'A'))),
    );
    assert.deepEqual([member(parted, 'A').role, member(parted, 'A').health], ['replica', 'trouble']);
    assert.match(said(member(parted, 'A')), /error rollback: its updates from 4 on are not those of B/);
    assert.deepEqual(member(parted, 'A').apply, { caughtUp: false });
    assert.equal(parted.epoch, failed.epoch);
  });

  it('shows two root primaries, and calls neither the primary', async (t) => {
    const pair = await connected(t);
    await well(pair);
    await pair.b.stopReceiver();
    await pair.b.startSource();
    const seen = await gtmTopologyOf(pair).view(never);
    assert.deepEqual(
      seen.members.map(({ role }) => role),
      ['unknown', 'unknown'],
    );
    assert.deepEqual(
      seen.findings.map(({ severity, check }) => [severity, check]),
      [['error', 'root-primaries']],
    );
    assert.match(seen.epoch, /^A\.1@A\.\S+\+B\.4@A\./);
  });

  it('shows an instance freeze', async (t) => {
    const pair = await connected(t);
    await well(pair);
    await mupip(pair.a, 'replicate', '-source', '-freeze=on', '-comment=maintenance');
    const seen = member(await gtmTopologyOf(pair).view(never), 'A');
    assert.equal(seen.health, 'trouble');
    assert.match(said(seen), /^error instance-freeze: an instance freeze is on \(maintenance\)/);
    await mupip(pair.a, 'replicate', '-source', '-freeze=off');
    await well(pair);
  });

  it('shows a region whose journal broke', async (t) => {
    await using disk = await smallDisk(6 * 1024 * 1024);
    if (disk === undefined) return t.skip('needs root');
    await using pair = await openGtmPair({ regions: 2 });
    await pair.a.startSource();
    await pair.b.startReceiver();
    await pair.a.update(1, 'b');
    await well(pair);
    const journal = join(disk.directory, 'b.mjl');
    await mupip(
      pair.a,
      'set',
      '-region',
      'SECOND',
      '-replication=on',
      `-journal=on,before,file=${journal},allocation=2048`,
    );
    await pair.a.update(1, 'b');
    await writeFile(join(disk.directory, 'rest'), Buffer.alloc(6 * 1024 * 1024)).catch(() => undefined);
    await pair.a.update(20_000, 'b');
    const seen = member(await gtmTopologyOf(pair).view(never), 'A');
    assert.equal(seen.health, 'trouble');
    assert.match(said(seen), /^error replication-state: replication of region SECOND was on: its journal broke/);
  });

  it('goes on while the files of the replica are frozen for a backup', async (t) => {
    const pair = await connected(t);
    const { epoch } = await well(pair);
    await mupip(pair.b, 'freeze', '-on', '*');
    await pair.a.update(10);
    const seen = await gtmTopologyOf(pair).view(never);
    assert.deepEqual([member(seen, 'B').health, member(seen, 'B').apply], ['healthy', { caughtUp: false }]);
    assert.equal(seen.epoch, epoch);
    await mupip(pair.b, 'freeze', '-off', '*');
    await well(pair);
  });

  it('ends at once when it is cancelled', async (t) => {
    const pair = await connected(t);
    const reason = new Error('cancelled');
    await assert.rejects(gtmTopologyOf(pair).view(AbortSignal.abort(reason)), reason);
    const controller = new AbortController();
    const asking = gtmTopologyOf(pair).view(controller.signal);
    controller.abort(reason);
    await assert.rejects(asking, reason);
  });

  it('refuses where nobody can be asked, and shows a member that cannot be', async (t) => {
    const pair = await connected(t);
    await well(pair);
    const place = { ...pair.a.gtm.place, environment: pair.a.gtm.place.variables };
    const { distribution, globalDirectory, replicationInstance, environment } = place;
    const a = { distribution, globalDirectory, replicationInstance, environment };
    const nowhere = { ...a, replicationInstance: '/nonexistent/app.repl' };
    const module = gtmReplication();
    const view = (members: unknown): Promise<ClusterView> =>
      module.create(module.config.parse({ members }), testPlatform).view(never);
    await assert.rejects(view({ A: nowhere }), { code: 'cluster-unknown', message: /A: .*No such file/ });
    await assert.rejects(view({ other: a }), { code: 'cluster-unknown', message: /that of A: call it so/ });
    await assert.rejects(view({ A: { ...a, distribution: '/nonexistent' } }), { code: 'cluster-unknown' });
    const seen = await view({ A: a, B: nowhere });
    assert.deepEqual([member(seen, 'B').role, member(seen, 'B').health], ['unknown', 'unknown']);
    assert.equal(member(seen, 'A').role, 'primary');
    const toy: ReachModule<{ readonly name: string }> = {
      kind: 'toy',
      config: z.strictObject({ name: z.string() }),
      create: ({ name }, local) => {
        const run = (command: Command): Promise<CommandResult> => (reached.add(name), local.exec.run(command));
        return { ...local, exec: { ...local.exec, run } };
      },
    };
    const reached = new Set<string>();
    const far = gtmReplication([toy]);
    assert.equal(far.config.safeParse({ members: { A: { ...a, reach: {} } } }).success, false);
    const there = far.create(
      far.config.parse({ members: { A: { ...a, reach: { toy: { name: 'there' } } } } }),
      testPlatform,
    );
    assert.equal(member(await there.view(never), 'A').role, 'primary');
    assert.deepEqual([...reached], ['there']);
    const alone = member(await view({ A: a }), 'A');
    assert.match(said(alone), /^warning link: it sends to B, which is not in topology.gtm.members/);
  });
});
