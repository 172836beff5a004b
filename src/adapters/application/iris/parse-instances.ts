export type InstanceState = 'running' | 'down' | 'changing' | 'crashed' | 'unknown';

export interface Instance {
  readonly name: string;
  readonly directory: string;
  readonly version: string;
  readonly state: InstanceState;
  /** The status as printed, without what follows it. */
  readonly status: string;
  /** What follows the status: `since ...`, `last used ...`. Local time of the instance's machine, in C style. */
  readonly note: string;
  /** As printed: relative to the data directory, or a whole path. */
  readonly cpf: string;
  readonly superserverPort: string;
  /** ok, warn, alert, hung; empty when the instance is down or the command does not tell. */
  readonly health: string;
  readonly product: string;
  readonly memberType: string;
  readonly mirrorStatus: string;
  /** Where iris.cpf and mgr lie: the installation directory unless durable %SYS is used. */
  readonly dataDirectory: string;
}

export interface Instances {
  readonly instances: readonly Instance[];
  /** Lines that say something else; an instance may hide behind one. */
  readonly notUnderstood: readonly string[];
}

const nameForm = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
/** The one status that holds a comma itself. */
const incomplete = 'incomplete start or stop, logins disabled';

export function parseStatus(text: string): {
  readonly state: InstanceState;
  readonly status: string;
  readonly note: string;
} {
  const trimmed = text.trim();
  const comma = trimmed.startsWith(incomplete) ? trimmed.indexOf(',', incomplete.length) : trimmed.indexOf(',');
  const status = (comma === -1 ? trimmed : trimmed.slice(0, comma)).trim();
  return { state: stateOf(status), status, note: comma === -1 ? '' : trimmed.slice(comma + 1).trim() };
}

function stateOf(status: string): InstanceState {
  if (status === 'running') return 'running';
  if (status === 'down') return 'down';
  if (status === 'starting or stopping' || status.startsWith('incomplete')) return 'changing';
  return /crashed|in use by node/i.test(status) ? 'crashed' : 'unknown';
}

/** `iris qlist`, `ccontrol qlist`: one line an instance, 8 fields in old releases of Caché, 10, 13 or 14 in later ones. */
export function parseQlist(output: string): Instances {
  const instances: Instance[] = [];
  const notUnderstood: string[] = [];
  for (const line of output.split(/\r?\n/)) {
    if (line.trim() === '') continue;
    const fields = line.split('^');
    const at = (number: number): string => (fields[number - 1] ?? '').trim();
    if (fields.length < 8 || !nameForm.test(at(1)) || at(2) === '') {
      notUnderstood.push(line);
      continue;
    }
    const directory = withoutSlash(at(2));
    instances.push({
      name: at(1),
      directory,
      version: at(3),
      ...parseStatus(at(4)),
      cpf: at(5),
      superserverPort: at(6),
      health: at(9),
      product: at(10),
      memberType: at(11),
      mirrorStatus: at(12),
      dataDirectory: at(13) === '' ? directory : withoutSlash(at(13)),
    });
  }
  return { instances, notUnderstood };
}

function withoutSlash(path: string): string {
  return path.length > 1 ? path.replace(/[/\\]+$/, '') : path;
}

/** `iris list`, `ccontrol list`, for where qlist does not answer. */
export function parseList(output: string): Instances {
  const instances: Instance[] = [];
  const notUnderstood: string[] = [];
  for (const block of output.split(/^(?=Configuration ')/m)) {
    if (block.trim() === '') continue;
    const name = /^Configuration '([^']*)'/.exec(block)?.[1] ?? '';
    const value = (key: string): string =>
      new RegExp(`^[ \\t]*${key}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(block)?.[1]?.trim() ?? '';
    const directory = withoutSlash(value('directory'));
    if (!nameForm.test(name) || directory === '') {
      notUnderstood.push(block.trim());
      continue;
    }
    const conf = value('conf file');
    const mirroring = /^Member Type = (.*); Status = (.*)$/.exec(value('mirroring'));
    instances.push({
      name,
      directory,
      version: value('versionid'),
      ...parseStatus(value('status')),
      cpf: conf.replace(/\s*\(.*$/, ''),
      superserverPort: /SuperServer port = (\d+)/.exec(conf)?.[1] ?? '',
      health: value('state'),
      product: value('product'),
      memberType: mirroring?.[1] ?? '',
      mirrorStatus: mirroring?.[2] ?? '',
      dataDirectory: withoutSlash(value('datadir')) || directory,
    });
  }
  return { instances, notUnderstood };
}

/** A row of `iris qall`. Only a last resort: lines are cut to 78 characters and then end with `~`. */
export interface QallRow {
  /** Undefined: the column was blank, so the state is not known. */
  readonly state: 'up' | 'dn' | 'st' | undefined;
  readonly isDefault: boolean;
  readonly name: string;
  readonly version: string;
  readonly port: string;
  readonly directory: string;
  /** The line was cut: the directory is not whole. */
  readonly cut: boolean;
}

export function parseQall(output: string): readonly QallRow[] {
  const rows: QallRow[] = [];
  for (const line of output.split(/\r?\n/)) {
    // Columns 1-2 hold the state, 4 the mark of the default instance, the name starts in 5.
    const found = /^(up|dn|st| {2}) ([> ])(\S+)\s+(\S+)\s+(\d+)\s+(\S.*)$/.exec(line);
    if (found === null) continue;
    const [, state, mark, name, version, port, directory] = found as unknown as string[];
    rows.push({
      state: state === 'up' || state === 'dn' || state === 'st' ? state : undefined,
      isDefault: mark === '>',
      name: name as string,
      version: version as string,
      port: port as string,
      directory: (directory as string).replace(/~?\s*$/, ''),
      cut: (directory as string).trimEnd().endsWith('~'),
    });
  }
  return rows;
}
