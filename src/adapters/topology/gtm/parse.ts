/** One start of a root primary, as every instance that has its updates knows it. */
export interface HistoryRecord {
  readonly primary: string;
  /** Number of its first update. */
  readonly start: bigint;
  readonly created: string;
  readonly creator: string;
}

export interface InstanceFile {
  readonly instance: string;
  /** It was one when its file was last written: a crashed one stays it. */
  readonly rootPrimary: boolean;
  readonly supplementary: boolean;
  /** True while it runs, and after it was not closed down in order. */
  readonly open: boolean;
  /** Number of its next update; only after it was closed down in order. */
  readonly next: bigint;
  /** Whose instances they all are; known by all of them alike. Undefined before the first start. */
  readonly group: string | undefined;
  readonly poolMemory: string | undefined;
  readonly secondaries: readonly string[];
  readonly history: readonly HistoryRecord[];
}

/** `mupip replicate -editinstance -show`, in UTC. Undefined: not such an output. */
export function parseInstance(text: string): InstanceFile | undefined {
  const header = (what: string): string | undefined => field(text, `HDR ${what}`);
  const flag = (what: string): boolean | undefined => flagOf(header(what));
  const [instance, next] = [header('Instance Name'), header('Journal Sequence Number')];
  const [rootPrimary, open] = [flag('Root Primary'), flag('Crash')];
  if (instance === undefined || next === undefined || rootPrimary === undefined || open === undefined) return undefined;
  const poolMemory = /^\d+/.exec(header('Journal Pool Shm Id') ?? '')?.[0];
  const [founder, creator, created] = ['Instance Name', 'Creator Pid', 'Create Time'].map((what) =>
    header(`LMS Group ${what}`),
  );
  return {
    ...{ instance, rootPrimary, open, next: numberOf(next) },
    supplementary: flag('Supplementary Instance') === true,
    group:
      founder === undefined || creator === undefined || created === undefined
        ? undefined
        : `${founder}.${creator}.${created.replaceAll(/\D/g, '')}`,
    poolMemory,
    secondaries: slots(text, 'SLT').flatMap((slot) => slot('Secondary Instance Name') ?? []),
    history: slots(text, 'HST').flatMap((record) => {
      const [primary, start] = [record('Root Primary Instance Name'), record('Start Sequence Number')];
      if (primary === undefined || start === undefined) return [];
      return [
        {
          ...{ primary, start: numberOf(start) },
          created: record('Creation Time') ?? '',
          creator: record('Creator Process ID') ?? '',
        },
      ];
    }),
  };
}

export interface SourceServer {
  readonly secondary: string;
  /** 0 when it was shut down in order. */
  readonly pid: number;
  /** `ACTIVE`, `PASSIVE`, or on the way from one to the other. */
  readonly mode: string;
  /** `SENDING_JNLRECS`, `WAITING_FOR_CONNECTION`... Stays as it was when the server is killed. */
  readonly state: string;
}

export interface Pool {
  /** Number of the newest update in this instance: posted by itself or processed from another. */
  readonly posted: bigint;
  readonly updatesDisabled: boolean;
  /** The comment of the instance freeze that is on. */
  readonly frozen: string | undefined;
  readonly sources: readonly SourceServer[];
}

/** `mupip replicate -source -jnlpool -show`. Undefined: no such output; see `poolTrouble`. */
export function parsePool(text: string): Pool | undefined {
  const next = field(text, 'CTL Journal Seqno');
  const updatesDisabled = flagOf(field(text, 'CTL Updates Disabled'));
  const frozen = flagOf(field(text, 'CTL Freeze'));
  // What is not understood must not read as "not frozen".
  if (next === undefined || updatesDisabled === undefined || frozen === undefined) return undefined;
  return {
    ...{ posted: numberOf(next) - 1n, updatesDisabled },
    frozen: frozen ? (field(text, 'CTL Freeze Comment') ?? '') : undefined,
    sources: slots(text, 'SRC').flatMap((slot) => {
      const [secondary, pid] = [slot('Secondary Instance Name'), slot('Source Server Pid')];
      if (secondary === undefined || pid === undefined) return [];
      const [mode = 'unknown', state = 'unknown'] = [slot('Source Server Mode'), slot('Processing State')];
      return [{ secondary, pid: Number(numberOf(pid)), mode, state }];
    }),
  };
}

