import { StillpointError, codeOf, messageOf } from '../model/errors.ts';
import type { Finding } from '../model/point.ts';
import { backup } from './backup.ts';
import type { BackupResult } from './backup-state.ts';
import { Barrier, type PartLine } from './barrier-gate.ts';
import type { Environment, Workload } from './environment.ts';

const progressEveryMs = 1_000;

/** Makes one part of a group, under the word of a coordinator. What went wrong is told to the coordinator and thrown. */
export async function backupPart(
  workload: Workload,
  environment: Environment,
  request: { readonly line: PartLine; readonly signal: AbortSignal },
): Promise<BackupResult> {
  const barrier = new Barrier(request.line, environment.clock);
  const findings = new Set<string>();
  const told: Environment = { ...environment, reporter: reporting(barrier, environment, findings) };
  try {
    const { level } = await barrier.begin(request.signal);
    const result = await backup(workload, told, {
      method: 'snapshot',
      level,
      signal: AbortSignal.any([request.signal, barrier.signal]),
      barrier,
    });
    barrier.tell({ at: 'ended', outcome: result.outcome });
    return result;
  } catch (error) {
    barrier.tell({
      at: 'ended',
      outcome: codeOf(error) === 'cancelled' ? 'cancelled' : 'failed',
      code: error instanceof StillpointError ? error.code : 'bug',
      message: messageOf(error),
      ...(error instanceof StillpointError && error.hint !== undefined ? { hint: error.hint } : {}),
    });
    throw error;
  } finally {
    barrier.close();
  }
}

/** Findings and the copy's progress go to the coordinator too; steps do not, for it knows the stages. */
function reporting(barrier: Barrier, { reporter, clock }: Environment, seen: Set<string>): Environment['reporter'] {
  let toldMs = Number.NEGATIVE_INFINITY;
  return {
    step: (name, phase) => reporter.step(name, phase),
    progress: (what, progress) => {
      reporter.progress(what, progress);
      if (clock.monoMs() - toldMs < progressEveryMs) return;
      toldMs = clock.monoMs();
      barrier.tell({ at: 'progress', what, bytesDone: progress.bytesDone, bytesTotal: progress.bytesTotal });
    },
    finding: (finding: Finding) => {
      reporter.finding(finding);
      const text = JSON.stringify(finding);
      if (finding.severity === 'info' || seen.has(text)) return;
      seen.add(text);
      barrier.tell({ at: 'finding', finding });
    },
  };
}
