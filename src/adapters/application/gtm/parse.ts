/** One message of GT.M's programs: `%GTM-E-REQRECOV, Error accessing database ...`. */
export interface Message {
  readonly severity: 'S' | 'I' | 'W' | 'E' | 'F';
  /** `REQRECOV`. Exit codes collide between messages; this does not. */
  readonly mnemonic: string;
  readonly said: string;
}

const messageLine = /%(?:GTM|GDE|YDB)-([SIWEF])-([A-Z0-9_]+)(?:,\s*(.*))?$/;

/** All messages of an output, in order. In a freeze of several regions each line may begin with the region's name. */
export function parseMessages(text: string): readonly Message[] {
  const messages: Message[] = [];
  for (const line of text.split('\n')) {
    const match = messageLine.exec(line.trimEnd());
    if (match === null) continue;
    const [, severity, mnemonic = '', said = ''] = match;
    messages.push({ severity: severityOf(severity), mnemonic, said });
  }
  return messages;
}

function severityOf(letter: string | undefined): Message['severity'] {
  return letter === 'S' || letter === 'I' || letter === 'W' || letter === 'F' ? letter : 'E';
}

export interface Region {
  readonly name: string;
  readonly file: string;
}

/**
 * Regions with their files, from GDE's `show -commands`. Variables in file names (`$W/app.dat`) are replaced as the engine does at run
 * time; one that `variables` lacks stays, so that the name is not absolute.
 */
export function parseRegions(text: string, variables: Readonly<Record<string, string>>): readonly Region[] {
  const files = new Map(
    [...text.matchAll(/^ADD -SEGMENT (\S+) (?:.* )?-FILE_NAME="((?:[^"]|"")*)"/gm)].map(
      ([, segment = '', file = '']) => [segment, file.replaceAll('""', '"')],
    ),
  );
  return [...parseSegments(text)].flatMap(([name, segment]) => {
    const file = files.get(segment);
    if (file === undefined) return [];
    const expanded = file.replaceAll(
      /\$([A-Za-z_][A-Za-z0-9_]*)/g,
      (all, variable: string) => variables[variable] ?? all,
    );
    return [{ name, file: /\.[^/]*$/.test(expanded) ? expanded : `${expanded}.dat` }];
  });
}

/** Output of `createdCode`, by region. */
export function parseCreated(text: string): ReadonlyMap<string, string> {
  return new Map([...text.matchAll(/^REGION\t(\S+)\t(\d+)$/gm)].map(([, region = '', time = '']) => [region, time]));
}

/** The header of one region, as `dse all -dump` shows it. */
export interface RegionState {
  readonly region: string;
  readonly file: string;
  /** Undefined: not frozen. `uid` is that of the freezer, `pid` that of its mupip, which has ended long since. */
  readonly frozen: { readonly uid: number; readonly pid: number } | undefined;
  /** Stays true after an online freeze was released by the engine itself, until `freeze -off`. */
  readonly online: boolean;
  readonly autorelease: boolean;
  /** Current transaction number, as printed: `0x0000000000000001`. */
  readonly transaction: string;
  readonly journal: 'on' | 'off' | 'disabled';
  readonly beforeImages: boolean;
  readonly journalFile: string | undefined;
  readonly accessMethod: string;
  readonly replication: string;
  readonly sequence: string;
  readonly blockBytes: number;
  readonly globalBuffers: number;
  readonly killsInProgress: number;
  readonly encrypted: boolean;
}

/** What cannot be understood in output that a hold depends on. */
export class Unreadable extends Error {}

/**
 * `dse all -dump`, one header a region. Throws Unreadable if a header lacks a field on which a decision depends: a field that is not
 * understood must never read as "not frozen".
 */
export function parseStates(text: string): readonly RegionState[] {
  return text
    .split(/^(?=File {3})/m)
    .filter((part) => part.startsWith('File   '))
    .map(parseState);
}

