import type { StunEvent } from './stun-causes.ts';

/** What one log file told. Times are milliseconds since 1970, UTC. */
export interface ScannedLog {
  readonly lines: number;
  /** Undefined: no line has the layout of a vmware.log. */
  readonly period: { readonly fromMs: number; readonly toMs: number } | undefined;
  /** The stamps bear no year, and it was taken from the time at which the file was written. */
  readonly yearGuessed: boolean;
  /** Lines that speak of a stun and are too damaged to tell how long it was. */
  readonly torn: number;
  readonly events: readonly StunEvent[];
}

interface Stamped {
  readonly atMs: number;
  readonly yearless: boolean;
  readonly message: string;
}

/**
 * ESXi 5 to 6.7 and Workstation: `2017-01-04T22:15:58.846Z| vcpu-0| I125: message`, in 5.0 without `I125: `.
 * ESXi 7, 8: `2021-05-06T07:08:09.123Z In(05) vcpu-0 - message`, where an operation id may stand for the `-`.
 */
const withYear =
  /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))(?:\|? [^|\s]{1,80}\| (?:[A-Z]\d{3}[:+] ?)?| [A-Z][a-z]\(\d\d\)\+? \S{1,80} \S{1,200} )(.*)$/;

/** ESX 4 and before: `Jan 04 22:15:58.846: vcpu-0| message`, in the time of the host, which under ESXi is UTC. */
const withoutYear = /^([A-Z][a-z]{2}) ([ \d]\d) (\d\d:\d\d:\d\d\.\d{3}): [^|\s]{1,80}\| (.*)$/;

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
/** A leap year, so that each day of a log without years exists. */
const provisionalYear = 2000;
const dayMs = 86_400_000;

/** Takes a log line by line, so that its size does not matter, and keeps only what has to do with stuns. Never throws. */
export class StunScanner {
  readonly #events: StunEvent[] = [];
  readonly #yearless = new Set<StunEvent>();
  #lines = 0;
  #torn = 0;
  #first: Stamped | undefined;
  #last: Stamped | undefined;
  /** Years that a log without years has passed, and its latest stamp. */
  #years = 0;
  #latestMs = -Infinity;

