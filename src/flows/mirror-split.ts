import { StillpointError } from '../model/errors.ts';
import { observe } from '../model/cluster.ts';
import { isWhole, type SplitAct, type SplitStep } from '../model/mirror-split.ts';
import type { Finding } from '../model/point.ts';
import type { CutSnapshot } from '../ports/machines.ts';
import type { BackupRequest, BackupResult } from './backup-state.ts';
import { viewOf } from './cluster.ts';
import { lockWorkload, type Environment, type Workload } from './environment.ts';
import type { Step } from './flow.ts';
import { drive, failureOf, lookAround, perform, prove, type SplitTools } from './mirror-split-drive.ts';
import { recordSplit } from './mirror-split-record.ts';
import { deciding, makeWhole, removeCut } from './mirror-split-recover.ts';
import { SplitBackup } from './mirror-split-state.ts';
import { refuse, refuseElsewhere, surveySplit } from './mirror-split-survey.ts';
import { refuseLeftHold } from './recover.ts';
import { runJournaled } from './run.ts';

/** The steps of docs/design/mirror-split.md. Undoing any of them is one way, which looks for itself what is to be done. */
export const splitBackupSteps: readonly (Step<SplitBackup> & { readonly name: SplitStep })[] = [
  { name: 'look', run: look },
  {
    name: 'quiesce',
    traces: ({ runId, before }) => [{ kind: 'split', work: { runId, before } }],
    run: quiesce,
    undo: undoSplit,
  },
  { name: 'hold-recovery', run: holdRecovery },
  { name: 'break', run: breakMirror },
  { name: 'go-on', run: goOn },
  { name: 'leave', run: leave },
  { name: 'cut', run: cutDisk },
  { name: 'power-on', run: (state) => forward(state, ['start-machine', 'boot', 'off', 'answer', 'start-group']) },
  { name: 'come-back', run: (state) => forward(state, ['start-machine', 'boot', 'off', 'answer', 'post', 'service']) },
  { name: 'watch', run: (state) => forward(state, ['resume', 'start-group', 'answer', 'service']) },
  { name: 'whole', run: becomeWhole },
  { name: 'record', run: recordSplit, undo: unrecord, commits: true },
];

/** Makes one point of the standby's disk, or throws and leaves the cluster whole and nothing behind. */
export async function splitBackup(
  workload: Workload,
  environment: Environment,
  request: BackupRequest,
): Promise<BackupResult> {
  if (request.level !== undefined && request.level !== 'full') {
    throw new StillpointError('usage', `the method mirror-split makes a full and was asked for ${request.level}`, {
      hint: 'leave --level out',
    });
  }
  const lock = await lockWorkload(environment, workload.name);
  try {
    const state = new SplitBackup(workload, environment, request.signal);
    await refuseLeftHold(workload, environment);
    return await runJournaled(
      {
        runId: state.runId,
        flow: 'backup',
        workload: workload.name,
        steps: splitBackupSteps,
        state,
        signal: request.signal,
        result: ({ saved, findings }): BackupResult => ({ outcome: 'complete', ...saved.get(), findings }),
        outcomeOf: ({ outcome }) => outcome,
      },
      environment,
    );
  } finally {
    lock.release();
  }
}

async function look(state: SplitBackup, signal: AbortSignal): Promise<void> {
  const { chosen, seen, refusals } = await surveySplit(state.tools, signal);
  refuse(refusals);
  await refuseElsewhere(state.tools, [chosen.before.standby]);
  // Opened now: it must not turn out to be closed when the cluster has been apart for an hour.
  await state.environment.repository();
  await state.environment.catalog();
  state.chosen.set(chosen);
  state.note('chosen', seen);
}

async function quiesce(state: SplitBackup): Promise<void> {
  state.groupIsOurs = true;
  const { active } = state.before;
  state.event(`stop the group on ${active}`);
  state.stoppedFrom = state.environment.clock.now();
  await prove(
    state.tools,
    state.servers,
    `the stop of the group on ${active}`,
    () => state.tools.split.stopGroup(active),
    (seen) => seen.group.status === 'offline',
  );
}

async function holdRecovery(state: SplitBackup): Promise<void> {
  for (const { monitor, server } of state.before.monitors) {
    await prove(
      state.tools,
      state.servers,
      `the suspension of ${monitor} on ${server}`,
      () => state.tools.split.suspend(monitor, server),
      (seen) => seen.servers[server]?.suspended.includes(monitor) === true,
    );
  }
}

async function breakMirror(state: SplitBackup): Promise<void> {
  const { before, tools, servers, environment } = state;
  const { active, standby } = before;
  const seen = await lookAround(tools, servers);
  if (seen.group.status !== 'offline' || !isWhole(seen, before))
    throw changed(`right before the break the group is ${seen.group.status} and the mirror ${seen.mirror}`);
  state.note('before-break', seen);
  state.brokenFrom = environment.clock.now();
  const after = await prove(
    tools,
    servers,
    `the break of the mirror on ${standby}`,
    () => tools.split.break(standby),
    ({ servers: all }) => all[standby]?.colour === 'RED' && all[active]?.colour === 'GREEN',
  );
  state.broken = environment.clock.now();
  state.note('after-break', after);
}

function changed(said: string): StillpointError {
  return new StillpointError('cut-failed', said, {
    hint: 'somebody else is at work on the cluster; run again when it is settled',
  });
}

