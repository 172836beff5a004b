import { StillpointError } from '../model/errors.ts';
import type { HostGroup, GroupPart } from './barrier-group.ts';
import { nameOf } from './barrier-group.ts';
import { deadRuns, headOf } from './dead-runs.ts';
import type { Environment } from './environment.ts';
import { continueJournal, isCommitted, type RunHistory } from './journal.ts';
import type { UndoneRun } from './undo-run.ts';

const recoverMs = 120_000;
/** The flow's name in its journal. */
export const groupFlow = 'group-backup';

export function isGroupRun(history: RunHistory): boolean {
  return headOf(history)?.flow === groupFlow;
}

/** Before a run of the group begins. Throws `recover-first` when a host does not answer for what a dead run may have left there. */
export async function refuseLeftGroup(group: HostGroup, environment: Environment, signal: AbortSignal): Promise<void> {
  const { dead, damaged } = await deadRuns(environment);
  const [broken] = damaged;
  if (broken !== undefined) throw broken;
  for (const history of dead) {
    if (headOf(history)?.workload !== group.name || !isGroupRun(history)) continue;
    const [failure] = (await undoGroupRun(history, group, environment, signal)).failures;
    if (failure === undefined) continue;
    throw new StillpointError('recover-first', `an earlier run left something behind: ${failure.message}`, {
      hint: failure.hint ?? 'run `stillpoint recover`',
      cause: failure,
    });
  }
}

/**
 * A dead coordinator holds nothing itself: its parts have given the barrier up with it, and their guards thaw whatever they do. Each host
 * is asked to recover what it has, and then whether it is thawed. Idempotent.
 */
export async function undoGroupRun(
  history: RunHistory,
  group: HostGroup | undefined,
  environment: Environment,
  signal: AbortSignal,
): Promise<UndoneRun> {
  if (group === undefined) {
    const failure = new StillpointError(
      'undo-failed',
      `the dead run ${headOf(history)?.runId ?? ''} held ${headOf(history)?.workload ?? 'a group'}, which the configuration does not know`,
      { hint: 'put the group back into the configuration and run `stillpoint recover` again' },
    );
    return { how: 'open', said: [], failures: [failure] };
  }
  const answers = await Promise.all(group.parts.map((part) => recoverPart(part, signal)));
  const failures = answers.filter((answer) => answer instanceof StillpointError);
  const said = answers.filter((answer) => typeof answer === 'string');
  if (failures.length === 0) {
    const journal = await continueJournal(history, environment.stateDirectory);
    try {
      await journal.append({ type: 'end', outcome: 'recovered', at: environment.clock.now().wall });
    } finally {
      await journal.close();
    }
  }
  return { how: failures.length > 0 ? 'open' : isCommitted(history) ? 'finished' : 'undone', said, failures };
}

async function recoverPart(part: GroupPart, signal: AbortSignal): Promise<string | StillpointError> {
  try {
    // Parts of this configuration are recovered by who calls us.
    if (!part.here) await askPart(part, ['recover'], recoverMs, signal);
    const answer = await askPart(part, ['status', part.workload], recoverMs, signal);
    const status = answer['status'] as { readonly state?: string; readonly said?: string } | undefined;
    if (status?.state === 'thawed' || (part.here && status?.state !== 'unknown')) {
      return `${nameOf(part)}: ${status?.said ?? 'thawed'}`;
    }
    return new StillpointError(
      'thaw-unproven',
      `${nameOf(part)} is ${status?.state ?? 'unknown'}: ${status?.said ?? ''}`,
      {
        hint: `run \`stillpoint recover\` on its host, then here again`,
      },
    );
  } catch (error) {
    return error instanceof StillpointError ? error : new StillpointError('undo-failed', String(error));
  }
}

/** The document of a command on the part's host. Throws `command-failed` with what it said, or the error that it gave. */
export async function askPart(
  part: GroupPart,
  args: readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Readonly<Record<string, unknown>>> {
  const result = await part.run(args, timeoutMs, signal);
  const command = `\`stillpoint ${args.join(' ')}\``;
  const document = documentOf(result.stdout);
  const error = document?.['error'] as { readonly message?: string; readonly hint?: string | null } | undefined;
  if (document !== undefined && error === undefined) return document;
  const why = error?.message ?? (result.stderr.trim().split('\n').slice(-3).join('; ') || 'it said nothing');
  const how = result.timedOut ? `did not end within ${timeoutMs} ms` : `failed`;
  throw new StillpointError('command-failed', `${nameOf(part)}: ${command} ${how}: ${why}`, {
    hint: error?.hint ?? `see that Stillpoint runs there by hand: ${command}`,
    details: { part: part.name, exitCode: result.exitCode },
  });
}

function documentOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}
