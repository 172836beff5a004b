import { StillpointError } from '../../../model/errors.ts';
import type { StorageLayer } from '../../../model/storage.ts';

export interface Mount {
  readonly target: string;
  /** Without the `[/directory]` that findmnt adds for bind mounts and subvolumes. */
  readonly source: string;
  readonly fileSystem: string;
  readonly options: string;
  /** Null for a file system without one (tmpfs, overlay). */
  readonly uuid: string | null;
  /** Which directory of the file system is mounted; `/` for all of it. */
  readonly root: string;
}

function fail(command: string, what: string): never {
  throw new StillpointError('command-failed', `\`${command}\` ${what}`, {
    hint: 'util-linux 2.33 or later is needed; run the command by hand to see what it prints',
  });
}

function json(output: string, command: string): unknown {
  try {
    return JSON.parse(output);
  } catch {
    return fail(command, 'printed no JSON');
  }
}

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function list(from: unknown, key: string, command: string): readonly Fields[] {
  const found = isFields(from) ? from[key] : undefined;
  if (!Array.isArray(found)) return fail(command, `printed no list \`${key}\``);
  return found.map((one: unknown) => (isFields(one) ? one : fail(command, `printed an odd entry in \`${key}\``)));
}

function text(from: Fields, key: string, command: string): string {
  const found = from[key];
  return typeof found === 'string' ? found : fail(command, `printed no text \`${key}\``);
}

/** `findmnt -J -o TARGET,SOURCE,FSTYPE,OPTIONS,UUID,FSROOT -T PATH`. Of mounts on top of each other the last one is seen. */
export function parseFindmnt(output: string, command: string): Mount {
  const entry = list(json(output, command), 'filesystems', command).at(-1);
  if (entry === undefined) return fail(command, 'printed no mount');
  const { uuid } = entry;
  if (uuid !== null && typeof uuid !== 'string') return fail(command, 'printed no text `uuid`');
  return {
    target: text(entry, 'target', command),
    source: text(entry, 'source', command).replace(/\[.*\]$/, ''),
    fileSystem: text(entry, 'fstype', command),
    options: text(entry, 'options', command),
    uuid,
    root: text(entry, 'fsroot', command),
  };
}

function layerType(type: string): StorageLayer['type'] {
  switch (type) {
    case 'disk':
    case 'loop':
    case 'crypt':
      return type;
    case 'part':
      return 'partition';
    case 'lvm':
      return 'lv';
    case 'md':
    case 'linear':
      return 'md';
    default:
      return /^raid\d+$/.test(type) ? 'md' : 'other';
  }
}

/** `lsblk -J -s -b -o NAME,PATH,TYPE,MAJ:MIN,SIZE,RO DEVICE`: the device with what it lies on below it. */
export function parseLsblk(output: string, command: string): readonly StorageLayer[] {
  const layer = (entry: Fields): StorageLayer => {
    const number = text(entry, 'maj:min', command);
    const type = text(entry, 'type', command);
    return {
      id: `block:${number}`,
      type: layerType(type),
      name: text(entry, 'path', command),
      details: { type, number, size: String(entry['size']), readOnly: String(entry['ro']) },
      findings: [],
      below: entry['children'] === undefined ? [] : list(entry, 'children', command).map(layer),
    };
  };
  return list(json(output, command), 'blockdevices', command).map(layer);
}

/** Value of one mount option: `subvol` of `rw,subvolid=256,subvol=/db`. */
export function mountOption(options: string, name: string): string | undefined {
  return options
    .split(',')
    .find((option) => option.startsWith(`${name}=`))
    ?.slice(name.length + 1);
}
