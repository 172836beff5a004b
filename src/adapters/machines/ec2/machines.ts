import { StillpointError } from '../../../model/errors.ts';
import { environmentFor } from '../../../platform/exec-through.ts';
import type { Exec } from '../../../platform/exec.ts';
import type { CutSnapshot, FastRestore, MachineLook, Machines, MadeVolume } from '../../../ports/machines.ts';
import type { MachinesModule } from '../../../ports/module.ts';
import * as commands from './commands.ts';
import type { Argv } from './commands.ts';
import { config, type Config } from './config.ts';
import {
  parseConsole,
  parseFastStates,
  parseInstance,
  parseSnapshots,
  parseUnsuccessful,
  parseVolumes,
} from './parse.ts';

const commandMs = 60_000;

/** Where the program finds who may ask: nothing else of our environment reaches it. */
const ofAws = /^(?:AWS_\w+|HOME|HTTPS?_PROXY|NO_PROXY|https?_proxy|no_proxy)$/;

export class Ec2 implements Machines {
  readonly kind = 'ec2';
  readonly disks = 'ebs';
  readonly #settings: Config;
  readonly #exec: Exec;

  constructor(settings: Config, exec: Exec) {
    this.#settings = settings;
    this.#exec = exec;
  }

  machineOf(server: string): string {
    return this.#known(this.#settings.instances[server], server);
  }

  deviceOf(server: string): string {
    return this.#known(this.#settings.devices[server], server).device;
  }

  partitionsOf(server: string): readonly string[] {
    return this.#known(this.#settings.devices[server], server).partitions;
  }

  #known<T>(found: T | undefined, server: string): T {
    if (found === undefined) throw new Error(`no instance is configured for ${server}`);
    return found;
  }

  async look(server: string, signal?: AbortSignal): Promise<MachineLook> {
    const instance = this.machineOf(server);
    const output = await this.#run(commands.describeInstance(this.#settings, instance), signal);
    return parseInstance(output, instance, this.deviceOf(server));
  }

  async start(server: string): Promise<void> {
    await this.#run(commands.startInstance(this.#settings, this.machineOf(server)));
  }

  async stop(server: string): Promise<void> {
    await this.#run(commands.stopInstance(this.#settings, this.machineOf(server)));
  }

  async console(server: string): Promise<string> {
    return parseConsole(await this.#run(commands.consoleOutput(this.#settings, this.machineOf(server))));
  }

  async snapshot(volume: string, run: string): Promise<void> {
    await this.#run(commands.createSnapshot(this.#settings, volume, run));
  }

  async snapshots(run: string): Promise<readonly CutSnapshot[]> {
    return parseSnapshots(await this.#run(commands.snapshotsOf(this.#settings, run)));
  }

  async snapshotOf(id: string): Promise<CutSnapshot | undefined> {
    return parseSnapshots(await this.#run(commands.snapshotById(this.#settings, id)))[0];
  }

  async deleteSnapshot(id: string): Promise<void> {
    await this.#run(commands.deleteSnapshot(this.#settings, id));
  }

  async volumeFrom(snapshot: string, zone: string, run: string, server: string): Promise<void> {
    await this.#run(commands.createVolume(this.#settings, snapshot, zone, run, server));
  }

  async volumes(run: string, server: string): Promise<readonly MadeVolume[]> {
    return parseVolumes(await this.#run(commands.volumesOf(this.#settings, run, server)));
  }

  async volumesOf(snapshot: string): Promise<readonly MadeVolume[]> {
    return parseVolumes(await this.#run(commands.volumesFrom(this.#settings, snapshot)));
  }

  readonly fast: FastRestore = {
    price: 'billed for each zone by the minute, an hour at least',
    states: async (snapshot) =>
      parseFastStates(await this.#run(commands.fastStates(this.#settings, snapshot)), snapshot),
    enable: async (snapshot, zones) => {
      const argv = commands.enableFast(this.#settings, snapshot, zones);
      refuseUnsuccessful(await this.#run(argv), argv[2] ?? '');
    },
    disable: async (snapshot, zones) => {
      const argv = commands.disableFast(this.#settings, snapshot, zones);
      refuseUnsuccessful(await this.#run(argv), argv[2] ?? '');
    },
  };

  async deleteVolume(id: string): Promise<void> {
    await this.#run(commands.deleteVolume(this.#settings, id));
  }

  async detach(volume: string, server: string): Promise<void> {
    await this.#run(commands.detachVolume(this.#settings, volume, this.machineOf(server)));
  }

  async attach(volume: string, server: string): Promise<void> {
    await this.#run(commands.attachVolume(this.#settings, volume, this.machineOf(server), this.deviceOf(server)));
  }

  command(what: Parameters<Machines['command']>[0], subject: string): string {
    switch (what) {
      case 'snapshot':
        return commands.createSnapshot(this.#settings, subject, 'RUN').slice(0, 5).join(' ');
      case 'start':
        return commands.startInstance(this.#settings, this.machineOf(subject)).slice(0, 5).join(' ');
      case 'enable-fast':
        return commands.enableFast(this.#settings, subject, []).slice(0, 3).join(' ');
      case 'delete-snapshot':
        return commands.deleteSnapshot(this.#settings, subject).slice(0, 5).join(' ');
    }
  }

  async #run(argv: Argv, signal?: AbortSignal): Promise<string> {
    const command = {
      argv,
      // Empty: no pager. Version 1 has none and knows no option for it.
      env: { ...environmentFor(ofAws), AWS_PAGER: '' },
      timeoutMs: commandMs,
      ...(signal === undefined ? {} : { signal }),
    };
    return (await this.#exec.check(command)).stdout;
  }
}

/** The call may be well and refuse a zone all the same. */
function refuseUnsuccessful(output: string, verb: string): void {
  const why = parseUnsuccessful(output, verb);
  if (why === '') return;
  throw new StillpointError('command-failed', `\`aws ec2 ${verb}\` was refused: ${why}`, {
    hint: 'see the quota of fast snapshot restores, or leave mirrorSplit.fastRestore out',
  });
}

/** On this machine, where the `aws` program is. */
export const ec2 = {
  kind: 'ec2',
  config,
  create: (settings, { exec }) => new Ec2(settings, exec),
} satisfies MachinesModule<Config>;