/**
 * Why there is no pool. `closed`: nobody has the instance open. `crashed`: its memory is gone, and it was not closed down.
 * Undefined: neither is said.
 */
export function poolTrouble(text: string): 'closed' | 'crashed' | undefined {
  if (/%(?:GTM|YDB)-E-NOJNLPOOL\b/.test(text)) return 'closed';
  return /%(?:GTM|YDB)-E-REPLREQ(?:ROLLBACK|RUNDOWN)\b/.test(text) ? 'crashed' : undefined;
}

/** By secondary: the newest update that is known to be processed there. As old as the last heartbeat; 0 until the first. */
export function parseAcknowledged(text: string): ReadonlyMap<string, bigint> {
  const parts = text.split(/^(?=.*Initiating SHOWBACKLOG)/m);
  return new Map(
    parts.flatMap((part) => {
      const secondary = /for secondary instance \[(.+?)\]/.exec(part)?.[1];
      const [sent, acknowledged] = ['sent', 'acknowledged'].map(
        (what) => new RegExp(`sequence number ${what} +: (\\d+)`).exec(part)?.[1],
      );
      if (secondary === undefined || sent === undefined || acknowledged === undefined) return [];
      // Where less was sent than acknowledged, the other instance went back since.
      const both = [BigInt(sent), BigInt(acknowledged)] as const;
      return [[secondary, both[0] < both[1] ? both[0] : both[1]] as const];
    }),
  );
}

export interface Receiver {
  readonly receiver: number;
  readonly update: number;
}

