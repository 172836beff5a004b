import { StillpointError } from '../model/errors.ts';
import type { GroupCut } from '../model/evidence.ts';
import { needsOneInstant, type HoldKind } from '../model/hold.ts';
import type { SnapshotRef, Volume } from '../model/storage.ts';
import type { Located } from '../ports/application.ts';
import type { SnapshotProvider } from '../ports/snapshot-provider.ts';
import type { Workload } from './environment.ts';

/** The volumes that one provider cuts. */
export interface Part {
  readonly provider: SnapshotProvider;
  readonly volumes: readonly Volume[];
}

/** All volumes that recovery needs. */
export interface Group {
  readonly parts: readonly Part[];
  readonly volumes: readonly Volume[];
  readonly atomicity: GroupCut['atomicity'];
  readonly how: string;
}

/**
 * Finds a provider for every path that recovery needs. Refuses when one is left over, or when the volumes cannot be cut at one
 * instant and there is no hold that makes up for it (docs/design/rules.md, 7 and 8).
 */
export async function locateGroup(
  located: Located,
  workload: Pick<Workload, 'providers' | 'remarks'>,
  signal: AbortSignal,
): Promise<Group> {
  const wantsInstant = needsOneInstant(located.holdKind);
  const providers = workload.providers.filter(({ needs }) => needs === 'any' || !wantsInstant);
  if (wantsInstant) {
    const whole = await oneInstant(located, providers, signal);
    if (whole !== undefined) return whole;
  }
  const parts: Part[] = [];
  let left = located.paths;
  for (const provider of providers) {
    if (left.length === 0) break;
    const volumes = await provider.locate(left, signal);
    if (volumes.length === 0) continue;
    parts.push({ provider, volumes });
    const held = new Set(volumes.flatMap((volume) => volume.holds));
    left = left.filter((path) => !held.has(path.name));
  }
  if (left.length > 0) {
    const names = left.map((path) => `${path.role} ${path.path}`).join(', ');
    throw new StillpointError(
      'path-outside-group',
      `recovery needs ${names}, which no snapshot provider of this workload can cut${whyPassed(left, workload)}`,
      {
        hint: wantsInstant
          ? located.holdKind === 'none'
            ? 'without a hold only a provider that cuts all volumes at one instant will do: put the data on one btrfs subvolume, or use the hold'
            : 'the hold of this engine stops commits only, so that all volumes must be cut at one instant: put its files on one btrfs subvolume, ZFS dataset or logical volume'
          : 'set `storage: auto`, or add a provider for that path to the list under `storage`',
        details: { paths: left.map((path) => path.path) },
      },
    );
  }
  const { atomicity, how } = atomicityOf(parts);
  if (wantsInstant && atomicity === 'sequential') {
    const held = located.holdKind !== 'none';
    throw new StillpointError(
      'hold-not-covering',
      `${held ? 'under a hold that stops commits only' : 'without a hold'} all volumes must be cut at one instant, and they are not: ${how}`,
      {
        hint: held
          ? 'put all files of the engine on one volume that can be cut: a btrfs subvolume, a ZFS dataset, a logical volume'
          : 'use the hold of the engine, or put all of its files on one volume',
      },
    );
  }
  return { parts, volumes: parts.flatMap((part) => part.volumes), atomicity, how };
}

/** Where the hold does not cover it only a provider will do that cuts all of it at one instant, wherever it stands in the list. */
async function oneInstant(
  located: Located,
  providers: readonly SnapshotProvider[],
  signal: AbortSignal,
): Promise<Group | undefined> {
  for (const provider of providers) {
    const volumes = await provider.locate(located.paths, signal);
    const held = new Set(volumes.flatMap((volume) => volume.holds));
    if (!located.paths.every(({ name }) => held.has(name))) continue;
    const { atomicity, how } = provider.atomicity(volumes);
    if (atomicity === 'one-instant') return { parts: [{ provider, volumes }], volumes, atomicity, how };
  }
  return undefined;
}

/** What the providers remarked on these paths when they passed them on. */
function whyPassed(left: Located['paths'], { remarks }: Pick<Workload, 'remarks'>): string {
  const said = new Set((remarks?.() ?? []).filter((remark) => left.some(({ path }) => remark.includes(path))));
  return said.size === 0 ? '' : ` (${[...said].join('; ')})`;
}

function atomicityOf(parts: readonly Part[]): { readonly atomicity: GroupCut['atomicity']; readonly how: string } {
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return only.provider.atomicity(only.volumes);
  return { atomicity: 'sequential', how: `${parts.length} providers cut one after the other` };
}

export function refsOf(group: Group, label: string): readonly SnapshotRef[] {
  return group.parts.flatMap((part) => part.provider.refs(part.volumes, label));
}

/** Everything slow before the hold. */
export async function prepareGroup(group: Group, signal: AbortSignal, keepMs: number | undefined): Promise<Group> {
  const parts: Part[] = [];
  for (const { provider, volumes } of group.parts)
    parts.push({ provider, volumes: await provider.prepare(volumes, signal, keepMs) });
  return { ...group, parts, volumes: parts.flatMap((part) => part.volumes) };
}

/** Cuts all parts at the same time. If one fails the others are waited for, so that undoing finds them finished. */
export async function cutGroup(group: Group, label: string, signal: AbortSignal): Promise<GroupCut> {
  const results = await Promise.allSettled(group.parts.map((part) => part.provider.cut(part.volumes, label, signal)));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  const cuts = results.filter((result) => result.status === 'fulfilled').map((result) => result.value);
  const [only] = cuts;
  if (only !== undefined && cuts.length === 1) return only;
  return {
    atomicity: 'sequential',
    how: group.how,
    cuts: cuts.flatMap((cut) => cut.cuts),
    spans: cuts.flatMap((cut) => cut.spans),
  };
}

/** A hold that stops writers must be short; one that does not, or for which users were stopped, may last as long as a copy takes. */
export function budgetOf(kind: HoldKind | 'stopped', configured: number | undefined): number {
  if (kind === 'stopped') return Math.max(configured ?? 0, 30 * 60_000);
  return configured ?? (kind === 'copy-rules' ? 30 * 60_000 : 5_000);
}
