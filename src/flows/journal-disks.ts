import { fullAt, type Alarm, type SpaceSample } from '../model/cluster-alarms.ts';
import type { JournalDisk } from '../model/cluster-metrics.ts';
import type { ClusterView } from '../model/cluster.ts';
import { StillpointError } from '../model/errors.ts';
import type { Environment, Workload } from './environment.ts';

const mostSamples = 60;
/** A disk that is full within a day is worth an alarm. */
const soonMs = 24 * 3_600_000;

/** While a member is down the primary keeps the journals that it has not received, and its disk fills. */
export class JournalDisks {
  readonly #workload: Workload;
  readonly #environment: Environment;
  readonly #samples = new Map<string, SpaceSample[]>();

  constructor(workload: Workload, environment: Environment) {
    this.#workload = workload;
    this.#environment = environment;
  }

  /** The disks of the primary, and whether journals are kept there now. Without `always` only those that may be filling are looked at. */
  async look(view: ClusterView, always: boolean, signal: AbortSignal): Promise<readonly JournalDisk[]> {
    const primary = view.members.find(({ role }) => role === 'primary')?.name;
    const at = primary === undefined ? undefined : this.#workload.cluster?.members.get(primary);
    const isKept = missing(view).length > 0;
    // What it was before somebody was missing says nothing about how fast it fills.
    if (!isKept || at === undefined) this.#samples.clear();
    if (primary === undefined || at === undefined || (!isKept && !always)) return [];
    const disks: JournalDisk[] = [];
    for (const path of await journalPaths(at, signal)) {
      const now = {
        atMs: this.#environment.clock.monoMs(),
        freeBytes: await this.#environment.host.freeBytes(path),
      };
      const full = isKept ? this.#fullAt(path, now) : undefined;
      const fullInMs = full === undefined ? {} : { fullInMs: full.atMs - now.atMs };
      disks.push({ member: primary, path, freeBytes: now.freeBytes, ...fullInMs });
    }
    return disks;
  }

  #fullAt(path: string, now: SpaceSample): ReturnType<typeof fullAt> {
    const samples = [...(this.#samples.get(path) ?? []), now].slice(-mostSamples);
    this.#samples.set(path, samples);
    return fullAt(samples);
  }
}

export function diskAlarms(view: ClusterView, disks: readonly JournalDisk[]): readonly Alarm[] {
  return disks.flatMap(({ member, path, fullInMs }): readonly Alarm[] => {
    if (fullInMs === undefined || fullInMs > soonMs) return [];
    const said = `the disk of ${path} is full in ${(fullInMs / 3_600_000).toFixed(1)} h: journals are kept for ${missing(view).join(', ')}. Bring that member back or take it out of the cluster; never delete journals by hand that were not sent`;
    return [{ code: 'journal-disk-filling', member, severity: 'error', about: path, said }];
  });
}

/** An arbiter receives no journals, so none are kept for it. */
function missing(view: ClusterView): readonly string[] {
  return view.members
    .filter(({ role, health }) => role !== 'arbiter' && (health === 'down' || health === 'unknown'))
    .map(({ name }) => name);
}

async function journalPaths({ application }: Workload, signal: AbortSignal): Promise<readonly string[]> {
  try {
    const { paths } = await application.locate(signal);
    return [...new Set(paths.filter(({ role }) => role === 'journal' || role === 'data').map(({ path }) => path))];
  } catch (error) {
    // The engine does not answer: that is told by the view.
    if (error instanceof StillpointError) return [];
    throw error;
  }
}
