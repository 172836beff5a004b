import { note, type Backup } from './backup-state.ts';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { StillpointError, messageOf } from '../model/errors.ts';
import { stopsWriters } from '../model/hold.ts';
import type { Canary } from '../ports/application.ts';
import { passFreeze } from './barrier-report.ts';
import { failoverOf, letFailoverGo, secureMember } from './cluster.ts';
import { cutGroup, prepareGroup } from './group.ts';
import { runDirectory } from './environment.ts';
import type { Step } from './flow.ts';
import { Hold } from './hold.ts';

/** Short enough to have a number near the cut, long enough not to be a load. */
const canaryEveryMs = 25;

export async function prepare(
  state: Backup,
  signal: AbortSignal,
  noteTrace: Parameters<Step<Backup>['run']>[2],
): Promise<void> {
  const { environment, workload } = state;
  await mkdir(runDirectory(environment, state.runId), { recursive: true, mode: 0o700 });
  await secureMember(state, signal, noteTrace);
  state.group.set(await prepareGroup(state.group.get(), signal, state.forecast.peek()?.keepMs));
  if (!state.holds) return;
  const cold = state.method === 'cold';
  // The forecast's is cut to what the cluster bears.
  const { budgetMs } = state.forecast.get();
  const { fileSystems } = state.layers.get();
  const hold = new Hold(workload, environment, state.runId, budgetMs, {
    way: cold ? 'stop' : 'freeze',
    fileSystems,
    ...failoverOf(state),
  });
  state.hold.set(hold);
  await hold.prepare(noteTrace, signal);
  // A canary would be a user of the database, and a cold backup has none.
  const canary = cold ? undefined : await workload.application.openCanary?.(state.runId);
  if (canary === undefined) return;
  state.canary.set(canary);
  state.canaryLoop = sing(state, canary);
}

/**
 * Numbers into the live database until the cut, so that a restored copy can be held against what the engine had acknowledged. Where
 * the hold stops writers the song ends at the freeze; elsewhere it goes on through the cut, which must then show a prefix.
 */
async function sing(state: Backup, canary: Canary): Promise<void> {
  try {
    while (state.cut.peek() === undefined && !state.canaryStop.signal.aborted) {
      // False only means that the engine is busy with somebody else's write: the next number comes a little later.
      await canary.write();
      await state.environment.clock.sleep(canaryEveryMs, state.canaryStop.signal).catch(() => undefined);
    }
  } catch (error) {
    // A canary that dies proves less; it must not end a backup. What it had acknowledged still counts.
    note(state, { severity: 'warning', check: 'canary', said: `the canary stopped: ${messageOf(error)}` });
  }
}

async function stopCanary(state: Backup): Promise<void> {
  state.canaryStop.abort();
  await state.canaryLoop;
  await state.canary.peek()?.close();
}

export async function letGo(state: Backup): Promise<void> {
  await stopCanary(state);
  await state.hold.peek()?.release();
  await letFailoverGo(state);
  await rm(runDirectory(state.environment, state.runId), { recursive: true, force: true });
}

export async function freeze(state: Backup, signal: AbortSignal): Promise<void> {
  await passFreeze(state, signal);
  if (!state.holds) return;
  if (stopsWriters(state.located.get().holdKind) || state.method === 'cold') {
    state.canaryStop.abort();
    await state.canaryLoop;
  }
  const hold = state.hold.get();
  const frozen = await hold.freeze();
  state.frozen.set(frozen);
  state.starts = frozen.answer.starts ?? [];
  state.event('freeze called', frozen.called, 'guard');
  state.event('frozen', frozen.answer.at, 'guard');
  if (!frozen.answer.frozen) {
    throw new StillpointError('freeze-failed', `the engine did not freeze: ${frozen.answer.said}`, {
      hint: 'look for long transactions or locks that keep it from freezing, or raise hold.budget',
    });
  }
  state.members.push({ when: 'frozen', seen: frozen.seen });
}

/** Also when the freeze failed or is unsure (docs/design/rules.md, 4). */
export async function thawAgain(state: Backup): Promise<void> {
  // What a cut may have left suspended first: an engine may have to write to become thawed.
  for (const { provider, volumes } of state.group.peek()?.parts ?? [])
    await provider.release?.(provider.refs(volumes, state.label));
  await state.hold.peek()?.thaw();
}

export async function cut(state: Backup, signal: AbortSignal): Promise<void> {
  const held = state.holds ? AbortSignal.any([signal, state.hold.get().held]) : signal;
  await state.request.barrier?.pass('cut', held);
  // What is acknowledged here must be in the copy.
  state.canaryAcknowledged = state.canary.peek()?.acknowledged;
  state.event('cut called');
  try {
    state.cut.set(await cutGroup(state.group.get(), state.label, held));
  } catch (error) {
    // A lost hold is the cause; the aborted cut is only what it did.
    if (!signal.aborted && held.aborted && held.reason instanceof StillpointError) throw held.reason;
    throw error;
  }
  state.event('cut');
  state.request.barrier?.tell({ at: 'cut' });
}

export async function removeSnapshots(state: Backup): Promise<void> {
  for (const part of state.group.peek()?.parts ?? []) {
    for (const ref of part.provider.refs(part.volumes, state.label)) await part.provider.delete(ref);
  }
}

export async function thaw(state: Backup, signal: AbortSignal): Promise<void> {
  if (!state.holds) {
    await letFailoverGo(state);
    state.members.push({ when: 'cut', seen: (await state.workload.application.locate(signal)).member });
    return;
  }
  const hold = state.hold.get();
  const { answer, by, before } = await hold.thaw();
  state.request.barrier?.tell({ at: 'thawed' });
  if (before?.seen !== undefined) state.members.push({ when: 'cut', seen: before.seen });
  if (before?.asked !== undefined) state.asked.set(before.asked);
  if (state.starts.length === 0) state.starts = answer.starts ?? [];
  state.event('thawed', answer.at, by === 'sentinel' ? 'sentinel' : 'guard');
  // Out of the hold, but still under the guard's session, which keeps the engine from recycling the journal.
  const { application } = state.workload;
  if (answer.journal !== undefined && application.collectJournal !== undefined && answer.heldThroughout) {
    const into = join(runDirectory(state.environment, state.runId), 'journal');
    await mkdir(into, { recursive: true, mode: 0o700 });
    state.collected.set(await application.collectJournal(answer.journal, into, signal));
    state.event('journal collected');
  }
  await stopCanary(state);
  // Still watched by the guard, which lets go when we die here.
  await letFailoverGo(state);
  await hold.release();
}
