import { messageOf, StillpointError } from '../model/errors.ts';
import type { BlockMap } from '../model/evidence.ts';
import type { Point } from '../model/point.ts';
import type { SnapshotRef, Volume } from '../model/storage.ts';
import type { ChangedBlocks, OpenSnapshot, SnapshotProvider } from '../ports/snapshot-provider.ts';
import { note, type Backup } from './backup-state.ts';
import { labelOf, type Environment, type Workload } from './environment.ts';

/** A snapshot of this run, opened to be read. */
export interface Opened {
  readonly provider: SnapshotProvider;
  readonly volume: Volume;
  readonly ref: SnapshotRef;
  readonly snapshot: OpenSnapshot;
  /** Undefined: everything of it is read. */
  readonly changes: ChangedBlocks | undefined;
}

/** Opens the snapshots of this run, and asks each what changed since the parent's. Disposing closes all. */
export async function openSnapshots(
  state: Backup,
  signal: AbortSignal,
): Promise<AsyncDisposable & { readonly opened: readonly Opened[]; readonly maps: readonly BlockMap[] }> {
  await using stack = new AsyncDisposableStack();
  const opened: Opened[] = [];
  const maps: BlockMap[] = [];
  const parent = usableParent(state);
  for (const { provider, volumes } of state.group.get().parts) {
    const refs = provider.refs(volumes, state.label);
    const bases = parent === undefined ? [] : provider.refs(volumes, labelOf(parent.id));
    for (const [index, volume] of volumes.entries()) {
      const ref = refs[index];
      if (ref === undefined) throw new Error(`${provider.kind} names no snapshot of ${volume.id}`);
      const snapshot = stack.use(await provider.open(ref));
      const base = parent?.volumes.some(({ id }) => id === volume.id) === true ? bases[index] : undefined;
      const changes = base === undefined ? undefined : await ask(state, snapshot, volume, base, signal);
      if (changes !== undefined) {
        stack.use(changes);
        maps.push({ volume: volume.id, base: base?.label ?? '', source: changes.source });
      }
      opened.push({ provider, volume, ref, snapshot, changes });
    }
  }
  const kept = stack.move();
  return { opened, maps, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** The point whose snapshots may serve as bases. A run after one whose map had lied reads everything, and says so. */
function usableParent(state: Backup): Point | undefined {
  const { point } = state.parent.get();
  if (point === null || state.workload.changedBlocks !== true || state.wrongMap !== undefined) return undefined;
  const wrong = point.changedBlocks?.wrong;
  if (wrong === undefined) return point;
  note(state, {
    severity: 'warning',
    check: 'changed-blocks',
    said: `everything is read: in the run of ${point.id} the storage had called changed blocks unchanged (${wrong})`,
  });
  return undefined;
}

async function ask(
  state: Backup,
  snapshot: OpenSnapshot,
  volume: Volume,
  base: SnapshotRef,
  signal: AbortSignal,
): Promise<ChangedBlocks | undefined> {
  if (snapshot.changedSince === undefined) return undefined;
  const readWhole = (why: string): undefined => {
    note(state, {
      severity: 'warning',
      check: 'changed-blocks',
      said: `${volume.id} is read as a whole: what changed since ${base.label} cannot be told (${why})`,
    });
  };
  try {
    const changes = await snapshot.changedSince(base, signal);
    return changes ?? readWhole('the storage cannot say it for certain');
  } catch (error) {
    if (!(error instanceof StillpointError) || signal.aborted) throw error;
    return readWhole(messageOf(error));
  }
}

/** Whether the snapshots of this run stay, so that the next one can ask what changed since. */
export function keepsBase(workload: Workload, snapshot: Pick<OpenSnapshot, 'changedSince'>): boolean {
  return workload.changedBlocks === true && snapshot.changedSince !== undefined;
}

/**
 * Removes the snapshots of this workload's older points from these volumes, whose part as a base is over. Others' are left alone: another
 * workload may lie on the same volume.
 */
export async function removeOldBases(state: Backup): Promise<void> {
  const catalog = await state.environment.catalog();
  const own = new Set(catalog.points(state.workload.name).map(({ id }) => labelOf(id)));
  for (const { provider, volumes } of state.group.get().parts) {
    const old: SnapshotRef[] = [];
    for await (const ref of provider.list(volumes)) if (ref.label !== state.label && own.has(ref.label)) old.push(ref);
    for (const ref of old) await provider.delete(ref);
  }
}

/** Labels of the snapshots that a next backup will count from: those of the newest point of each workload. */
export async function labelsOfBases(
  workloads: readonly Workload[],
  environment: Environment,
): Promise<ReadonlySet<string>> {
  const catalog = await environment.catalog();
  const labels = workloads
    .filter(({ changedBlocks }) => changedBlocks === true)
    // The disk of a split mirror is another one, and no base of the next map.
    .flatMap(
      ({ name }) =>
        catalog.points(name).find(({ volumes, method }) => volumes.length > 0 && method !== 'mirror-split') ?? [],
    )
    .map(({ id }) => labelOf(id));
  return new Set(labels);
}

/** Points that were made with a map of this kind since everything was last read: any of them may lack a change. */
export function doubtful(points: readonly Point[], from: Point | null): readonly string[] {
  const found: string[] = [];
  for (
    let point = from ?? undefined;
    point?.changedBlocks !== undefined && point.changedBlocks.maps.length > 0 && !found.includes(point.id);
    point = points.find(({ id }) => id === point?.parent)
  )
    found.push(point.id);
  return found;
}
