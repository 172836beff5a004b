import { readFileSync, readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SnapshotRef } from '../../../../src/model/storage.ts';
import { systemClock } from '../../../../src/platform/clock.ts';
import { systemExec } from '../../../../src/platform/exec.ts';
import type { SnapshotProvider } from '../../../../src/ports/snapshot-provider.ts';
import { guest, node, project } from '../../guest/guest.ts';
import { differences, inventory, writes } from '../../guest/storage.ts';
import { codeOfFailure, cutOne, directory, listOf, prepared, signal } from './common.ts';

export interface Crash {
  /** New mounts, devices and loops while the opener lived, to show that there was something to clean. */
  readonly opened: number;
  readonly deleted: string;
  readonly left: readonly string[];
}

/** A process dies with a snapshot open: another one deletes it, with all that was opened. */
export async function crashWhileOpen(create: () => SnapshotProvider, mountPoint: string): Promise<Crash> {
  const data = join(mountPoint, 'crash');
  await mkdir(data);
  await writeFile(join(data, 'file'), 'x');
  const before = await inventory();
  const provider = create();
  const ref = await cutOne(provider, await prepared(provider, data), 'stillpoint-crash');
  const opener = systemExec.start({
    argv: [node, join(project, 'test/lab/scenarios/lvm/opener.ts'), JSON.stringify(ref)],
  });
  await opener.firstLine((line) => line === 'open', 60_000);
  opener.kill('SIGKILL');
  await opener.exited;
  const opened = differences(before, await inventory()).filter((line) => /^(devices|loops|mounts)/.test(line)).length;
  const deleted = await codeOfFailure(() => create().delete(ref));
  return { opened, deleted, left: differences(before, await inventory()) };
}

export interface Kills {
  readonly rounds: number;
  readonly killed: number;
  readonly cut: number;
  /** Rounds after which the volume could not be written to, or something was left; must be empty. */
  readonly bad: readonly string[];
}

/** lvcreate is killed at one time or another: the cut fails with nothing left, or is whole; and the volume can be written to. */
export async function killLvcreate(create: () => SnapshotProvider, mountPoint: string, rounds: number): Promise<Kills> {
  const data = join(mountPoint, 'kills');
  await mkdir(data);
  const provider = create();
  const group = await prepared(provider, data);
  const before = await inventory();
  const bad: string[] = [];
  let [killed, cut] = [0, 0];
  const began = systemClock.monoMs();
  const whole = await cutOne(provider, group, 'stillpoint-kill-none');
  const usualMs = systemClock.monoMs() - began;
  await create().delete(whole);
  for (let round = 0; round < rounds; round += 1) {
    const running = cutOne(provider, group, `stillpoint-kill-${round}`);
    const done = running.then(
      (ref): SnapshotRef | string => ref,
      (error: unknown) => String(error),
    );
    // From the first third, before which it only reads, until it is done.
    await systemClock.sleep(usualMs * (0.35 + (0.65 * round) / rounds));
    for (const pid of named('lvcreate')) {
      process.kill(pid, 'SIGKILL');
      killed += 1;
    }
    const ended = await done;
    guest.log(`round ${round}: ${typeof ended === 'string' ? ended : 'cut'}`);
    if (!(await writes(mountPoint))) bad.push(`round ${round}: no writing`);
    if (typeof ended !== 'string') {
      cut += 1;
      await create().delete(ended);
    }
    if ((await listOf(create(), group)).length > 0) bad.push(`round ${round}: still listed`);
  }
  // A pool whose metadata and LVM's had fallen apart would take no further snapshot.
  await create().delete(await cutOne(create(), group, 'stillpoint-kill-after'));
  bad.push(...differences(before, await inventory()));
  return { rounds, killed, cut, bad };
}

/** As a lvcreate leaves it that dies between suspend and resume: whether writing worked while it was, and after `release`. */
export async function releaseSuspended(
  create: () => SnapshotProvider,
  mountPoint: string,
  device: string,
): Promise<readonly boolean[]> {
  const group = await create().locate([directory(mountPoint)], signal);
  const refs = create().refs(group, 'stillpoint-suspended');
  await guest.check(['dmsetup', 'suspend', device]);
  // Given up after this time; it ends when the device is resumed.
  const suspended = await writes(mountPoint, 1000);
  await create().release?.(refs);
  await create().release?.(refs);
  return [suspended, await writes(mountPoint)];
}

/** In a guest all processes of that name are ours. */
function named(name: string): readonly number[] {
  return readdirSync('/proc').flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      return readFileSync(`/proc/${entry}/comm`, 'utf8').trim() === name ? [Number(entry)] : [];
    } catch {
      // It ended in between.
      return [];
    }
  });
}
