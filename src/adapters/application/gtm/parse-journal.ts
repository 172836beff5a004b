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
  /** How long what is committed may be on its way to the disk. */
  readonly epochSeconds: number;
}

/** The most that the engine takes. */
const longestEpochSeconds = 32_767;

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
        // Not only OPEN: there is a third state, in which journaling was lost and what the file has must still be sent.
        epochSeconds: Number(/^\d+$/.exec(field('Epoch Interval'))?.[0] ?? longestEpochSeconds),
        replicated: !['CLOSED', ''].includes(field('Replication State')),
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

export interface ReplicationFile {
  readonly instance: string;
  readonly rootPrimary: boolean;
  /** Instances for which a source server was ever started here. */
  readonly secondaries: readonly string[];
  /**
   * Who makes the history that this instance holds, and since which update: `A.21`. Both instances know it alike. Starts of one instance
   * that follow each other are one term, and one in which nothing was updated leaves no trace. Undefined before the first start.
   */
  readonly term: string | undefined;
}

/**
 * `mupip replicate -editinstance -show`. Undefined: not such an output. Neither number of a slot tells what the other instance has: the
 * connect number is where *this* instance was when they connected, the resync number what was sent and perhaps lost.
 */
export function parseReplicationFile(text: string): ReplicationFile | undefined {
  const root = /^HDR Root Primary +(TRUE|FALSE) *$/m.exec(text)?.[1];
  const instance = /^HDR Instance Name +(.+?) *$/m.exec(text)?.[1];
  if (root === undefined || instance === undefined) return undefined;
  const slots = [...text.matchAll(/^SLT # *\d+ : Secondary Instance Name +(.+?) *$/gm)];
  const names = [...text.matchAll(/^HST # *\d+ : Root Primary Instance Name +(.+?) *$/gm)].map(([, name = '']) => name);
  const starts = [...text.matchAll(/^HST # *\d+ : Start Sequence Number +(\d+)/gm)].map(([, start = '']) => start);
  const last = names.at(-1);
  const first = names.findLastIndex((name) => name !== last) + 1;
  return {
    instance,
    rootPrimary: root === 'TRUE',
    secondaries: slots.map(([, name = '']) => name),
    term: last === undefined ? undefined : `${last}.${starts[first] ?? ''}`,
  };
}

export interface SourceServer {
  readonly secondary: string;
  readonly pid: number;
  /** Sends nothing. */
  readonly passive: boolean;
  /** Number of the last update of this instance. */
  readonly posted: bigint;
  /**
   * The last update that the other instance is known to have processed. As old as its last heartbeat (15 s by default), so it can be late;
   * 0 until the first. Where less was sent than acknowledged, the other instance went back since, and what was sent counts.
   */
  readonly acknowledged: bigint;
}

/** `mupip replicate -source -showbacklog`, of all source servers; also of one that was killed, as long as its memory is there. */
export function parseBacklog(text: string): readonly SourceServer[] {
  return text.split(/^(?=.*Initiating SHOWBACKLOG)/m).flatMap((part) => {
    const [, pid, secondary] = /source server pid \[(\d+)\] for secondary instance \[(.+?)\]/.exec(part) ?? [];
    const [posted, sent, acknowledged] = ['posted', 'sent', 'acknowledged'].map((what) => {
      const number = new RegExp(`sequence number ${what} +: (\\d+)`).exec(part)?.[1];
      return number === undefined ? undefined : BigInt(number);
    });
    if (pid === undefined || secondary === undefined) return [];
    if (posted === undefined || sent === undefined || acknowledged === undefined) return [];
    return [
      {
        secondary,
        pid: Number(pid),
        passive: part.includes('passive mode'),
        posted,
        acknowledged: sent < acknowledged ? sent : acknowledged,
      },
    ];
  });
}

/** `mupip replicate -receiver -showbacklog`. Undefined: no receiver server runs. */
export function parseReceived(text: string): { readonly received: bigint; readonly processed: bigint } | undefined {
  const number = (what: string): string | undefined =>
    new RegExp(`^(\\d+) : sequence number of last transaction ${what}`, 'm').exec(text)?.[1];
  const [received, processed] = [number('received'), number('processed')];
  if (received === undefined || processed === undefined) return undefined;
  return { received: BigInt(received), processed: BigInt(processed) };
}
