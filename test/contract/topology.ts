import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { changeBetween, type ClusterView, type Lag, memberOf, observe } from '../../src/model/cluster.ts';
import { codeOf } from '../../src/model/errors.ts';
import { systemClock } from '../../src/platform/clock.ts';
import type { HoldOffToken, Topology } from '../../src/ports/topology.ts';

/** A cluster that runs, and ways to do something to it from outside. The suite uses one scene from its first test to its last. */
export interface TopologyScene {
  /** A new instance, as after a restart of the program. */
  create(): Topology;
  /** All members by the names that a view gives them, the primary first. */
  readonly members: readonly [string, ...string[]];
  /** A member that is no primary and whose end makes nobody take over. */
  readonly standby: string;
  /** Ends the member as a crash would; returns when it is gone. */
  kill(member: string): Promise<void>;
  /** Starts it again; returns at once, and the suite waits until the view shows it healthy. */
  revive(member: string): Promise<void>;
  /** Makes this standby fall behind, and lets it catch up again when disposed of. Absent: cannot be done here. */
  lag?(member: string): Promise<AsyncDisposable>;
  /** Makes another member primary; returns when that one takes writes. The old primary may be gone afterwards. */
  failOver(): Promise<void>;
  readonly dispose: () => PromiseLike<void>;
}

/** How long a cluster may take to be as it was, however slow the machine is. */
const settleMs = 90_000;
/** The port says a few seconds. */
const viewMs = 20_000;
const pollMs = 200;

const never = (): AbortSignal => new AbortController().signal;

/** What must be the same in two views of a cluster to which nothing happens. */
function lasting(view: ClusterView): unknown {
  return {
    manager: view.manager,
    name: view.name,
    epoch: view.epoch,
    automatic: view.failover.automatic,
    detectionMs: view.failover.detectionMs,
    quorum: [view.quorum.kind, view.quorum.health],
    members: view.members
      .map(({ name, role, health, mayTakeOver, leadsQuorum }) => ({ name, role, health, mayTakeOver, leadsQuorum }))
      .toSorted((one, other) => (one.name < other.name ? -1 : 1)),
  };
}

function assertSound(view: ClusterView): void {
  assert.deepEqual(structuredClone(view), view, 'a view is plain data');
  assert.ok(view.manager !== '' && view.name !== '' && view.epoch !== '');
  const names = view.members.map(({ name }) => name);
  assert.deepEqual([...new Set(names)], names, 'names are unique');
  assert.ok(view.members.filter(({ role }) => role === 'primary').length <= 1, 'there is one primary at most');
  for (const { name, transfer, apply } of view.members) {
    for (const lag of [transfer, apply]) assertLag(name, lag);
  }
  const { detectionMs } = view.failover;
  assert.ok(detectionMs === undefined || (Number.isFinite(detectionMs) && detectionMs >= 0));
}

function assertLag(name: string, lag: Lag | undefined): void {
  for (const figure of [lag?.ms, lag?.bytes]) {
    assert.ok(figure === undefined || (Number.isFinite(figure) && figure >= 0), `${name}: ${figure} is no lag`);
  }
}

