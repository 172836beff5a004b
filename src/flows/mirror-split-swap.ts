import { messageOf } from '../model/errors.ts';
import {
  nextRestoreAct,
  type SplitAct,
  type SplitBefore,
  type SplitSeen,
  type SplitWork,
} from '../model/mirror-split.ts';
import { alarm, drive, perform, type DriveMemory, type SplitTools } from './mirror-split-drive.ts';
import { switchFastOff } from './mirror-split-fast.ts';
import { partitionsAt } from './mirror-split-survey.ts';

type Disks = Readonly<Record<string, string>>;

interface Way {
  readonly before: SplitBefore;
  readonly disks: Disks;
  /** What may be found in their place. */
  readonly others: readonly string[];
}

/** `nextRestoreAct` with what has to be remembered and looked up. */
function decidingRestore(tools: SplitTools, way: Way): (seen: SplitSeen, memory: DriveMemory) => Promise<SplitAct> {
  const { clock } = tools.environment;
  const taken = new Set<string>();
  let idleSince: number | undefined;
  let groupRefused = false;
  return async (seen, { act: last, failure, waitedMs }) => {
    if (last?.do === 'post' && failure === undefined) taken.add(last.server);
    if (last?.do === 'start-group' && waitedMs > tools.limits.act) groupRefused = true;
    const named: string[] = [];
    for (const [server, disk] of Object.entries(way.disks)) {
      const { answers, services } = seen.servers[server] ?? {};
      if (answers !== true || services !== 'stopped') continue;
      // One that cannot be asked now is asked again; what is not known is not named.
      const wrong = await partitionsAt(tools, server, disk).catch(() => undefined);
      if (wrong === undefined) return { do: 'wait', for: 'answer', said: `${server} does not tell its disks`, server };
      if (wrong.length === 0) named.push(server);
    }
    const idleMs = idleSince === undefined ? 0 : clock.monoMs() - idleSince;
    const act = nextRestoreAct(seen, {
      ...way.before,
      ...{
        disks: way.disks,
        known: [...Object.values(way.disks), ...way.others],
        groupIsOurs: true,
        groupRefused,
        idleMs,
        named,
        taken: [...taken],
      },
      autoRecoveryMs: tools.limits.autoRecovery,
    });
    const isIdle = act.do === 'wait' && act.for === 'whole' && seen.mirror !== 'Recovering';
    idleSince = isIdle ? (idleSince ?? clock.monoMs()) : undefined;
    return act;
  };
}

export async function goTo(
  tools: SplitTools,
  way: Way,
  more: { readonly until?: (act: SplitAct) => boolean; readonly signal?: AbortSignal } = {},
): Promise<void> {
  await drive({
    tools,
    servers: [way.before.active, way.before.standby],
    decide: decidingRestore(tools, way),
    act: (act) => perform(tools, act, way.before.active, 'restore'),
    ...more,
  });
}

/** From any step: forward where a new disk may have been taken in, else back to the old pair; volumes that nobody has are removed. */
export async function restoreBack(tools: SplitTools, work: SplitWork): Promise<string> {
  const { fast } = work;
  try {
    return await goBackOrOn(tools, work);
  } finally {
    // After the servers, which users wait for, and also where they need a person.
    if (fast !== undefined) await switchFastOff(tools, fast);
  }
}

async function goBackOrOn(tools: SplitTools, work: SplitWork): Promise<string> {
  const { before, fresh, old = {}, taken } = work;
  if (taken === true && fresh !== undefined) {
    await goTo(tools, { before, disks: fresh, others: Object.values(old) });
    return `${before.active} and ${before.standby} have the restored disks`;
  }
  // Not noted yet where the run was killed while they were made.
  const others = fresh === undefined ? [] : Object.values(fresh);
  await goTo(tools, { before, disks: old, others });
  for (const server of [before.active, before.standby]) await removeVolumes(tools, work.runId, server);
  return `${before.active} and ${before.standby} have their old disks again`;
}

async function removeVolumes(tools: SplitTools, runId: string, server: string): Promise<void> {
  const { machines, limits, environment } = tools;
  const untilMs = environment.clock.monoMs() + limits.attach;
  for (;;) {
    let why = '';
    try {
      const left = await machines.volumes(runId, server);
      if (left.length === 0) return;
      for (const { id } of left) await machines.deleteVolume(id);
    } catch (error) {
      why = `: ${messageOf(error)}`;
    }
    if (environment.clock.monoMs() >= untilMs)
      throw await alarm(
        tools,
        `both servers have their old disks, and a volume of the run ${runId} could not be removed${why}`,
        'see that the machines can be asked, then `stillpoint recover`',
      );
    await environment.clock.sleep(limits.poll);
  }
}
