import { noteChoice, watchMember } from './cluster.ts';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { StillpointError } from '../model/errors.ts';
import type { Evidence } from '../model/evidence.ts';
import type { Marks } from '../model/journal.ts';
import type { Level, Method, Point } from '../model/point.ts';
import type { OnlineAnswer, OnlineBackup, OnlineRun } from '../ports/online.ts';
import type { SaveReport, TreeEntry } from '../repository/api.ts';
import { joinEngineLog, note, refuseWeak, type Backup } from './backup-state.ts';
import { runDirectory, type Workload } from './environment.ts';
import {
  describePoint,
  encodeRecord,
  levelsPath,
  pointFrom,
  pointTag,
  recordPath,
  type UnsavedPoint,
} from './record.ts';

export function unsupported(workload: Workload, method: Method): StillpointError {
  const { engine } = workload.application;
  return new StillpointError('method-unsupported', `${engine} of ${workload.name} has no method ${method}`, {
    hint:
      method === 'cold'
        ? "give the commands that stop and start the database's users in the workload, or use --method snapshot"
        : 'use --method snapshot',
  });
}

function abilityOf(state: Backup): OnlineBackup {
  const { online } = state.workload.application;
  if (online === undefined || (state.method === 'concurrent' && online.mark === undefined))
    throw unsupported(state.workload, state.method);
  return online;
}

/** The engine copies itself, so no volume is looked for. */
export async function locateOnline(state: Backup, signal: AbortSignal): Promise<void> {
  abilityOf(state);
  state.located.set(await state.workload.application.locate(signal));
}

/** The level below must be of the engine's own kind, of this data set, and still in the repository. */
export async function chooseOnline(state: Backup): Promise<void> {
  state.members.push({ when: 'chosen', seen: state.located.get().member });
  noteChoice(state);
  const { level } = state.request;
  if (state.method === 'concurrent') {
    if (level !== undefined && level !== 'full') {
      throw new StillpointError('usage', `the method concurrent makes a full and was asked for ${level}`, {
        hint: 'leave --level out, or use --method online',
      });
    }
    state.parent.set({ level: 'full', point: null });
    return;
  }
  const catalog = await state.environment.catalog();
  const repository = await state.environment.repository();
  const choice = chooseLevel({
    asked: level,
    identity: state.located.get().identity,
    points: catalog.points(state.workload.name),
    snapshots: new Set((await repository.snapshots()).map((each) => each.id)),
  });
  if (choice.degraded !== undefined) note(state, { severity: 'warning', check: 'level', said: choice.degraded });
  state.parent.set(choice);
}

/** Points newest first. A cumulative goes on the last full, an incremental on the last of any level whose chain is whole. Pure. */
export function chooseLevel(input: {
  readonly asked: Level | undefined;
  readonly identity: string;
  readonly points: readonly Point[];
  readonly snapshots: ReadonlySet<string>;
}): { readonly level: Level; readonly point: Point | null; readonly degraded?: string } {
  if (input.asked === 'full') return { level: 'full', point: null };
  const there = new Map(
    input.points
      .filter(
        (point) =>
          point.method === 'online' &&
          point.identity === input.identity &&
          input.snapshots.has(point.repositorySnapshot),
      )
      .map((point) => [point.id, point]),
  );
  const whole = (point: Point, depth = 0): boolean =>
    point.level === 'full' || (depth < there.size && hasBelow(point) && whole(belowOf(point), depth + 1));
  const hasBelow = (point: Point): boolean => point.parent !== null && there.has(point.parent);
  const belowOf = (point: Point): Point => there.get(point.parent ?? '') ?? point;
  const usable = [...there.values()].filter((point) => point.marks !== null && whole(point));
  const below = input.asked === 'cumulative' ? usable.find((point) => point.level === 'full') : usable[0];
  if (below !== undefined) return { level: input.asked ?? 'incremental', point: below };
  if (input.asked === undefined) return { level: 'full', point: null };
  const why = `there is no whole chain of the engine's own backup of this data set to go on top of`;
  return { level: 'full', point: null, degraded: `${input.asked} was asked for and a full was made: ${why}` };
}

/** Sizes from the engine's counters, to be held against what it really writes. */
export async function estimateOnline(state: Backup, signal: AbortSignal): Promise<void> {
  const parent = state.parent.get();
  const { application } = state.workload;
  const marks = parent.point?.marks;
  const since = marks === undefined || marks === null ? {} : { [parent.level]: marks };
  const sizes = (await application.estimate?.(since, signal)) ?? [];
  state.estimatedBytes = sizes.find((each) => each.level === parent.level)?.bytes;
}

export async function prepareOnline(state: Backup): Promise<void> {
  await mkdir(join(runDirectory(state.environment, state.runId), 'engine'), { recursive: true, mode: 0o700 });
}

/**
 * Live files first where the method is `concurrent`, then the engine's own backup, stream by stream, then the record, which is judged
 * once the engine has said that it is done: all in one repository snapshot, or none.
 */
