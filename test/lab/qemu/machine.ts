import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GuestAgent } from '../../../src/adapters/snapshot/qemu/agent.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import { buildInitramfs } from './initramfs.ts';

const timeoutMs = 60_000;
const diskBytes = 320 * 1024 * 1024;
/** Emulated, and on a busy machine: 7 s are usual. */
const bootMs = 120_000;

export interface MachineDisk {
  readonly mountPoint: string;
  /** As guest and monitor know it. */
  readonly serial: string;
  readonly node: string;
}

/** A virtual machine under emulation with two xfs disks, `/a` and `/b`, a writer that goes from one to the other, and the guest agent. */
export interface VirtualMachine extends AsyncDisposable {
  readonly directory: string;
  readonly qmp: string;
  readonly agentSocket: string;
  readonly disks: readonly MachineDisk[];
  readonly bootedMs: number;
  agent(): Promise<GuestAgent>;
  /** Runs a shell command in the guest, which must not be frozen; its output. */
  shell(command: string): Promise<string>;
  console(): Promise<string>;
  running(): boolean;
  /** SIGKILL to the emulator alone. */
  kill(): Promise<void>;
}

export async function bootMachine(): Promise<VirtualMachine> {
  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-vm-'));
  const [qmp, agentSocket] = [join(directory, 'qmp.sock'), join(directory, 'agent.sock')];
  const consoleFile = join(directory, 'console');
  const disks = ['a', 'b'].map((name): MachineDisk => ({
    mountPoint: `/${name}`,
    serial: `stillpoint-${name}`,
    node: `disk-${name}`,
  }));
  const { kernel, initrd } = await buildInitramfs(directory);
  for (const { node } of disks) await makeDisk(directory, node);
  const began = systemClock.monoMs();
  const machine = systemExec.start({ argv: ['qemu-system-x86_64', ...options({ directory, kernel, initrd, disks })] });
  let dead = false;
  const connect = (): Promise<GuestAgent> => GuestAgent.connect(agentSocket, systemClock);
  const dispose = async (): Promise<void> => {
    machine.kill('SIGKILL');
    await machine.exited;
    await rm(directory, { recursive: true });
  };
  const console_ = async (): Promise<string> => (existsSync(consoleFile) ? await readFile(consoleFile, 'utf8') : '');
  try {
    while (!(await console_()).includes('LAB: up')) {
      if (systemClock.monoMs() - began > bootMs) throw new Error(`it did not boot: ${(await console_()).slice(-2000)}`);
      await Promise.race([sleep(100), ended(machine.exited, () => machine.stderrTail())]);
    }
    using agent = await connect();
    if ((await agent.status()) !== 'thawed') throw new Error('it booted frozen');
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    directory,
    qmp,
    agentSocket,
    disks,
    bootedMs: systemClock.monoMs() - began,
    agent: connect,
    shell: (command) => shell(connect, command),
    console: console_,
    running: () => !dead,
    async kill() {
      dead = true;
      machine.kill('SIGKILL');
      await machine.exited;
    },
    [Symbol.asyncDispose]: dispose,
  };
}

async function ended(exited: Promise<unknown>, said: () => string): Promise<never> {
  await exited;
  throw new Error(`the emulator ended: ${said()}`);
}

/** Made here, because mkfs under emulation takes seconds. */
async function makeDisk(directory: string, node: string): Promise<void> {
  const raw = join(directory, `${node}.raw`);
  await writeFile(raw, '');
  await truncate(raw, diskBytes);
  await systemExec.check({ argv: ['mkfs.xfs', '-q', raw], timeoutMs });
  const argv = ['qemu-img', 'convert', '-O', 'qcow2', raw, join(directory, `${node}.qcow2`)] as const;
  await systemExec.check({ argv, timeoutMs });
  await rm(raw);
}

function options(request: {
  readonly directory: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly disks: readonly MachineDisk[];
}): readonly string[] {
  const { directory, kernel, initrd, disks } = request;
  return [
    // Where there is /dev/kvm it may be one that cannot run this kernel: emulation always works.
    ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-machine', 'q35', '-smp', '1', '-m', '384'],
    ...['-nodefaults', '-display', 'none', '-no-reboot', '-kernel', kernel, '-initrd', initrd],
    ...['-append', 'console=ttyS0 panic=-1 quiet mitigations=off random.trust_cpu=on'],
    ...['-serial', `file:${join(directory, 'console')}`],
    ...['-qmp', `unix:${join(directory, 'qmp.sock')},server=on,wait=off`],
    ...disks.flatMap(({ node, serial }, index) => [
      '-blockdev',
      `qcow2,node-name=${node},file.driver=file,file.filename=${join(directory, `${node}.qcow2`)}`,
      '-device',
      `virtio-blk-pci,drive=${node},id=vd${index},serial=${serial}`,
    ]),
    ...['-device', 'virtio-serial-pci'],
    ...['-chardev', `socket,path=${join(directory, 'agent.sock')},server=on,wait=off,id=agent`],
    ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
  ];
}

async function shell(connect: () => Promise<GuestAgent>, command: string): Promise<string> {
  using agent = await connect();
  const started = await agent.run('guest-exec', { path: '/bin/sh', arg: ['-c', command], 'capture-output': true });
  const { pid } = started as { readonly pid: number };
  for (;;) {
    const status = (await agent.run('guest-exec-status', { pid })) as {
      readonly exited: boolean;
      readonly exitcode?: number;
      readonly 'out-data'?: string;
    };
    if (!status.exited) {
      await sleep(50);
      continue;
    }
    if (status.exitcode !== 0) throw new Error(`${command} ended with ${status.exitcode}`);
    return Buffer.from(status['out-data'] ?? '', 'base64').toString('utf8');
  }
}