  push(line: string): void {
    this.#lines++;
    const stamped = this.#read(line.endsWith('\r') ? line.slice(0, -1) : line);
    const event = stamped === undefined ? undefined : eventOf(stamped, this.#lines);
    if (event?.kind !== 'stun' && speaksOfStun(line)) this.#torn++;
    if (stamped === undefined) return;
    this.#first ??= stamped;
    this.#last = stamped;
    if (event === undefined) return;
    this.#events.push(event);
    if (stamped.yearless) this.#yearless.add(event);
  }

  /** `writtenMs`: when the file was last written; stamps without a year are taken to lie in the year that ended then. */
  result(writtenMs: number): ScannedLog {
    const first = this.#first;
    const last = this.#last;
    const common = { lines: this.#lines, torn: this.#torn };
    if (first === undefined || last === undefined)
      return { ...common, period: undefined, yearGuessed: false, events: [] };
    const years = yearsToAdd(this.#latestMs, writtenMs);
    const dated = (stamped: Stamped): number => (stamped.yearless ? addYears(stamped.atMs, years) : stamped.atMs);
    return {
      ...common,
      period: { fromMs: dated(first), toMs: dated(last) },
      yearGuessed: this.#latestMs > -Infinity,
      events: this.#events.map((event) =>
        this.#yearless.has(event) ? { ...event, atMs: addYears(event.atMs, years) } : event,
      ),
    };
  }

  #read(line: string): Stamped | undefined {
    const dated = withYear.exec(line);
    if (dated !== null) {
      const [, stamp = '', message = ''] = dated;
      const atMs = Date.parse(stamp);
      return Number.isNaN(atMs) ? undefined : { atMs, yearless: false, message };
    }
    const [, month = '', day = '', time = '', message = ''] = withoutYear.exec(line) ?? [];
    if (!months.includes(month)) return undefined;
    return this.#readYearless(months.indexOf(month), Number(day), time, message);
  }

  #readYearless(month: number, day: number, time: string, message: string): Stamped | undefined {
    const ofDay = Date.parse(`1970-01-01T${time}Z`);
    if (Number.isNaN(ofDay) || day < 1 || day > 31) return undefined;
    const at = (): number => Date.UTC(provisionalYear + this.#years, month, day) + ofDay;
    // A step back of half a year is January after December; a shorter one is a clock that was set.
    if (at() < this.#latestMs - 182 * dayMs) this.#years++;
    this.#latestMs = Math.max(this.#latestMs, at());
    return { atMs: at(), yearless: true, message };
  }
}

function speaksOfStun(line: string): boolean {
  return line.includes('Checkpoint_Unstun') || line.includes('CPT: vm was stunned');
}

/** How many years after its provisional one a log ended that was written last at `writtenMs`; a clock may be a day ahead. */
function yearsToAdd(latestMs: number, writtenMs: number): number {
  const years = new Date(writtenMs).getUTCFullYear() - new Date(latestMs).getUTCFullYear();
  return addYears(latestMs, years) > writtenMs + dayMs ? years - 1 : years;
}

function addYears(ms: number, years: number): number {
  return new Date(ms).setUTCFullYear(new Date(ms).getUTCFullYear() + years);
}

// All are anchored: a snapshot may bear any name, also one that looks like a stun. More than twelve digits, or eleven days, are damage.
const stun = /^(?:Checkpoint_Unstun: vm stopped|CPT: vm was (stunned)) for (\d{1,12}) us\b/;
const take = /^(?:SNAPSHOT: )?SnapshotVMX_TakeSnapshot start: '(.*?)'(?:, (.*))?$/;
const taking = /^(?:SNAPSHOT: )?SnapshotVMXTakeSnapshotWork\b/;
const taken = /^(?:SNAPSHOT: )?SnapshotVMXTakeSnapshotComplete\b/;
/** The names differ between versions: `SnapshotVMXConsolidateOnlineCB` of ESXi 4 to 5, `ConsolidateOnlineCB`, `ConsolidateItemComplete` later. */
const consolidated = /^(?:SNAPSHOT: )?(?:ConsolidateEnd\b|SnapshotVMXConsolidateOnlineCB: Done with consolidate)/;
const consolidating =
  /^(?:SNAPSHOT: )?(?:SnapshotVMX_?Consolidate|Consolidate[A-Z]|VigorTransportProcessClientPayload: .*: Receiving Snapshot\.(?:Consolidate|Delete) request)/;
const migrated = /^(?:MigrateSetState: Transitioning from state \d+ to 0\b|Migrate: cleaning up migration state)/;
const migrating =
  /^(?:MigrateSetState: Transitioning|Migrate_Open: |Migrate: VM (?:starting stun|successfully stunned))/;
/** Each process of the machine begins its log so: what another one was at is over. */
const started = /^Log for VMware /;
const helper = /^Consolidated? Helper/;

function eventOf({ atMs, message }: Stamped, line: number): StunEvent | undefined {
  const stopped = stun.exec(message);
  if (stopped !== null)
    return { kind: 'stun', said: stopped[1] === undefined ? 'stopped' : 'stunned', us: Number(stopped[2]), atMs, line };
  const begun = take.exec(message);
  if (begun !== null) {
    const [, snapshot = '', settings = ''] = begun;
    const made = /\bdeviceState=1\b/.test(settings) ? 'creation-memory' : 'creation';
    return { kind: 'begin', of: 'snapshot', cause: helper.test(snapshot) ? 'helper' : made, snapshot, atMs };
  }
  if (taken.test(message)) return { kind: 'end', of: 'snapshot', atMs };
  if (taking.test(message)) return { kind: 'sign', of: 'snapshot', cause: 'creation', atMs };
  if (consolidated.test(message)) return { kind: 'end', of: 'consolidation', atMs };
  if (consolidating.test(message)) return { kind: 'sign', of: 'consolidation', cause: 'consolidation', atMs };
  if (migrated.test(message)) return { kind: 'end', of: 'migration', atMs };
  if (migrating.test(message)) return { kind: 'sign', of: 'migration', cause: 'migration', atMs };
  return started.test(message) ? { kind: 'start', atMs } : undefined;
}