async function goOn(state: SplitBackup): Promise<void> {
  const { active } = state.before;
  await prove(
    state.tools,
    state.servers,
    `the start of the group on ${active}`,
    () => state.tools.split.startGroup(active),
    (seen) => seen.group.status === 'online' && seen.group.on === active,
  );
  state.groupIsOurs = false;
  state.event(`the group is online on ${active}`);
  const { clock, reporter } = state.environment;
  const seconds = Math.round((clock.monoMs() - (state.stoppedFrom?.monoMs ?? clock.monoMs())) / 1000);
  const finding: Finding = { severity: 'info', check: 'mirror-split', said: `users were locked out for ${seconds} s` };
  state.findings.push(finding);
  reporter.finding(finding);
}

async function leave(state: SplitBackup, signal: AbortSignal): Promise<void> {
  const { tools, servers, before } = state;
  const { standby } = before;
  const seen = await lookAround(tools, servers);
  if (seen.servers[standby]?.colour !== 'RED') throw changed(`${standby} is not isolated any more`);
  state.note('before-leave', seen);
  const failure = await failureOf(tools.split.phase('backup-pre', standby));
  await drive({
    tools,
    servers,
    signal,
    decide: deciding(tools, state),
    act: (act) => perform(tools, act, before.active, 'backup'),
    until: (act) => act.do === 'cut',
    check: (_, now, waitedMs) => {
      const server = now.servers[standby];
      const stays = server?.services === 'running' && server.startup !== 'manual' && server.machine === 'running';
      if (!stays || waitedMs < tools.limits.act) return;
      throw (
        failure ??
        new StillpointError('command-failed', `${standby} was told to leave, and did not`, {
          hint: `run \`${tools.split.command('backup-pre')}\` on ${standby} by hand to see why`,
        })
      );
    },
  });
}

async function cutDisk(state: SplitBackup): Promise<void> {
  const { tools, servers, environment, runId, before } = state;
  const { volume } = state.chosen.get();
  const seen = await lookAround(tools, servers);
  const standby = seen.servers[before.standby];
  if (standby?.machine !== 'stopped' || standby.attached?.volume !== volume)
    throw changed(
      `the machine of ${before.standby} is ${standby?.machine ?? 'unknown'}, with ${standby?.attached?.volume ?? 'no volume'}`,
    );
  state.note('off', seen);
  state.called = environment.clock.now();
  const failure = await failureOf(tools.machines.snapshot(volume, runId));
  const made = await cutOf(tools, runId, failure);
  state.returned = environment.clock.now();
  state.snapshot.set(made);
  // Nobody wants it cut a second time on the way back.
  state.cut = 'no';
  state.event(`snapshot ${made.id} of ${made.volume} is ${made.state}`);
  state.note('after-cut', await lookAround(tools, servers));
  const { view: chosen } = state.chosen.get();
  const view = await viewOf(tools.cluster, environment, new AbortController().signal);
  state.seen.push({ when: 'cut', seen: observe(view, before.active), at: environment.clock.now() });
  if (view.epoch !== chosen.epoch) throw changed(`the group was on ${before.active} and is elsewhere`);
}

/** The call may have been lost after it was done. */
async function cutOf(tools: SplitTools, runId: string, failure: Error | undefined): Promise<CutSnapshot> {
  const { clock } = tools.environment;
  const untilMs = clock.monoMs() + tools.limits.act;
  for (;;) {
    const [made, another] = await tools.machines.snapshots(runId).catch(() => []);
    if (another !== undefined)
      throw new StillpointError('cut-failed', `there are several snapshots of the run ${runId}`);
    if (made !== undefined) return made;
    if (clock.monoMs() >= untilMs) break;
    await clock.sleep(tools.limits.poll);
  }
  throw new StillpointError(
    'cut-failed',
    `no snapshot was made${failure === undefined ? '' : `: ${failure.message}`}`,
    {
      hint: 'see by hand whether the machines can be asked and snapshots may be made',
      cause: failure,
    },
  );
}

/** On, as long as what follows is of this step. */
async function forward(
  state: SplitBackup,
  ofStep: readonly (SplitAct['do'] | (SplitAct & { do: 'wait' })['for'])[],
): Promise<void> {
  await drive({
    tools: state.tools,
    servers: state.servers,
    signal: state.signal,
    decide: deciding(state.tools, state),
    act: (act) => perform(state.tools, act, state.before.active, 'backup'),
    until: (act) => !ofStep.includes(act.do === 'wait' ? act.for : act.do),
  });
}

async function becomeWhole(state: SplitBackup): Promise<void> {
  await makeWhole(state.tools, state);
  state.whole = state.environment.clock.now();
  const { brokenFrom, tools, findings } = state;
  const oneCopyMs = state.whole.monoMs - (brokenFrom?.monoMs ?? state.whole.monoMs);
  const said = `there was one copy and no failover for ${Math.round(oneCopyMs / 1000)} s`;
  const isLong = oneCopyMs > tools.limits.oneCopy;
  const planned = isLong ? `, longer than the ${Math.round(tools.limits.oneCopy / 1000)} s that were planned` : '';
  const finding: Finding = { severity: isLong ? 'warning' : 'info', check: 'mirror-split', said: `${said}${planned}` };
  findings.push(finding);
  state.environment.reporter.finding(finding);
  if (isLong)
    await state.environment.notify?.({ schema: 'stillpoint/1', alarm: 'mirror-split', said: finding.said, hint: null });
}

async function unrecord(state: SplitBackup): Promise<void> {
  const saved = state.saved.peek();
  if (saved === undefined) return;
  await (await state.environment.repository()).removeSnapshot(saved.point.repositorySnapshot);
  (await state.environment.catalog()).removePoint(saved.point.id);
}

async function undoSplit(state: SplitBackup): Promise<void> {
  await makeWhole(state.tools, state);
  await removeCut(state.tools, state.runId);
}