/** The suite that every topology adapter runs. `make` returns `{ skip }` where the machine lacks what it needs. */
export function topologyContract(name: string, make: () => Promise<TopologyScene | { readonly skip: string }>): void {
  describe(`topology contract: ${name}`, () => {
    let made: TopologyScene | { readonly skip: string };
    before(async () => {
      made = await make();
    });
    after(async () => {
      if (!('skip' in made)) await made.dispose();
    });

    function test(what: string, run: (scene: TopologyScene, t: TestContext) => Promise<void>): void {
      it(what, async (t) => ('skip' in made ? t.skip(made.skip) : run(made, t)));
    }

    async function view(scene: TopologyScene): Promise<ClusterView> {
      const started = systemClock.monoMs();
      const seen = await scene.create().view(never());
      assert.ok(systemClock.monoMs() - started < viewMs, 'a view takes a few seconds at most');
      assertSound(seen);
      return seen;
    }

    /** The first view that has it. While a cluster changes, a view may be refused, but only for want of a primary. */
    async function viewWith(
      scene: TopologyScene,
      what: string,
      has: (view: ClusterView) => boolean,
    ): Promise<ClusterView> {
      const deadline = systemClock.monoMs() + settleMs;
      let last: unknown;
      while (systemClock.monoMs() < deadline) {
        try {
          const seen = await view(scene);
          if (has(seen)) return seen;
          last = seen;
        } catch (cause) {
          if (codeOf(cause) !== 'cluster-unknown') throw cause;
          last = cause;
        }
        await systemClock.sleep(pollMs);
      }
      throw new Error(`no view showed within ${settleMs} ms: ${what}; the last one: ${JSON.stringify(last)}`);
    }

    function allWell(scene: TopologyScene): (view: ClusterView) => boolean {
      return ({ members }) =>
        scene.members.every((member) =>
          members.some(
            ({ name: known, health, role }) => known === member && health === 'healthy' && role !== 'unknown',
          ),
        );
    }

    test('says who is who, and the same twice', async (scene) => {
      const first = await viewWith(scene, 'all members are well', allWell(scene));
      assert.equal(scene.create().manager, first.manager);
      assert.deepEqual(first.members.map((member) => member.name).toSorted(), scene.members.toSorted());
      assert.equal(memberOf(first, scene.members[0])?.role, 'primary');
      assert.notEqual(memberOf(first, scene.standby)?.role, 'primary');
      const topology = scene.create();
      assert.deepEqual(lasting(await topology.view(never())), lasting(first));
      assert.deepEqual(lasting(await topology.view(never())), lasting(first));
      assert.equal(changeBetween(observe(first, scene.standby), observe(await view(scene), scene.standby)), undefined);
    });

    test('gives no lag for a primary, and a caught up standby in both ways', async (scene) => {
      const seen = await viewWith(scene, 'the standby is caught up', (each) => {
        const standby = memberOf(each, scene.standby);
        return standby?.transfer?.caughtUp === true && standby.apply?.caughtUp === true;
      });
      const primary = memberOf(seen, scene.members[0]);
      assert.deepEqual([primary?.transfer, primary?.apply], [undefined, undefined]);
    });

    test('says of a standby that falls behind that it is not caught up, and in the end that it is', async (scene, t) => {
      if (scene.lag === undefined) return t.skip('no way to make a member of this cluster lag');
      const before_ = await view(scene);
      const isCaughtUp = (each: ClusterView): boolean => {
        const standby = memberOf(each, scene.standby);
        return standby?.transfer?.caughtUp === true && standby.apply?.caughtUp === true;
      };
      {
        await using _lagging = await scene.lag(scene.standby);
        const seen = await viewWith(scene, 'the standby is behind', (each) => !isCaughtUp(each));
        assert.equal(seen.epoch, before_.epoch);
      }
      await viewWith(scene, 'the standby is caught up again', isCaughtUp);
    });

    test('shows a dead member as down, in the same epoch, and well again when it is back', async (scene) => {
      const before_ = await viewWith(scene, 'all members are well', allWell(scene));
      await scene.kill(scene.standby);
      try {
        const seen = await viewWith(
          scene,
          'the dead member is down',
          (each) => memberOf(each, scene.standby)?.health === 'down',
        );
        assert.equal(seen.epoch, before_.epoch);
        assert.equal(memberOf(seen, scene.members[0])?.role, 'primary');
        assert.notEqual(memberOf(seen, scene.standby)?.apply?.caughtUp, true, 'a dead member is not caught up');
      } finally {
        await scene.revive(scene.standby);
      }
      const again = await viewWith(scene, 'the member is well again', allWell(scene));
      assert.equal(again.epoch, before_.epoch, 'nobody else became primary');
    });

    test('ends quickly when it is cancelled, before and meanwhile', async (scene) => {
      const topology = scene.create();
      await assert.rejects(topology.view(AbortSignal.abort(new Error('cancelled before'))), /cancelled before/);
      const controller = new AbortController();
      const asking = topology.view(controller.signal);
      controller.abort(new Error('cancelled meanwhile'));
      const started = systemClock.monoMs();
      // Whoever had all its answers by then may give them.
      await asking.then(assertSound, (cause: unknown) => assert.match(String(cause), /cancelled meanwhile/));
      assert.ok(systemClock.monoMs() - started < viewMs);
    });

    test('holds failover off, for its owner only, and lets it go twice', async (scene, t) => {
      const topology = scene.create();
      const present = (['holdOff', 'holdOffToken', 'letGo'] as const).filter((each) => topology[each] !== undefined);
      assert.ok(
        present.length === 0 || present.length === 3,
        `the three methods are there together, not ${present.join()}`,
      );
      if (present.length === 0) return t.skip('this manager cannot be told not to fail over');
      const before_ = await viewWith(scene, 'all members are well', allWell(scene));
      assert.equal(before_.failover.heldOff, false);
      const tokenOf = (runId: string): HoldOffToken => {
        const token = topology.holdOffToken?.(runId, before_);
        assert.ok(token !== undefined);
        return token;
      };
      const ours = tokenOf('20260102-030405-aaaaaa');
      const others = tokenOf('20260102-030405-bbbbbb');
      assert.deepEqual(ours, tokenOf('20260102-030405-aaaaaa'), 'a token follows from run and cluster');
      assert.notEqual(ours.identity, others.identity);
      const held = async (): Promise<boolean | undefined> => (await view(scene)).failover.heldOff;
      try {
        await topology.holdOff?.(ours, never());
        assert.equal(await held(), true);
        await scene.create().holdOff?.(ours, never());
        assert.equal(await held(), true, 'held off twice by one run is held off');
        await assert.rejects(
          async () => scene.create().holdOff?.(others, never()),
          (cause) => codeOf(cause) === 'role-unsuitable',
        );
        await scene.create().letGo?.(others);
        assert.equal(await held(), true, 'somebody else cannot let it go');
      } finally {
        await scene.create().letGo?.(ours);
      }
      assert.equal(await held(), false);
      await scene.create().letGo?.(ours);
      const after_ = await viewWith(scene, 'all members are well', allWell(scene));
      assert.deepEqual(lasting(after_), lasting(before_), 'nothing else is different afterwards');
    });

    // The last one: the cluster may be short of a member afterwards.
    test('shows another epoch and another primary after a failover', async (scene) => {
      const before_ = await viewWith(scene, 'all members are well', allWell(scene));
      await scene.failOver();
      const seen = await viewWith(scene, 'another one is primary', ({ members }) =>
        members.some(({ name: member, role }) => role === 'primary' && member !== scene.members[0]),
      );
      assert.notEqual(seen.epoch, before_.epoch);
      const said = changeBetween(observe(before_, scene.standby), observe(seen, scene.standby));
      assert.match(said ?? '', /epoch/);
      assert.equal((await view(scene)).epoch, seen.epoch, 'the new epoch lasts');
    });
  });
}
