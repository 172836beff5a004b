import { stat } from 'node:fs/promises';
import { release, tmpdir } from 'node:os';
import { messageOf, StillpointError } from '../model/errors.ts';
import type { FrozenFileSystem } from '../model/hold.ts';
import { forbiddenPairs, toFreeze, type PlannedCut } from '../model/layer-rules.ts';
import type { Finding } from '../model/point.ts';
import { findingsOf, layerOf } from '../model/stack.ts';
import type { StorageStack } from '../model/storage.ts';
import { bootId } from '../platform/clock.ts';
import type { Located } from '../ports/application.ts';
import type { Environment, Workload } from './environment.ts';
import type { Group } from './group.ts';

/** What lies below a group, once it is proved that nothing of it speaks against the cut. */
export interface Layers {
  readonly findings: readonly Finding[];
  /** To be frozen with the engine: what is cut from below must be on its disks. */
  readonly fileSystems: readonly FrozenFileSystem[];
}

interface PartStacks {
  readonly part: Group['parts'][number];
  readonly stacks: readonly StorageStack[];
}

/**
 * Looks at everything below the group. Refuses before anything is frozen: `layers-conflict` for a freeze and a cut that must not be
 * combined, `volume-unsafe` for a layer that is not sound and for a file system that must never be frozen.
 */
export async function examineLayers(
  group: Group,
  located: Located,
  workload: Workload,
  environment: Environment,
  signal: AbortSignal,
): Promise<Layers> {
  const findings: Finding[] = [];
  const parts: PartStacks[] = [];
  for (const part of group.parts) {
    const stacks = await stacksOf(part, located, environment, findings, signal);
    parts.push({ part, stacks });
    findings.push(...health(part, stacks, workload));
  }
  const cuts = parts.map(({ part, stacks }): PlannedCut => ({
    cutsBy: part.provider.cutsBy,
    fileSystems: new Set(stacks.map(fileSystemOf)),
  }));
  const [conflict, ...more] = forbiddenPairs(cuts, release());
  if (conflict !== undefined) {
    throw new StillpointError('layers-conflict', [conflict, ...more].join('; '), {
      hint: 'name one provider for all paths of that file system under `storage` of the workload',
    });
  }
  const frozen = located.holdKind === 'none' ? new Set<string>() : toFreeze(cuts, release());
  const stacks = new Map(parts.flatMap((each) => each.stacks).map((stack) => [fileSystemOf(stack), stack]));
  const mountPoints = [...frozen].flatMap((id) => stacks.get(id)?.mountPoint ?? []);
  return {
    findings: distinct(findings),
    fileSystems: await freezable(mountPoints, environment.stateDirectory),
  };
}

/** Paths whose stack cannot be seen from here (on another machine) are told, not refused: their provider could see them. */
async function stacksOf(
  part: Group['parts'][number],
  located: Located,
  environment: Environment,
  findings: Finding[],
  signal: AbortSignal,
): Promise<readonly StorageStack[]> {
  const names = new Set(part.volumes.flatMap((volume) => volume.holds));
  const stacks: StorageStack[] = [];
  for (const { path } of located.paths.filter(({ name }) => names.has(name))) {
    try {
      stacks.push(await environment.host.stackOf(path, signal));
    } catch (error) {
      if (!(error instanceof StillpointError)) throw error;
      findings.push({
        severity: 'warning',
        check: 'storage',
        said: `what ${path} lies on cannot be seen: ${messageOf(error)}`,
      });
    }
  }
  return stacks;
}

function fileSystemOf(stack: StorageStack): string {
  return layerOf(stack, 'filesystem')?.id ?? `device:${stack.device}`;
}

/** An unsound layer below the cut is only accepted where the cut is made above it, and where the configuration says so. */
function health(part: PartStacks['part'], stacks: readonly StorageStack[], workload: Workload): readonly Finding[] {
  const findings = stacks.flatMap(findingsOf);
  const errors = distinct(findings.filter(({ severity }) => severity === 'error'));
  if (errors.length === 0) return findings;
  const above = part.provider.cutsBy !== 'disk';
  if (above && workload.degradedStorage === 'accept')
    return findings.map((each) => (each.severity === 'error' ? { ...each, severity: 'warning' } : each));
  throw new StillpointError('volume-unsafe', errors.map(({ said }) => said).join('; '), {
    hint: above
      ? 'mend the storage, or set `degradedStorage: accept` in the workload: the cut is made above that layer'
      : 'mend the storage: disks that are cut from below must be sound',
    details: { findings: errors },
  });
}

function distinct(findings: readonly Finding[]): readonly Finding[] {
  return [...new Map(findings.map((each) => [`${each.severity} ${each.check} ${each.said}`, each])).values()];
}

/** Whoever thaws must be able to work while they are frozen: never what the machine, our state or logs lie on. */
async function freezable(mountPoints: readonly string[], stateDirectory: string): Promise<readonly FrozenFileSystem[]> {
  if (mountPoints.length === 0) return [];
  const own = new Map<bigint, string>();
  for (const path of ['/var/log', '/var/tmp', tmpdir(), stateDirectory, '/']) {
    const device = await deviceOf(path);
    if (device !== undefined) own.set(device, path);
  }
  const found: FrozenFileSystem[] = [];
  for (const mountPoint of mountPoints) {
    const device = await deviceOf(mountPoint);
    const taken = device === undefined ? undefined : own.get(device);
    if (device === undefined || taken !== undefined) {
      const why = taken === undefined ? 'it cannot be looked at' : `${taken} lies on it`;
      throw new StillpointError('volume-unsafe', `the file system at ${mountPoint} must not be frozen: ${why}`, {
        hint: 'move the data to a file system of its own, or use a provider that cuts above the disks',
      });
    }
    found.push({ mountPoint, device: String(device), bootId: bootId() });
  }
  return found;
}

async function deviceOf(path: string): Promise<bigint | undefined> {
  try {
    return (await stat(path, { bigint: true })).dev;
  } catch {
    // Missing: nothing lies on it.
    return undefined;
  }
}
