import { observe } from '../model/cluster.ts';
import { StillpointError } from '../model/errors.ts';
import type { Evidence } from '../model/evidence.ts';
import { judge } from '../model/judge.ts';
import { bootId } from '../platform/clock.ts';
import type { CutSnapshot } from '../ports/machines.ts';
import { viewOf } from './cluster.ts';
import { labelOf } from './environment.ts';
import { lookAround, tell } from './mirror-split-drive.ts';
import type { SplitBackup } from './mirror-split-state.ts';
import { describePoint, encodeRecord, pointFrom, pointTag, recordPath } from './record.ts';

export async function recordSplit(state: SplitBackup, signal: AbortSignal): Promise<void> {
  const { environment, tools, workload, runId, before } = state;
  state.snapshot.set(await completed(state, signal));
  state.note('record', await lookAround(tools, state.servers));
  const view = await viewOf(tools.cluster, environment, signal);
  state.seen.push({ when: 'record', seen: observe(view, before.active), at: environment.clock.now() });
  const evidence = evidenceOf(state);
  const judgement = judge(evidence);
  if (judgement.verdict !== 'application-consistent') {
    const why = judgement.reasons.map((each) => `${each.rule}: ${each.said}`).join('; ');
    throw new StillpointError('verdict-too-weak', `the cut is ${judgement.verdict} (${why})`, {
      hint: 'find out who else was at work on the cluster, and run again',
      details: { verdict: judgement.verdict, reasons: judgement.reasons },
    });
  }
  const repository = await environment.repository();
  const identity = `${view.manager}:${view.name}:${tools.split.mirrors.join(',')}`;
  const facts = { id: runId, method: 'mirror-split', level: 'full', parent: null, identity } as const;
  const unsaved = describePoint(facts, evidence, judgement);
  const report = await repository.save({
    entries: [
      {
        ...{ kind: 'bytes', at: recordPath, data: encodeRecord(unsaved, evidence, repository), mode: 0o600 },
        mtimeNs: BigInt(environment.clock.wallMs()) * 1_000_000n,
        ...{ uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
      },
    ],
    paths: [recordPath],
    tags: [pointTag, `workload:${workload.name}`, `point:${runId}`],
    hostname: environment.hostname,
    time: environment.clock.now().wall,
    signal,
  });
  const point = pointFrom(unsaved, { id: report.snapshot, bytes: report.bytes });
  state.saved.set({ point, evidence });
  (await environment.catalog()).addPoint(point);
}

/** Days may pass for a large first one; the cluster is whole meanwhile. */
async function completed(state: SplitBackup, signal: AbortSignal): Promise<CutSnapshot> {
  const { tools, environment } = state;
  const { id } = state.snapshot.get();
  const { clock } = environment;
  const untilMs = clock.monoMs() + tools.limits.snapshot;
  tell(tools, `waiting: ${id} is copied to where snapshots are kept`);
  for (;;) {
    const found = await tools.machines.snapshotOf(id).catch(() => state.snapshot.get());
    if (found?.state === 'completed') return found;
    if (found === undefined || found.state === 'error')
      throw new StillpointError('cut-failed', `the snapshot ${id} is ${found?.state ?? 'gone'}`);
    if (clock.monoMs() >= untilMs)
      throw new StillpointError('cut-failed', `the snapshot ${id} is still ${found.state}`, {
        hint: 'give mirrorSplit.snapshot of the workload more time',
      });
    await clock.sleep(tools.limits.poll, signal);
  }
}

function evidenceOf(state: SplitBackup): Evidence {
  const { workload, tools, before, runId, chosen } = state;
  const { volume, view } = chosen.get();
  const { brokenFrom, broken, called, returned, whole } = state;
  if (!brokenFrom || !broken || !called || !returned || !whole) throw new Error('evidence is asked for too early');
  const snapshot = state.snapshot.get();
  const { machines, split } = tools;
  const { standby } = before;
  const ref = { provider: machines.disks, volume, label: labelOf(runId), at: snapshot.id };
  return {
    schema: 'stillpoint.evidence/1',
    runId,
    workload: workload.name,
    // It was stopped: nobody could be asked.
    engine: { name: workload.application.engine, version: '', facts: {} },
    bootId: bootId(),
    required: [],
    volumes: [
      {
        id: volume,
        provider: machines.disks,
        holds: split.mirrors,
        details: { machine: machines.machineOf(standby), device: machines.deviceOf(standby), snapshot: snapshot.id },
      },
    ],
    members: [{ when: 'chosen', seen: { member: standby, role: 'backup', epoch: view.epoch } }],
    cluster: { chosen: observe(view, before.active), considered: [], heldOff: false, seen: [...state.seen] },
    hold: null,
    cut: {
      atomicity: 'one-instant',
      how: 'one disk, to which nobody wrote since the break',
      cuts: [{ volume, snapshot: ref, called: brokenFrom, fixed: broken }],
      spans: [],
    },
    split: {
      before,
      machine: machines.machineOf(standby),
      device: machines.deviceOf(standby),
      volume,
      snapshot,
      looks: [...state.looks],
      ...{ called, returned },
      oneCopyMs: whole.monoMs - brokenFrom.monoMs,
    },
    leftOut: [],
    events: [...state.events],
  };
}