/** Two fields share a line, so each is looked for by its name. */
function parseState(part: string): RegionState {
  const field = (pattern: RegExp, what: string): string => {
    const found = pattern.exec(part)?.[1];
    if (found === undefined) throw new Unreadable(`dse shows no ${what} in: ${part.slice(0, 200)}`);
    return found;
  };
  const id = field(/Cache freeze id +(FROZEN BY ROOT|0x[0-9A-F]+)/, 'freeze id');
  const pid = Number(field(/Freeze match +(0x[0-9A-F]+)/, 'freeze match'));
  const uid = id === 'FROZEN BY ROOT' ? 0 : Number(id);
  const journal = field(/Journal State +(?:\[inactive\] )?(ON|OFF|DISABLED)/, 'journal state');
  return {
    region: field(/^Region {3,}(\S+)/m, 'region'),
    file: field(/^File {3,}(.+?) *$/m, 'file'),
    frozen: id !== 'FROZEN BY ROOT' && uid === 0 ? undefined : { uid, pid },
    online: field(/Freeze online +(TRUE|FALSE)/, 'kind of freeze') === 'TRUE',
    autorelease: field(/Freeze online autorelease +(TRUE|FALSE)/, 'kind of freeze') === 'TRUE',
    transaction: field(/Current transaction +(0x[0-9A-F]+)/, 'current transaction'),
    journal: journal === 'ON' ? 'on' : journal === 'OFF' ? 'off' : 'disabled',
    beforeImages: /Journal Before imaging +TRUE/.test(part),
    journalFile: /Journal File: (.+?) *$/m.exec(part)?.[1],
    accessMethod: field(/Access method +(\S+)/, 'access method'),
    replication: /Replication State +(\S+)/.exec(part)?.[1] ?? 'OFF',
    sequence: /Region Seqno +(0x[0-9A-F]+)/.exec(part)?.[1] ?? '0x0',
    blockBytes: Number(field(/Block size \(in bytes\) +(\d+)/, 'block size')),
    globalBuffers: Number(/Global Buffers +(\d+)/.exec(part)?.[1] ?? 0),
    killsInProgress: Number(/KILLs in progress +(\d+)/.exec(part)?.[1] ?? 0),
    encrypted: /Database file encrypted +TRUE/.test(part),
  };
}

/** A journal file that was closed and renamed when a new one of the old name began. */
export interface Renamed {
  readonly from: string;
  readonly to: string;
}

export function parseRenames(text: string): readonly Renamed[] {
  return parseMessages(text).flatMap((message) => {
    const match = message.mnemonic === 'FILERENAME' ? /^File (.+) is renamed to (.+)$/.exec(message.said) : null;
    if (match === null) return [];
    const [, from = '', to = ''] = match;
    return [{ from, to }];
  });
}

/** Regions that `mupip freeze -on` says it froze. */
export function parseFrozenRegions(text: string): readonly string[] {
  return [...text.matchAll(/^(?:\S+ : )?Region (\S+) is now FROZEN *$/gm)].map(([, name = '']) => name);
}

/** Segment by region, from GDE's `show -commands`. */
export function parseSegments(text: string): ReadonlyMap<string, string> {
  return new Map(
    [...text.matchAll(/^ADD -REGION (\S+) -DYNAMIC_SEGMENT=(\S+)/gm)].map(([, region = '', segment = '']) => [
      region,
      segment,
    ]),
  );
}

/** What the header of a file says that no process has open, by `mupip dumpfhead -file`. */
export interface FileHeader {
  readonly frozen: boolean;
  /** Pid of the mupip that froze it. */
  readonly freezer: number;
  readonly journaled: boolean;
  readonly replicated: boolean;
}

/** Throws Unreadable if a field is missing. */
export function parseFileHeader(text: string): FileHeader {
  const field = (name: string): number => {
    const found = new RegExp(`record\\("sgmnt_data\\.${name}"\\)="?(-?\\d+)`).exec(text)?.[1];
    if (found === undefined) throw new Unreadable(`mupip dumpfhead shows no ${name}`);
    return Number(found);
  };
  return {
    frozen: field('freeze') !== 0,
    freezer: field('image_count'),
    journaled: field('jnl_state') !== 0,
    replicated: field('repl_state') !== 0,
  };
}
