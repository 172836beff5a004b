import { watchMember } from './cluster.ts';
import { joinEngineLog, note, refuseWeak, type Backup } from './backup-state.ts';
import { doubtful, keepsBase, openSnapshots, type Opened } from './changed-blocks.ts';
import { lstat } from 'node:fs/promises';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import type { Evidence } from '../model/evidence.ts';
import type { TreeEntry } from '../repository/api.ts';
import { describePoint, encodeRecord, groupTag, pointFrom, pointTag, recordPath } from './record.ts';

/** A map of changed blocks that is found to lie is not used for the rest of the run: all is read, beside no parent. */
export async function copy(state: Backup, signal: AbortSignal): Promise<void> {
  try {
    await copyOnce(state, signal);
  } catch (error) {
    if (codeOf(error) !== 'changed-blocks-wrong' || state.wrongMap !== undefined) throw error;
    state.wrongMap = messageOf(error);
    const points = (await state.environment.catalog()).points(state.workload.name);
    const others = doubtful(points, state.parent.get().point);
    const drill = others.length === 0 ? '' : `; drill ${others.join(', ')}, made with the same source`;
    note(state, {
      severity: 'warning',
      check: 'changed-blocks',
      said: `${state.wrongMap}; everything is read now, and by the next run too${drill}`,
    });
    state.parent.set({
      level: 'full',
      point: null,
      degraded: 'a map of changed blocks was wrong, and a full was made',
    });
    await copyOnce(state, signal);
  }
}

async function copyOnce(state: Backup, signal: AbortSignal): Promise<void> {
  const { environment, workload } = state;
  const repository = await environment.repository();
  const located = state.located.get();
  const began = environment.clock.monoMs();
  await using all = await openSnapshots(state, signal);
  const { opened, maps } = all;
  state.keepsBase = opened.some(({ snapshot }) => keepsBase(workload, snapshot));
  const entries = await treeEntries(state, opened);
  let unsaved: { readonly point: ReturnType<typeof describePoint>; readonly evidence: Evidence } | undefined;
  const parent = state.parent.get();
  const cutWall = state.cut.get().cuts[0]?.fixed.wall ?? environment.clock.now().wall;
  const report = await repository.save({
    entries,
    paths: located.paths.map((path) => path.path),
    tags: [
      pointTag,
      `workload:${workload.name}`,
      `point:${state.runId}`,
      ...(state.request.barrier === undefined ? [] : [groupTag]),
    ],
    hostname: environment.hostname,
    time: cutWall,
    ...(parent.point === null
      ? {}
      : { parent: { snapshot: parent.point.repositorySnapshot, cutAt: parent.point.cutCalledAt } }),
    onProgress: (progress) => environment.reporter.progress('copy', progress),
    signal,
    last: async ({ byChanges, sampledBytes }) => {
      for (const { snapshot } of opened) await snapshot.proveWhole?.();
      if (maps.length > 0 || state.wrongMap !== undefined) {
        const wrong = state.wrongMap === undefined ? {} : { wrong: state.wrongMap };
        state.changedBlocks = { maps, files: byChanges, sampledBytes, ...wrong };
      }
      // The member must still be who it was when the point becomes real (docs/design/rules.md, 10).
      await watchMember(state, 'record', signal);
      state.members.push({ when: 'record', seen: (await workload.application.locate(signal)).member });
      state.event('record');
      await joinEngineLog(state, signal);
      const evidence = state.evidence();
      const judgement = refuseWeak(state, evidence);
      const facts = {
        id: state.runId,
        method: state.method,
        level: parent.level,
        parent: parent.point?.id ?? null,
        identity: located.identity,
      };
      unsaved = { point: describePoint(facts, evidence, judgement), evidence };
      return [
        ownFile(
          recordPath,
          encodeRecord(unsaved.point, evidence, repository),
          BigInt(environment.clock.wallMs()) * 1_000_000n,
        ),
      ];
    },
  });
  if (unsaved === undefined) throw new Error('the repository saved a point without asking for its evidence');
  state.copyMs = environment.clock.monoMs() - began;
  state.saved.set({
    point: pointFrom(unsaved.point, { id: report.snapshot, bytes: report.bytes }),
    evidence: unsaved.evidence,
  });
}

function ownFile(at: string, data: Uint8Array, mtimeNs: bigint): TreeEntry {
  return { kind: 'bytes', at, data, mode: 0o600, mtimeNs, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
}

/** The required paths from the snapshots, then the journal of the hold and what the engine handed out at the thaw, over them. */
async function treeEntries(state: Backup, opened: readonly Opened[]): Promise<readonly TreeEntry[]> {
  const entries: TreeEntry[] = [];
  const held = state.verdict.get() === 'application-consistent';
  for (const path of state.located.get().paths) {
    const leaveOut = (relative: string): 'keep' | 'entry' | 'contents' =>
      path.leftOut.find(
        (each) => each.relative === (relative === '' ? '.' : relative) && (held || each.onlyHeld !== true),
      )?.match ?? 'keep';
    for (const at of [path.path, ...path.companions]) {
      const holder = opened.find(({ snapshot }) => snapshot.at(at) !== undefined);
      const from = holder?.snapshot.at(at);
      if (holder === undefined || from === undefined || !(await exists(from))) {
        if (at === path.path)
          throw new StillpointError('cut-failed', `${at} is not in the snapshot that should hold it`);
        continue;
      }
      const { snapshot, changes } = holder;
      const statOf = snapshot.statOf?.bind(snapshot);
      entries.push({
        kind: 'path',
        at,
        from,
        leaveOut,
        ...(statOf === undefined ? {} : { statOf }),
        ...(changes === undefined ? {} : { changesOf: (original: string) => changes.of(original) }),
      });
    }
  }
  for (const file of state.collected.peek() ?? []) entries.push({ kind: 'path', at: file.path, from: file.from });
  const owner = {
    uid: Number(state.located.get().facts['ownerUid'] ?? 0),
    gid: Number(state.located.get().facts['ownerGid'] ?? 0),
  };
  const mtimeNs = BigInt(state.environment.clock.wallMs()) * 1_000_000n;
  for (const artifact of held ? (state.hold.peek()?.report?.answer.artifacts ?? []) : []) {
    entries.push({
      kind: 'bytes',
      at: artifact.path,
      data: Buffer.from(artifact.base64, 'base64'),
      mode: artifact.mode,
      mtimeNs,
      ...owner,
    });
  }
  return entries;
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    // Not there, or not to be seen: the caller decides whether that matters.
    return false;
  }
}

export async function forgetCopy(state: Backup): Promise<void> {
  const saved = state.saved.peek();
  if (saved !== undefined) await (await state.environment.repository()).removeSnapshot(saved.point.repositorySnapshot);
}
