import { messageOf, StillpointError } from '../../../model/errors.ts';
import { bootId, within } from '../../../platform/clock.ts';
import { killExactly, processesMarked } from '../../../platform/process.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import type { Platform } from '../../../ports/module.ts';
import { resume, thaw } from './commands.ts';
import { isSuspended, mapperNumber, mounts } from './devices.ts';
import type { Ledger } from './ledger.ts';
import { saysNotFrozen } from './parse.ts';
import { originOf } from './place.ts';
import { executorMark } from './script.ts';

/** Together: whoever calls this has an application to thaw after it. */
const releaseMs = 10_000;
const commandMs = 5000;
const pauseMs = 50;

/**
 * Resumes and thaws what a cut of these may have left, after ending its executor. Throws `thaw-unproven`. What the ledger says to be
 * over, or to be of an earlier boot, is not asked for: a file system may be frozen by somebody else meanwhile.
 */
export async function release(refs: readonly SnapshotRef[], platform: Platform, ledger: Ledger): Promise<void> {
  const due: SnapshotRef[] = [];
  for (const ref of refs) {
    const entry = await ledger.find(ref);
    if (entry !== undefined && (entry.state === 'cut' || entry.boot !== bootId())) continue;
    due.push(ref);
  }
  if (due.length === 0) return;
  const labels = new Set(due.map(({ label }) => label));
  const until = platform.clock.monoMs() + releaseMs;
  const results = await Promise.allSettled(due.map((ref) => releaseOne(ref, labels, platform, until)));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  for (const ref of due) await ledger.settle(ref).catch((error: unknown) => platform.log.warn(messageOf(error)));
}

async function releaseOne(
  ref: SnapshotRef,
  labels: ReadonlySet<string>,
  platform: Platform,
  until: number,
): Promise<void> {
  const { clock } = platform;
  const { name, mountPoint } = originOf(ref.volume);
  const fail = (why: string): StillpointError =>
    new StillpointError('thaw-unproven', `${mountPoint} on ${name} may be stopped: ${why}`, {
      hint: `\`dmsetup resume ${name}\`, then \`fsfreeze --unfreeze ${mountPoint}\` until it says Invalid argument; then \`stillpoint recover\``,
      details: { volume: name, mountPoint },
    });
  for (let why = ''; ;) {
    // Asked before: a freeze that was in the making then may have come since.
    const running = executorsOf(labels);
    for (const process of running) killExactly(process, 'SIGKILL');
    const left = Math.max(until - clock.monoMs(), 1);
    const said = await within(clock, left, stopped(name, mountPoint, platform), () => 'a command does not end');
    if (said === undefined && running.length === 0) return;
    why = said ?? 'the executor of its cut does not end';
    if (clock.monoMs() >= until) throw fail(why);
    await clock.sleep(pauseMs);
  }
}

function executorsOf(labels: ReadonlySet<string>): ReturnType<typeof processesMarked> {
  return [...labels].flatMap((label) => processesMarked(executorMark, label));
}

/** Undefined once it is proved that neither device nor file system is stopped; why not, otherwise. */
async function stopped(name: string, mountPoint: string, { exec }: Platform): Promise<string | undefined> {
  const number = await mapperNumber(name);
  if (number === undefined) return undefined;
  if ((await isSuspended(number)) === true) {
    const done = await exec.run({ argv: resume('dmsetup', name), timeoutMs: commandMs });
    if ((await isSuspended(number)) === true) return `it cannot be resumed: ${done.stderr.trim()}`;
  }
  // Mounted elsewhere by now, it is the same file system; mounted nowhere, nothing that waits for it can be seen.
  const mounted = (await mounts()).filter((mount) => mount.number === number);
  const at = mounted.find((mount) => mount.mountPoint === mountPoint) ?? mounted[0];
  if (at === undefined) return 'it is not mounted, and a freeze outlives an unmount: mount it';
  const thawed = await exec.run({ argv: thaw('fsfreeze', at.mountPoint), timeoutMs: commandMs });
  if (thawed.exitCode !== 0 && saysNotFrozen(thawed.stderr)) return undefined;
  return thawed.exitCode === 0 ? 'it was frozen a moment ago' : thawed.stderr.trim();
}
