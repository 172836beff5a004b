import { StillpointError } from '../../../model/errors.ts';

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
  /** MAJ:MIN of the mounted file system: of its device, or one of its own where it has none. */
  readonly number: string;
}

/** A block device as lsblk shows it, with what it lies on. */
export interface Block {
  readonly path: string;
  readonly kernelName: string;
  /** lsblk's word: `disk`, `part`, `lvm`, `raid10`, `loop`, `crypt`, `mpath`... */
  readonly type: string;
  /** MAJ:MIN. */
  readonly number: string;
  readonly size: string;
  readonly readOnly: string;
  readonly suspended: boolean;
  readonly serial: string | undefined;
  readonly vendor: string | undefined;
  readonly model: string | undefined;
  readonly wwn: string | undefined;
  /** SCSI address: host, channel, target, LUN. */
  readonly hctl: string | undefined;
  readonly transport: string | undefined;
  readonly below: readonly Block[];
}

export type Fields = Readonly<Record<string, unknown>>;

export function fail(command: string, what: string): never {
  throw new StillpointError('command-failed', `\`${command}\` ${what}`, {
    hint: 'util-linux 2.33 or later is needed; run the command by hand to see what it prints',
  });
}

export function json(output: string, command: string): unknown {
  try {
    return JSON.parse(output);
  } catch {
    return fail(command, 'printed no JSON');
  }
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function list(from: unknown, key: string, command: string): readonly Fields[] {
  const found = isFields(from) ? from[key] : undefined;
  if (!Array.isArray(found)) return fail(command, `printed no list \`${key}\``);
  return found.map((one: unknown) => (isFields(one) ? one : fail(command, `printed an odd entry in \`${key}\``)));
}

export function text(from: Fields, key: string, command: string): string {
  const found = from[key];
  return typeof found === 'string' ? found : fail(command, `printed no text \`${key}\``);
}

/** A text that a device may lack; lsblk pads some with blanks. */
function optional(from: Fields, key: string): string | undefined {
  const found = from[key];
  const trimmed = typeof found === 'string' ? found.trim() : '';
  return trimmed === '' ? undefined : trimmed;
}

/** `findmnt -J -o TARGET,SOURCE,FSTYPE,OPTIONS,UUID,FSROOT,MAJ:MIN -T PATH`. Of mounts on top of each other the last one is seen. */
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
    number: text(entry, 'maj:min', command),
  };
}

/** `findmnt -J -l -o TARGET`: every mount point. */
export function parseTargets(output: string, command: string): readonly string[] {
  return list(json(output, command), 'filesystems', command).map((entry) => text(entry, 'target', command));
}

/** `lsblk -J -s -b -o ... DEVICE...`: the devices, with what they lie on below them. */
export function parseLsblk(output: string, command: string): readonly Block[] {
  const block = (entry: Fields): Block => ({
    path: text(entry, 'path', command),
    kernelName: text(entry, 'kname', command),
    type: text(entry, 'type', command),
    number: text(entry, 'maj:min', command).trim(),
    size: String(entry['size']),
    readOnly: String(entry['ro']),
    suspended: entry['state'] === 'suspended',
    serial: optional(entry, 'serial'),
    vendor: optional(entry, 'vendor'),
    model: optional(entry, 'model'),
    wwn: optional(entry, 'wwn'),
    hctl: optional(entry, 'hctl'),
    transport: optional(entry, 'tran'),
    below: entry['children'] === undefined ? [] : list(entry, 'children', command).map(block),
  });
  return list(json(output, command), 'blockdevices', command).map(block);
}

/** `lsblk -J -l -o PATH,STATE`: the paths of those that are suspended. */
export function parseSuspended(output: string, command: string): readonly string[] {
  return list(json(output, command), 'blockdevices', command)
    .filter((entry) => entry['state'] === 'suspended')
    .map((entry) => text(entry, 'path', command));
}

/** Value of one mount option: `subvol` of `rw,subvolid=256,subvol=/db`. */
export function mountOption(options: string, name: string): string | undefined {
  return options
    .split(',')
    .find((option) => option.startsWith(`${name}=`))
    ?.slice(name.length + 1);
}

/** The directories of an overlay, from its mount options. A colon or comma inside a name is written with a backslash before it. */
export function overlayDirectories(options: string): {
  readonly upper: string | undefined;
  readonly lower: readonly string[];
} {
  const values = new Map<string, string>();
  for (const [, key, value] of options.matchAll(/(?:^|,)(upperdir|lowerdir)=((?:\\.|[^,\\])*)/g)) {
    values.set(String(key), String(value));
  }
  const plain = (name: string): string => name.replaceAll(/\\(.)/g, '$1');
  const upper = values.get('upperdir');
  const lower = values.get('lowerdir')?.match(/(?:\\.|[^:\\])+/g) ?? [];
  return { upper: upper === undefined ? undefined : plain(upper), lower: lower.map(plain) };
}
