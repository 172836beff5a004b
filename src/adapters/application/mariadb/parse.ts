import type { Finding } from '../../../model/point.ts';
import type { MemberObservation } from '../../../model/hold.ts';

export type Row = Readonly<Record<string, string | null>>;
export type Variables = Readonly<Record<string, string>>;

export interface Version {
  readonly text: string;
  readonly major: number;
  readonly minor: number;
  readonly isMariadb: boolean;
}

/** Rows of SHOW VARIABLES. */
export function variablesOf(rows: readonly Row[]): Variables {
  return Object.fromEntries(rows.map((row) => [row['Variable_name'] ?? '', row['Value'] ?? '']));
}

/** Positions of InnoDB's log, in bytes. NaN: the server does not tell. */
export function logPositionsOf(rows: readonly Row[]): { readonly current: number; readonly flushed: number } {
  const status = variablesOf(rows);
  const read = (name: string): number => Number.parseInt(status[name] ?? '', 10);
  return { current: read('Innodb_lsn_current'), flushed: read('Innodb_lsn_flushed') };
}

export function isOn(value: string | undefined): boolean {
  return value === 'ON' || value === '1' || value === 'YES';
}

/** A number, ON, or since MariaDB 12 the kind of it; whatever is not off keeps somebody from writing. */
export function isReadOnly(variables: Variables): boolean {
  return !['OFF', '0'].includes(variables['read_only'] ?? '');
}

/** `10.11.19-MariaDB-0+deb12u1`, also behind `mariadbd  Ver `. Undefined for what is no version at all. */
export function parseVersion(text: string): Version | undefined {
  const [, number = '', major, minor] = /((\d+)\.(\d+)\.\d+)/.exec(text) ?? [];
  if (major === undefined || minor === undefined) return undefined;
  return { text: number, major: Number(major), minor: Number(minor), isMariadb: /mariadb/i.test(text) };
}

/** The first version with the privileges and stages that are used here. */
export function isTooOld({ major, minor }: Version): boolean {
  return major < 10 || (major === 10 && minor < 5);
}

/**
 * Role and epoch, by the same rules as the topology's: who takes writes and has no thread of a channel running is primary. The epoch of
 * a primary is what it took from others before it was one; that of a replica is whom it follows.
 */
export function memberFrom(variables: Variables, channels: readonly Row[]): MemberObservation {
  const member = `${variables['hostname'] ?? ''}:${variables['port'] ?? ''}`;
  const id = variables['server_id'] ?? '';
  const readOnly = isReadOnly(variables);
  const running = channels.some((row) => row['Slave_IO_Running'] !== 'No' || row['Slave_SQL_Running'] !== 'No');
  if (running || (channels.length > 0 && readOnly)) {
    const sources = channels.map((row) => row['Master_Server_Id'] ?? '').toSorted();
    return { member, role: 'replica', epoch: `${id} from ${sources.join(',')}` };
  }
  const before = (variables['gtid_slave_pos'] ?? '')
    .split(',')
    .map((each) => each.trim())
    .toSorted()
    .join(',');
  return {
    member,
    role: isOn(variables['log_bin']) ? 'primary' : 'standalone',
    epoch: `${id} after ${before === '' ? 'nobody' : before}`,
  };
}

/** Files in the data directory from which a server replicates again when it is started. The name of a channel is part of theirs. */
export function replicaFiles(channels: readonly Row[]): readonly string[] {
  const named = channels.flatMap((row) => {
    const name = (row['Connection_name'] ?? '').toLowerCase();
    return name === '' ? [] : [`master-${name}.info`, `relay-log-${name}.info`];
  });
  return ['master.info', 'relay-log.info', 'multi-master.info', ...named];
}

/** Privileges on everything, in capitals. The rows of SHOW GRANTS hold those of the roles that are active too. */
export function globalPrivileges(rows: readonly Row[]): ReadonlySet<string> {
  const found = new Set<string>();
  for (const text of rows.flatMap((row) => Object.values(row))) {
    const list = /^GRANT (.+) ON \*\.\* TO /i.exec(text ?? '')?.[1];
    for (const each of list?.split(',') ?? []) found.add(each.trim().toUpperCase());
  }
  return found;
}

