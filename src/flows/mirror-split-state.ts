import type { ClusterEvidence, Evidence, FlightEvent } from '../model/evidence.ts';
import type { SplitBefore, SplitLook, SplitSeen } from '../model/mirror-split.ts';
import type { Finding, Point } from '../model/point.ts';
import type { Moment } from '../model/time.ts';
import type { CutSnapshot } from '../ports/machines.ts';
import { newRunId, Slot, type Environment, type Workload } from './environment.ts';
import { splitToolsOf, type SplitTools } from './mirror-split-drive.ts';
import type { Decisions } from './mirror-split-recover.ts';
import type { SplitChosen } from './mirror-split-survey.ts';

/** What one backup by a split mirror knows, filled step by step. */
export class SplitBackup implements Decisions {
  readonly runId: string;
  readonly workload: Workload;
  readonly environment: Environment;
  readonly tools: SplitTools;
  readonly signal: AbortSignal;
  readonly chosen = new Slot<SplitChosen>('chosen');
  readonly snapshot = new Slot<CutSnapshot>('snapshot');
  readonly saved = new Slot<{ readonly point: Point; readonly evidence: Evidence }>('saved');
  readonly looks: SplitLook[] = [];
  readonly events: FlightEvent[] = [];
  readonly findings: Finding[] = [];
  readonly seen: ClusterEvidence['seen'][number][] = [];
  cut: 'wanted' | 'no' = 'wanted';
  groupIsOurs = false;
  stoppedFrom: Moment | undefined;
  brokenFrom: Moment | undefined;
  broken: Moment | undefined;
  called: Moment | undefined;
  returned: Moment | undefined;
  whole: Moment | undefined;

  constructor(workload: Workload, environment: Environment, signal: AbortSignal) {
    this.runId = newRunId(environment.clock);
    this.workload = workload;
    this.environment = environment;
    this.tools = splitToolsOf(workload, environment);
    this.signal = signal;
  }

  get before(): SplitBefore {
    return this.chosen.get().before;
  }

  get servers(): readonly string[] {
    return [this.before.active, this.before.standby];
  }

  event(what: string): void {
    this.events.push({ what, by: 'flow', at: this.environment.clock.now() });
  }

  note(when: SplitLook['when'], seen: SplitSeen): void {
    this.looks.push({ when, seen, at: this.environment.clock.now() });
    this.event(`looked: ${when}`);
  }
}