export async function copyOnline(state: Backup, signal: AbortSignal): Promise<void> {
  const { environment, workload } = state;
  const online = abilityOf(state);
  const repository = await environment.repository();
  const parent = state.parent.get();
  const began = environment.clock.monoMs();
  const dirty = state.method === 'concurrent' ? await online.mark?.(signal) : undefined;
  if (dirty !== undefined) state.event('marked before the live copy');
  await using stack = new AsyncDisposableStack();
  let unsaved: { readonly point: UnsavedPoint; readonly evidence: Evidence } | undefined;
  const report: SaveReport = await repository.save({
    entries: dirty === undefined ? [] : liveEntries(state),
    paths: state.located.get().paths.map((path) => path.path),
    tags: [pointTag, `workload:${workload.name}`, `point:${state.runId}`],
    hostname: environment.hostname,
    time: environment.clock.now().wall,
    onProgress: (progress) => environment.reporter.progress('copy', progress),
    signal,
    last: async () => {
      const asked = dirty === undefined ? parent.level : 'incremental';
      const since = dirty ?? parent.point?.marks ?? undefined;
      state.event("the engine's backup begins");
      const run = stack.use(
        await online.start({
          level: asked,
          since,
          scratch: join(runDirectory(environment, state.runId), 'engine'),
          signal,
        }),
      );
      const written = new Map<string, number>();
      const made = async (): Promise<Uint8Array> => {
        unsaved = await conclude(state, await run.finish(), { asked, onTopOf: since ?? null, dirty, written }, signal);
        return encodeRecord(unsaved.point, unsaved.evidence, repository);
      };
      return [...streamEntries(state, run, written), recordEntry(state, made)];
    },
  });
  if (unsaved === undefined) throw new Error('the repository saved a point without asking for its evidence');
  state.copyMs = environment.clock.monoMs() - began;
  state.saved.set({
    point: pointFrom(unsaved.point, { id: report.snapshot, bytes: report.bytes }),
    evidence: unsaved.evidence,
  });
  compareWithEstimate(state, unsaved.evidence);
}

function liveEntries(state: Backup): readonly TreeEntry[] {
  return state.located.get().paths.map((path) => ({
    kind: 'path',
    at: path.path,
    from: path.path,
    leaveOut: (relative) =>
      path.leftOut.find((each) => each.relative === (relative === '' ? '.' : relative))?.match ?? 'keep',
  }));
}

function ours(state: Backup): {
  readonly mode: number;
  readonly mtimeNs: bigint;
  readonly uid: number;
  readonly gid: number;
} {
  const mtimeNs = BigInt(state.environment.clock.wallMs()) * 1_000_000n;
  return { mode: 0o600, mtimeNs, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
}

/** Numbered, because the repository walks names in their order and the engine writes in its own. */
function streamEntries(state: Backup, run: OnlineRun, written: Map<string, number>): readonly TreeEntry[] {
  return run.streams.map((stream, index) => ({
    kind: 'stream',
    at: `${levelsPath}/${String(index).padStart(4, '0')}-${stream.name}`,
    open: async function* () {
      let bytes = 0;
      for await (const piece of stream.open() as AsyncIterable<Uint8Array>) {
        bytes += piece.length;
        yield piece;
      }
      written.set(stream.name, bytes);
    },
    ...ours(state),
  }));
}

/** Walked after the streams: `levels` sorts before `point.json`. */
function recordEntry(state: Backup, made: () => Promise<Uint8Array>): TreeEntry {
  return {
    kind: 'stream',
    at: recordPath,
    open: async function* () {
      yield await made();
    },
    ...ours(state),
  };
}

async function conclude(
  state: Backup,
  answer: OnlineAnswer,
  about: {
    readonly asked: Level;
    readonly onTopOf: Marks | null;
    readonly dirty: Marks | undefined;
    readonly written: ReadonlyMap<string, number>;
  },
  signal: AbortSignal,
): Promise<{ readonly point: UnsavedPoint; readonly evidence: Evidence }> {
  const { application } = state.workload;
  state.event("the engine's backup is done", answer.ended);
  await watchMember(state, 'cut', signal);
  state.members.push({ when: 'cut', seen: (await application.locate(signal)).member });
  state.starts = answer.starts;
  state.online.set({
    asked: about.asked,
    made: answer.made,
    ...(answer.why === undefined ? {} : { why: answer.why }),
    from: answer.from,
    to: answer.to,
    onTopOf: answer.made === 'full' ? null : about.onTopOf,
    dirty: about.dirty !== undefined,
    finished: answer.finished,
    said: answer.said,
    began: answer.began,
    ended: answer.ended,
    streams: [...about.written].map(([name, bytes]) => ({ name, bytes })),
    spans: answer.spans,
  });
  if (answer.made !== about.asked) {
    const said = `${about.asked} was asked for and the engine made a ${answer.made}: ${answer.why ?? 'it did not say why'}`;
    note(state, { severity: 'warning', check: 'level', said });
  }
  await watchMember(state, 'record', signal);
  state.members.push({ when: 'record', seen: (await application.locate(signal)).member });
  state.event('record');
  await joinEngineLog(state, signal);
  const evidence = state.evidence();
  const judgement = refuseWeak(state, evidence);
  const whole = state.method === 'concurrent' || answer.made === 'full';
  const facts = {
    id: state.runId,
    method: state.method,
    level: whole ? ('full' as const) : answer.made,
    parent: whole ? null : (state.parent.get().point?.id ?? null),
    identity: state.located.get().identity,
  };
  return { point: describePoint(facts, evidence, judgement), evidence };
}

function compareWithEstimate(state: Backup, evidence: Evidence): void {
  const bytes = (evidence.online?.streams ?? []).reduce((sum, stream) => sum + stream.bytes, 0);
  if (state.estimatedBytes === undefined) return;
  note(state, {
    severity: 'info',
    check: 'estimate',
    said: `the engine's counters said ${state.estimatedBytes} bytes, it wrote ${bytes}`,
    value: state.estimatedBytes,
  });
}
