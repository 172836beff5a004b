/** Header of one journal file, as `mupip journal -show=header` prints it. */
export interface JournalHeader {
  readonly file: string;
  readonly database: string;
  readonly previous: string | undefined;
  /** True while it is open, and after a crash. */
  readonly crash: boolean;
  /** RFC 3339 UTC, if the command ran with TZ=UTC. */
  readonly created: string;
  readonly updated: string;
  readonly begin: string;
  readonly end: string;
  /** Replication: the number of its first update, and that of the first one that is not in it. */
  readonly startSequence: bigint;
  readonly endSequence: bigint;
  readonly replicated: boolean;
}

/** Headers that lack a field are left out; the caller holds the files against those it asked for. */
export function parseHeaders(text: string): readonly JournalHeader[] {
  return text.split(/^(?=Journal file name )/m).flatMap((part) => {
    const field = (name: string): string => new RegExp(`^ ?${name} +(.*?) *$`, 'm').exec(part)?.[1] ?? '';
    const hexadecimal = (name: string): string => /\[(0x[0-9A-F]+)\]/.exec(field(name))?.[1] ?? '';
    const found = {
      file: field('Journal file name'),
      database: field('Database file name'),
      created: timeOf(field('Journal Creation Time')),
      updated: timeOf(field('Time of last update')),
      begin: hexadecimal('Begin Transaction'),
      end: hexadecimal('End Transaction'),
    };
    if (Object.values(found).includes('')) return [];
    const previous = field('Prev journal file name');
    return [
      {
        ...found,
        previous: previous === '' ? undefined : previous,
        crash: field('Crash') !== 'FALSE',
        startSequence: BigInt(hexadecimal('Start Region Sequence Number') || 0),
        endSequence: BigInt(hexadecimal('End Region Sequence Number') || 0),
        replicated: field('Replication State') === 'OPEN',
      },
    ];
  });
}

/** `2026/11/21 09:48:12` of a command that ran with TZ=UTC. */
function timeOf(text: string): string {
  const match = /^(\d{4})\/(\d\d)\/(\d\d) (\d\d:\d\d:\d\d)$/.exec(text);
  return match === null ? '' : `${match[1]}-${match[2]}-${match[3]}T${match[4]}Z`;
}

const months = 'JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC';

/**
 * A time for `-before`, for a command that runs with TZ=UTC. GT.M's journal counts whole seconds and `-before` includes the one that it
 * names, so a fraction is cut off: everything within that second is in, nothing after it.
 */
export function beforeTime(at: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${two(at.getUTCDate())}-${months.slice(3 * at.getUTCMonth(), 3 * at.getUTCMonth() + 3)}-${at.getUTCFullYear()}`;
  return `${day} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
}

/** A place of another instance in the replication instance file. */
export interface ReplicationSlot {
  readonly secondary: string;
  /** The other instance had everything before this when it last connected. 0: it never did. */
  readonly connected: bigint;
}

export interface ReplicationFile {
  readonly rootPrimary: boolean;
  readonly slots: readonly ReplicationSlot[];
}

/** `mupip replicate -editinstance -show`. Undefined: not such an output. */
export function parseReplicationFile(text: string): ReplicationFile | undefined {
  const root = /^HDR Root Primary +(TRUE|FALSE) *$/m.exec(text)?.[1];
  if (root === undefined) return undefined;
  const names = new Map<string, string>();
  const connected = new Map<string, bigint>();
  for (const [, slot = '', what, value = ''] of text.matchAll(/^SLT # *(\d+) : (.+?) {2,}(\S+)/gm)) {
    if (what === 'Secondary Instance Name') names.set(slot, value);
    if (what === 'Connect Sequence Number') connected.set(slot, BigInt(value));
  }
  const slots = [...names].map(([slot, secondary]) => ({ secondary, connected: connected.get(slot) ?? 0n }));
  return { rootPrimary: root === 'TRUE', slots };
}

/** What a running, active source server of this instance has had acknowledged. */
export interface Acknowledged {
  readonly secondary: string;
  /** The last acknowledged one. 0: none since the server started. */
  readonly sequence: bigint;
}

/** `mupip replicate -source -showbacklog`, of all source servers. Passive ones send nothing, so they are not in the answer. */
export function parseBacklog(text: string): readonly Acknowledged[] {
  return text.split(/^(?=.*Initiating SHOWBACKLOG)/m).flatMap((part) => {
    const secondary = /for secondary instance \[(.+?)\]/.exec(part)?.[1];
    const sequence = /acknowledged +: (\d+)/.exec(part)?.[1];
    if (secondary === undefined || sequence === undefined || part.includes('passive mode')) return [];
    return [{ secondary, sequence: BigInt(sequence) }];
  });
}