/** What of `wanted` is missing. An older name of a privilege stands for the new one. */
export function missingOf(privileges: ReadonlySet<string>, wanted: readonly string[]): readonly string[] {
  if (privileges.has('ALL PRIVILEGES')) return [];
  return wanted.filter((each) => ![each, ...(olderNames[each] ?? [])].some((name) => privileges.has(name)));
}

const olderNames: Readonly<Record<string, readonly string[]>> = {
  'REPLICA MONITOR': ['SLAVE MONITOR', 'REPLICATION SLAVE ADMIN', 'SUPER'],
  'BINLOG MONITOR': ['REPLICATION CLIENT', 'SUPER'],
  'CONNECTION ADMIN': ['SUPER'],
};

export interface SystemFile {
  /** As it stands in the setting. */
  readonly path: string;
  /** Size and what follows. */
  readonly rest: string;
  /** A disk without a file system. */
  readonly raw: boolean;
}

/** `ibdata1:12M;/more/ibdata2:1G:autoextend`. */
export function systemFiles(setting: string): readonly SystemFile[] {
  return setting.split(';').flatMap((each) => {
    const [, path, rest = ''] = /^\s*([^:]+):(.*)$/.exec(each) ?? [];
    return path === undefined ? [] : [{ path, rest, raw: /^\d+[KMGkmg]?(?:new)?raw/.test(rest) }];
  });
}

/** The file that an `.isl` file points to. */
export function parseLink(content: string): string {
  return content.trim();
}

/** Every line of the index of binary logs, with absolute paths bent. Relative ones are beside the data directory in every copy. */
export function bendIndex(content: string, at: (original: string) => string): string {
  return content
    .split('\n')
    .map((line) => (line.startsWith('/') ? at(line) : line))
    .join('\n');
}

const controlMagic = Buffer.from([0xfe, 0xfe, 0x0c]);

/** The UUID that Aria's control file got when the data directory was made. It is in every physical copy, and in nothing else. */
export function dataSetOf(control: Uint8Array): string | undefined {
  const bytes = Buffer.from(control);
  if (bytes.byteLength < 20 || !bytes.subarray(0, 3).equals(controlMagic)) return undefined;
  return bytes.subarray(4, 20).toString('hex');
}

const mostLines = 20;

/** What the server of a copy complained about. */
export function complaintsIn(log: string): readonly string[] {
  const lines = log.split('\n').filter((line) => /\[ERROR\]|InnoDB: (?:Assertion|Corrupt)/.test(line));
  const more = lines.length - mostLines;
  const shown = lines.slice(0, mostLines).map((line) => line.replace(/^[\d: -]+(?=\[)/, '').trim());
  return more > 0 ? [...shown, `and ${more} more`] : shown;
}

/** The last words of a server that did not start. */
export function lastWords(log: string): string {
  const complaints = complaintsIn(log);
  return complaints.length === 0 ? log.trim().replace(/^[^]*\n/, '') : complaints.slice(0, 3).join('; ');
}

/** Rows of CHECK TABLE for one table. A table whose engine checks nothing, or is not loaded in a drill, is no damage. */
export function checkFindings(table: string, rows: readonly Row[]): readonly Finding[] {
  const bad = rows.filter((row) => {
    const kind = (row['Msg_type'] ?? '').toLowerCase();
    return kind === 'error' || kind === 'warning' || (kind === 'status' && row['Msg_text'] !== 'OK');
  });
  return bad.map((row) => {
    const said = row['Msg_text'] ?? '';
    const unknown = /Unknown storage engine/.test(said);
    const warning = unknown || row['Msg_type']?.toLowerCase() === 'warning';
    return { severity: warning ? 'warning' : 'error', check: 'check-table', said: `${table}: ${said}` };
  });
}

/** How many numbers from 1 on there are, or undefined if they are no prefix. */
export function prefixLength(count: number, lowest: number, highest: number): number | undefined {
  if (count === 0) return 0;
  return lowest === 1 && highest === count ? count : undefined;
}

/** Paths of listening Unix sockets by inode, from /proc/net/unix. */
export function listeningSockets(table: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of table.split('\n')) {
    const [, inode, path] = /^\S+ \S+ \S+ 00010000 \S+ \S+\s+(\d+) (\/.*)$/.exec(line) ?? [];
    if (inode !== undefined && path !== undefined) found.set(inode, path);
  }
  return found;
}
