import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import type { Platform } from '../../../ports/module.ts';
import { deviceName, deviceStates, deviceTable, resume } from './commands.ts';
import { placeOf, uuidsOf } from './names.ts';
import { parseDeviceStates, parsePoolNumber, type DeviceState } from './parse.ts';

const askMs = 5_000;
/** Another lvcreate suspends its own devices for some milliseconds, and resumes them itself. */
const grantedMs = 1_000;

/**
 * A lvcreate that was killed between suspend and resume leaves its origin suspended, and every writer blocked. Resumes what belongs to these
 * snapshots: origin, snapshot, store, and the pool below a thin origin. Asks the kernel only, for LVM's own commands would hang.
 */
export async function resumeLeftovers(platform: Platform, refs: readonly SnapshotRef[]): Promise<void> {
  const { exec, clock, log } = platform;
  if ((await suspended(platform, refs)).length === 0) return;
  await clock.sleep(grantedMs);
  for (const { name } of await suspended(platform, refs)) {
    log.warn(`${name} was left suspended and is resumed`);
    await exec.run({ argv: resume(name), timeoutMs: askMs });
  }
  const [still] = await suspended(platform, refs);
  if (still === undefined) return;
  throw new StillpointError('thaw-unproven', `the device ${still.name} is suspended and cannot be resumed`, {
    hint: `everything that writes to it waits: dmsetup resume ${still.name}`,
  });
}

async function suspended(platform: Platform, refs: readonly SnapshotRef[]): Promise<readonly DeviceState[]> {
  const states = await deviceStatesOf(platform);
  if (!states.some((state) => state.suspended)) return [];
  const pools = await poolsOf(platform, states, refs);
  return states.filter(
    (state) => state.suspended && (pools.has(state.name) || refs.some((ref) => belongs(state, ref))),
  );
}

async function deviceStatesOf({ exec }: Platform): Promise<readonly DeviceState[]> {
  try {
    return parseDeviceStates((await exec.check({ argv: deviceStates(), timeoutMs: askMs })).stdout);
  } catch (error) {
    throw new StillpointError('thaw-unproven', `it cannot be told whether a device is suspended: ${messageOf(error)}`, {
      hint: 'see with `dmsetup info -c -o name,suspended`, and resume what is: dmsetup resume NAME',
      cause: error,
    });
  }
}

function bare(uuid: string): string {
  return uuid.replaceAll('-', '');
}

/** LVM's device of a volume has the UUIDs of group and volume in its own, and its inner ones that with a suffix (`-real`, `-cow`). */
function isOrigin({ uuid }: DeviceState, ref: SnapshotRef): boolean {
  const { vg, lv } = uuidsOf(ref.volume);
  const whole = `LVM-${bare(vg)}${bare(lv)}`;
  return uuid === whole || uuid.startsWith(`${whole}-`);
}

function belongs(state: DeviceState, ref: SnapshotRef): boolean {
  const { vg, name } = placeOf(ref);
  const own = deviceName(vg, name);
  return isOrigin(state, ref) || state.name === own || state.name === `${own}-cow`;
}

async function poolsOf(
  { exec }: Platform,
  states: readonly DeviceState[],
  refs: readonly SnapshotRef[],
): Promise<ReadonlySet<string>> {
  const pools = new Set<string>();
  for (const state of states.filter((one) => refs.some((ref) => isOrigin(one, ref)))) {
    const { stdout } = await exec.run({ argv: deviceTable(state.name), timeoutMs: askMs });
    const number = parsePoolNumber(stdout);
    if (number === undefined) continue;
    const named = await exec.run({
      argv: ['dmsetup', 'info', '-c', '--noheadings', '-o', 'name', ...byNumber(number)],
      timeoutMs: askMs,
    });
    if (named.exitCode === 0) pools.add(named.stdout.trim());
  }
  return pools;
}

function byNumber(number: string): readonly string[] {
  const [major = '', minor = ''] = number.split(':');
  return ['-j', major, '-m', minor];
}
