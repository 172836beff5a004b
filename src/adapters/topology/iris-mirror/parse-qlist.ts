export type InstanceState = 'running' | 'down' | 'changing' | 'crashed' | 'unknown';

/** One instance as `iris qlist` or `ccontrol qlist` tells it, which needs no login. */
export interface Listed {
  readonly state: InstanceState;
  /** The status as printed, without what follows it. */
  readonly status: string;
  /** `since ...`, `last used ...`: changes with each start. */
  readonly note: string;
  /** ok, warn, alert, hung; empty where the command does not tell. */
  readonly health: string;
  /** Of the mirror, in releases that tell it. */
  readonly memberType: string;
  readonly mirrorStatus: string;
  /** Where iris.cpf and mgr lie. */
  readonly dataDirectory: string;
  /** Name of iris.cpf or cache.cpf, in that directory unless it is absolute. */
  readonly configuration: string;
}

/** The one status that holds a comma itself. */
const incomplete = 'incomplete start or stop, logins disabled';

/** The line of one instance: 8 fields in old releases of Caché, 10, 13 or 14 in later ones. Undefined when it is not there. */
export function parseQlist(output: string, instance: string): Listed | undefined {
  for (const line of output.split(/\r?\n/)) {
    const fields = line.split('^').map((field) => field.trim());
    const [name = '', directory = ''] = fields;
    if (fields.length < 8 || name.toUpperCase() !== instance.toUpperCase() || directory === '') continue;
    const at = (number: number): string => fields[number - 1] ?? '';
    return {
      ...parseStatus(at(4)),
      health: at(9),
      memberType: at(11),
      mirrorStatus: at(12),
      dataDirectory: (at(13) || directory).replace(/(?<=.)[/\\]+$/, ''),
      configuration: at(5),
    };
  }
  return undefined;
}

function parseStatus(text: string): Pick<Listed, 'state' | 'status' | 'note'> {
  const comma = text.indexOf(',', text.startsWith(incomplete) ? incomplete.length : 0);
  const status = comma === -1 ? text : text.slice(0, comma);
  return { state: stateOf(status), status, note: comma === -1 ? '' : text.slice(comma + 1).trim() };
}

function stateOf(status: string): InstanceState {
  if (status === 'running' || status === 'down') return status;
  if (status === 'starting or stopping' || status.startsWith('incomplete')) return 'changing';
  return /crashed|in use by node/i.test(status) ? 'crashed' : 'unknown';
}
