import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { closeBlockClone, openBlockClone, type BlockClone } from '../../../platform/block-clone.ts';
import { isWithin } from '../../../platform/files.ts';
import type { Platform } from '../../../ports/module.ts';
import type { OpenSnapshot } from '../../../ports/snapshot-provider.ts';
import { createThin, makeNode, removeDevice } from './commands.ts';
import { mapperNumber } from './devices.ts';
import type { Entry } from './ledger.ts';

const commandMs = 30_000;

/** Of all that opening makes. Follows from the reference, so that any process can close it. */
function cloneName(ref: SnapshotRef): string {
  return `${ref.label}-${ref.at.split(':').at(-1) ?? ''}`;
}

function deviceName(ref: SnapshotRef): string {
  return `${cloneName(ref)}-thin`;
}

export interface OpenedThin extends OpenSnapshot {
  readonly fileSystem: string;
  /** The overlay on the snapshot. */
  readonly device: string;
}

export async function openThin(ref: SnapshotRef, entry: Entry, platform: Platform): Promise<OpenedThin> {
  const { exec, stateDirectory } = platform;
  const { thin } = entry;
  const name = deviceName(ref);
  let clone: BlockClone;
  try {
    if ((await mapperNumber(name)) === undefined) {
      const argv = createThin(name, thin.pool, entry.id, thin.sectors);
      const created = await exec.run({ argv, timeoutMs: commandMs });
      if (created.exitCode !== 0 && (await mapperNumber(name)) === undefined) {
        throw new StillpointError('io', `the snapshot ${ref.at} cannot be opened: ${created.stderr.trim()}`, {
          hint: 'see that the pool is active (`vgchange -ay`); if its volume was removed from there, make a new point',
        });
      }
    }
    await exec.check({ argv: makeNode(name), timeoutMs: commandMs });
    const device = `/dev/mapper/${name}`;
    clone = await openBlockClone({ exec, stateDirectory, name: cloneName(ref), device, fileSystem: thin.fileSystem });
  } catch (error) {
    await closeDevice(ref, platform);
    throw error;
  }
  return {
    fileSystem: thin.fileSystem,
    device: clone.device,
    at(original) {
      if (!isWithin(original, thin.mountPoint)) return undefined;
      const copy = join(clone.mountPoint, thin.root, original.slice(thin.mountPoint.length));
      return lstatSync(copy, { throwIfNoEntry: false }) === undefined ? undefined : copy;
    },
    async [Symbol.asyncDispose]() {
      await clone[Symbol.asyncDispose]();
      await closeDevice(ref, platform);
    },
  };
}

/** Left to the last user, if another process has it open too. */
async function closeDevice(ref: SnapshotRef, { exec }: Platform): Promise<void> {
  const name = deviceName(ref);
  if ((await mapperNumber(name)) !== undefined) await exec.run({ argv: removeDevice(name), timeoutMs: commandMs });
}

/** Whatever process opened it. Throws `undo-failed`. */
export async function closeThin(ref: SnapshotRef, platform: Platform): Promise<void> {
  const { exec, stateDirectory } = platform;
  await closeBlockClone({ exec, stateDirectory, name: cloneName(ref) });
  const name = deviceName(ref);
  if ((await mapperNumber(name)) === undefined) return;
  const removed = await exec.run({ argv: removeDevice(name), timeoutMs: commandMs });
  if (removed.exitCode === 0 || (await mapperNumber(name)) === undefined) return;
  throw new StillpointError('undo-failed', `the device ${name} cannot be removed: ${removed.stderr.trim()}`, {
    hint: `see with \`dmsetup ls --tree\` and \`fuser -v /dev/mapper/${name}\` who uses it, and run \`stillpoint recover\``,
  });
}