/** Pids by `mupip replicate -receiver -checkhealth`, whatever it says of their health. Undefined: there is no receive pool. */
export function parseReceiver(text: string): Receiver | undefined {
  const pid = (what: string): number | undefined => {
    const found = new RegExp(`^PID (\\d+) ${what} is `, 'm').exec(text)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  const [receiver, update] = [pid('Receiver server'), pid('Update process')];
  return receiver === undefined || update === undefined ? undefined : { receiver, update };
}

/** Newest update that the receiver server has, by `mupip replicate -receiver -showbacklog`. Undefined: there is no receive pool. */
export function parseReceived(text: string): bigint | undefined {
  const found = /^(\d+) : sequence number of last transaction received/m.exec(text)?.[1];
  return found === undefined ? undefined : BigInt(found);
}

export interface RegionReplication {
  readonly region: string;
  /** `ON`, `OFF`, or `WAS_ON`: journaling broke, and updates since then are lost for the others. `unknown`: none of them. */
  readonly replication: 'ON' | 'OFF' | 'WAS_ON' | 'unknown';
  /** Number of the first update that is not in it. */
  readonly next: bigint;
}

/** `dse all -dump`, as far as replication is in it. Undefined: not all regions could be opened. */
export function parseRegions(text: string): readonly RegionReplication[] | undefined {
  const found = text.split(/^(?=File {3})/m).flatMap((part): RegionReplication[] => {
    const region = /^Region {3,}(\S+)/m.exec(part)?.[1];
    if (region === undefined) return [];
    const state = /Replication State +(\[WAS_ON\] OFF|ON|OFF)\b/.exec(part)?.[1];
    const next = BigInt(/Region Seqno +(0x[0-9A-F]+)/.exec(part)?.[1] ?? 0);
    if (state === undefined) return [{ region, replication: 'unknown', next }];
    return [{ region, replication: state === 'ON' || state === 'OFF' ? state : 'WAS_ON', next }];
  });
  return found.length === 0 || /%[A-Z]+-[EF]-/.test(text) ? undefined : found;
}

/** Journal file of each region, by `dse all -dump`. */
export function parseJournalFiles(text: string): readonly string[] {
  return [...text.matchAll(/^ *Journal File: (\S.*?) *$/gm)].map(([, file = '']) => file);
}

export interface JournalHeader {
  /** Undefined: the chain begins with it. */
  readonly previous: string | undefined;
  /** Number of the first update that it can hold. */
  readonly start: bigint;
}

/** `mupip journal -show=header`. Undefined: not such an output. */
export function parseJournalHeader(text: string): JournalHeader | undefined {
  const previous = /^ *Prev journal file name(?: (.*?))? *$/m.exec(text);
  const start = /^ *Start Region Sequence Number +(\d+) /m.exec(text)?.[1];
  return previous === null || start === undefined
    ? undefined
    : { previous: previous[1]?.trim() || undefined, start: BigInt(start) };
}

export interface Processes {
  /** State by pid, of processes that are mupip: `S`, `T` (stopped)... */
  readonly mupip: ReadonlyMap<number, string>;
  /** How many processes have a piece of shared memory attached, by its id. Undefined: nobody tells. */
  readonly attached: ReadonlyMap<string, number> | undefined;
}

/** `/proc/sysvipc/shm`, then `/proc/PID/stat` of some processes: proc(5). A pid that now belongs to another program is not there. */
export function parseProcesses(text: string): Processes {
  const mupip = new Map(
    [...text.matchAll(/^(\d+) \(mupip\) ([^ZX]) /gm)].map(([, pid, state = '']) => [Number(pid), state]),
  );
  if (!/^ +key +shmid +perms +size +cpid +lpid +nattch /m.test(text)) return { mupip, attached: undefined };
  const rows = [...text.matchAll(/^ *-?\d+ +(\d+) +\d+ +\d+ +\d+ +\d+ +(\d+) /gm)];
  return { mupip, attached: new Map(rows.map(([, id = '', count]) => [id, Number(count)])) };
}

/** `UID:GID` of the process that asked, and of the file. Undefined: not both were shown. */
export function parseOwners(text: string): readonly [Owner, Owner] | undefined {
  const [asker, file, ...more] = [...text.matchAll(/^(\d+):(\d+)$/gm)].map(([, uid, gid]) => ({
    uid: Number(uid),
    gid: Number(gid),
  }));
  return asker === undefined || file === undefined || more.length > 0 ? undefined : [asker, file];
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** The complaints of an output in one line, or its last words if it made none. */
export function complaintOf(text: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  const bad = lines.filter((line) => /^%[A-Z]+-[WEF]-/.test(line));
  return (
    (bad.length > 0 ? bad : lines.filter((line) => line !== '').slice(-2)).slice(0, 3).join('; ') || 'it said nothing'
  );
}

/** The programs may not read what they would have to. */
export function isDenied(text: string): boolean {
  return /-ENO13\b|Permission denied|Operation not permitted/i.test(text);
}

/** `NAME   value`; the value may be empty, and is followed by the same number in brackets where it is one. */
function field(text: string, name: string): string | undefined {
  const value = new RegExp(`^${name}(?: {2,}| +(?=\\S+ *$))(\\S.*?) *$`, 'm').exec(text)?.[1];
  return value?.replace(/ \[0x[0-9A-F]+\]$/, '').trim();
}

function flagOf(value: string | undefined): boolean | undefined {
  return value === 'TRUE' ? true : value === 'FALSE' ? false : undefined;
}

function numberOf(value: string): bigint {
  return BigInt(/^\d+/.exec(value)?.[0] ?? 0);
}

/** Fields of each numbered block, in order: `SRC # 0 : Source Server Pid   4711`. */
function slots(text: string, prefix: string): readonly ((name: string) => string | undefined)[] {
  const blocks = Map.groupBy(
    text.split('\n').flatMap((line) => {
      const [, index, rest] = new RegExp(`^${prefix} # *(\\d+) : (.*)$`).exec(line) ?? [];
      return index === undefined || rest === undefined ? [] : [{ index, rest }];
    }),
    ({ index }) => index,
  );
  return [...blocks.values()].map((lines) => {
    const block = lines.map(({ rest }) => rest).join('\n');
    return (name) => field(block, name);
  });
}
