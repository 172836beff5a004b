/** Three instances in one mirror, and the topology adapter that asks them: what its tests share. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Reach } from '../../../src/adapters/topology/iris-mirror/config.ts';
import { irisMirror } from '../../../src/adapters/topology/iris-mirror/topology.ts';
import type { ClusterView } from '../../../src/model/cluster.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import type { HoldOffToken, Topology } from '../../../src/ports/topology.ts';
import { realPlatform } from '../platform.ts';
import type { MirrorSet } from './mirror-set.ts';
import { irisStandIn, type IrisStandIn } from './stand-in.ts';

export const mirrorName = 'STAGE';
export const never = new AbortController().signal;
export const both = { db1: { instance: 'A', member: 'NODEA/A' }, db2: { instance: 'B', member: 'nodeb/b' } };
export const all = { ...both, dr: { instance: 'DR', member: 'NODEC/DR' } };
const names = ['A', 'B', 'DR'];

/** The programs of a stand-in, found without a search path. */
export function execOf({ bin }: Pick<IrisStandIn, 'bin'>) {
  return { ...systemExec, which: (program: string) => Promise.resolve(join(bin, program)) };
}

export function topologyFor(
  standIn: Pick<IrisStandIn, 'bin'>,
  instances: object,
  reaches: readonly Reach[] = [],
): Topology {
  const module = irisMirror(reaches);
  const config = module.config.parse({ mirror: mirrorName, instances });
  return module.create(config, realPlatform('/nonexistent', { exec: execOf(standIn) }), () =>
    Promise.resolve('secret'),
  );
}

/** How many members have the no-failover flag. */
export function flagged({ members }: MirrorSet): number {
  return members.filter(({ definedPrimary }) => definedPrimary !== '').length;
}

export class MirrorBench implements AsyncDisposable {
  readonly standIn: IrisStandIn;
  readonly #fresh: MirrorSet;
  #runs = 0;

  private constructor(standIn: IrisStandIn) {
    this.standIn = standIn;
    this.#fresh = standIn.mirror(mirrorName);
  }

  static async start(): Promise<MirrorBench> {
    const standIn = await irisStandIn({
      instances: names.map((name) => ({ name, databases: [{ name: 'IRISSYS' }] })),
      mirrors: [
        {
          name: mirrorName,
          members: [
            { member: 'NODEA/A', instance: 'A' },
            { member: 'NODEB/B', instance: 'B' },
            { member: 'NODEC/DR', instance: 'DR', type: 'Disaster Recovery' },
          ],
        },
      ],
    });
    return new MirrorBench(standIn);
  }

  /** As after the start: all run, A is primary, nothing is held off. */
  async reset(): Promise<void> {
    for (const name of names) {
      this.standIn.faults(name, {});
      if (this.standIn.instance(name).status !== 'running') await this.standIn.run('iris', ['start', name]);
    }
    this.mirrorAsNew();
    for (const name of names) {
      await this.script(name, 'kill ^ZSTILLPOINT');
      rmSync(join(this.standIn.instance(name).manager, 'messages.log'), { force: true });
    }
  }

  mirrorAsNew(): void {
    this.standIn.changeMirror(mirrorName, (mirror) => Object.assign(mirror, structuredClone(this.#fresh)));
  }

  get mirror(): MirrorSet {
    return this.standIn.mirror(mirrorName);
  }

  topology(instances: object = both): Topology {
    return topologyFor(this.standIn, instances);
  }

  async see(instances: object = both): Promise<ClusterView> {
    return await this.topology(instances).view(never);
  }

  token(): HoldOffToken {
    this.#runs += 1;
    const runId = `r${this.#runs}`;
    return { manager: 'iris-mirror', cluster: mirrorName, runId, identity: `stillpoint-${runId}:db1,db2` };
  }

  async holdOff(token: HoldOffToken, instances: object = both): Promise<void> {
    await this.topology(instances).holdOff?.(token, never);
  }

  async letGo(token: HoldOffToken): Promise<void> {
    await this.topology().letGo?.(token);
  }

  async script(instance: string, ...lines: readonly string[]): Promise<string> {
    const stdin = `${[...lines, 'halt'].join('\n')}\n`;
    return (await this.standIn.run('iris', ['session', instance, '-U%SYS'], { stdin })).stdout;
  }

  async start(instance: string): Promise<void> {
    await this.standIn.run('iris', ['start', instance]);
  }

  async stop(instance: string): Promise<void> {
    await this.standIn.run('iris', ['stop', instance, 'quietly']);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.standIn[Symbol.asyncDispose]();
  }
}
