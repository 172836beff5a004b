import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { clusterpro } from '../../../src/adapters/topology/clusterpro/topology.ts';
import type { ClusterView } from '../../../src/model/cluster.ts';
import { systemExec, type Command } from '../../../src/platform/exec.ts';
import type { Topology } from '../../../src/ports/topology.ts';
import { realPlatform } from '../platform.ts';
import { quickReach } from './reach.ts';
import { clusterproStandIn, type ClusterproStandIn } from './stand-in.ts';

export const signal = new AbortController().signal;
const options = { otherMonitors: ['psqlw1'] };
export const ratio = { factor: 40, time: '20m' };

/** A cluster that is not there, and the adapter before it by both ways. */
export interface Stage extends AsyncDisposable {
  readonly standIn: ClusterproStandIn;
  readonly stateDirectory: string;
  readonly seen: Command[];
  commands(more?: Readonly<Record<string, unknown>>): Topology;
  rest(more?: Readonly<Record<string, unknown>>): Promise<Topology>;
}

export async function stage(): Promise<Stage> {
  await using stack = new AsyncDisposableStack();
  const standIn = stack.use(await clusterproStandIn(options));
  const stateDirectory = await mkdtemp(join(tmpdir(), 'sp-clusterpro-state-'));
  stack.defer(() => rm(stateDirectory, { recursive: true, force: true }));
  const seen: Command[] = [];
  const platform = realPlatform(stateDirectory);
  const module = clusterpro(quickReach(standIn, { before: (command) => void seen.push(command) }));
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

/** True when the test was skipped: the API wants a certificate. */
export async function needsOpenssl(t: TestContext): Promise<boolean> {
  if ((await systemExec.which('openssl')) !== undefined) return false;
  t.skip('needs openssl');
  return true;
}

/** A view without its words for people. */
export const shapeOf = ({ epoch, failover, quorum, members, name }: ClusterView) => ({
  name,
  epoch,
  failover,
  quorum,
  members: members.map((member) => ({ ...member, reported: '' })),
});
