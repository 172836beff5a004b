import { mkdir } from 'node:fs/promises';
import { messageOf, StillpointError } from '../model/errors.ts';
import type { StorageLayer, StorageStack } from '../model/storage.ts';
import { Assembly } from './array-clone-assemble.ts';
import { closeAll, placeOf } from './array-clone-members.ts';
import type { ArrayCloneRequest, ArrayMember } from './array-clone-request.ts';

export type { ArrayCloneRequest, ArrayMember };

export interface ArrayClone extends AsyncDisposable {
  /** Read-only. Shows the whole file system, of which the original's mount may show a directory only. */
  readonly mountPoint: string;
  /** What is mounted. */
  readonly device: string;
}

const nameForm = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$/;

/**
 * Throws `volume-unsafe` if the copies given are not those that the stack needs, `cut-failed` if they do not fit together, and
 * `command-failed` otherwise; nothing is left behind then. Only one clone of a name is open at a time.
 */
export async function openArrayClone(request: ArrayCloneRequest): Promise<ArrayClone> {
  const { exec, stateDirectory, name } = request;
  assertName(name);
  const chosen = chooseMembers(request.stack, request.members);
  // What a dead process left under this name would be taken for ours.
  await closeArrayClone(request);
  const place = await placeOf(stateDirectory, name);
  await mkdir(place.mountPoint, { recursive: true, mode: 0o700 });
  try {
    const assembly = new Assembly(request, place, chosen);
    const device = await assembly.open();
    return {
      mountPoint: place.mountPoint,
      device,
      [Symbol.asyncDispose]: () => closeAll(exec, place),
    };
  } catch (error) {
    const left = await closeAll(exec, place).then(
      () => '',
      (more: unknown) => `; and ${messageOf(more)}`,
    );
    const known = error instanceof StillpointError;
    throw new StillpointError(known ? error.code : 'command-failed', `${messageOf(error)}${left}`, {
      hint: (known ? error.hint : undefined) ?? 'the copies need mdadm, LVM and device mapper here as on their machine',
      cause: error,
    });
  }
}

/** Closes what any process, dead or alive, opened under this name. Nothing is no error; throws `undo-failed`. */
export async function closeArrayClone(
  request: Pick<ArrayCloneRequest, 'exec' | 'stateDirectory' | 'name'>,
): Promise<void> {
  assertName(request.name);
  await closeAll(request.exec, await placeOf(request.stateDirectory, request.name));
}

function assertName(name: string): void {
  if (!nameForm.test(name)) throw new Error(`${name} cannot name a clone`);
}

/** The copy for each layer that one was given for. Pure. Throws `volume-unsafe` for one too many, one too few and one given twice. */
export function chooseMembers(
  stack: Pick<StorageStack, 'top'>,
  members: readonly ArrayMember[],
): ReadonlyMap<string, ArrayMember> {
  const chosen = new Map<string, ArrayMember>();
  const missing = new Set<string>();
  const visited = new Set<string>();
  const walk = (layer: StorageLayer): void => {
    if (visited.has(layer.id)) return;
    visited.add(layer.id);
    const given = members.filter(({ original }) => isCalled(layer, original));
    const [first, second] = given;
    if (second !== undefined) {
      throw wrong(`two copies are given for ${layer.name}`, `${first?.device ?? ''} and ${second.device}: give one`);
    }
    if (first !== undefined) chosen.set(layer.id, first);
    else if (layer.below.length === 0) missing.add(layer.name);
    else for (const below of layer.below) walk(below);
  };
  walk(stack.top);
  const devices = members.map(({ device }) => device);
  const twice = devices.find((device, index) => devices.indexOf(device) !== index);
  if (twice !== undefined) throw wrong(`${twice} is given for two disks`, 'give each disk its own copy');
  const unused = members.filter((member) => ![...chosen.values()].includes(member));
  if (unused.length > 0) {
    const names = unused.map(({ original }) => original).join(', ');
    throw wrong(`the stack has no disk ${names}`, 'give copies only of disks that lie below the path');
  }
  if (missing.size > 0) {
    throw wrong(
      `no copy is given for ${[...missing].join(', ')}`,
      'all disks below the path must be cut at one instant',
    );
  }
  return chosen;
}

function isCalled(layer: StorageLayer, original: string): boolean {
  const { details } = layer;
  return [layer.id, layer.name, details['serial'], details['wwn'], details['volume']].includes(original);
}

function wrong(message: string, hint: string): StillpointError {
  return new StillpointError('volume-unsafe', message, { hint });
}
