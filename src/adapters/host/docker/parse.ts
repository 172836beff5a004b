import { StillpointError } from '../../../model/errors.ts';

/** A mount of a container: `destination` in it, `source` on the machine of its daemon; empty for a tmpfs. */
export interface Mount {
  readonly destination: string;
  readonly source: string;
}

/** `docker inspect --format '{{json .Mounts}}'`. Anything odd is an error: a mount that is passed over would make a wrong path. */
export function parseMounts(output: string, command: string): readonly Mount[] {
  let read: unknown;
  try {
    read = JSON.parse(output);
  } catch {
    return fail(command);
  }
  // A container without mounts has an empty list with docker; podman is known to print null for empty lists.
  if (read === null) return [];
  if (!Array.isArray(read)) return fail(command);
  return read.map((each: unknown) => {
    if (typeof each !== 'object' || each === null) return fail(command);
    const { Destination, Source = '' } = each as Readonly<Record<string, unknown>>;
    if (typeof Destination !== 'string' || typeof Source !== 'string') return fail(command);
    return { destination: Destination.length > 1 ? Destination.replace(/\/+$/, '') : Destination, source: Source };
  });
}

function fail(command: string): never {
  throw new StillpointError('command-failed', `\`${command}\` printed no list of mounts`, {
    hint: 'run the command by hand to see what it prints',
  });
}

/** The place of `path` on the daemon's machine by the innermost mount that holds it; undefined in the container's own layer or a tmpfs. */
export function sourceOf(path: string, mounts: readonly Mount[]): string | undefined {
  const [mount] = mounts
    .filter(({ destination }) => isWithin(path, destination))
    .toSorted((a, b) => b.destination.length - a.destination.length);
  if (mount === undefined || !mount.source.startsWith('/')) return undefined;
  const below = path.slice(mount.destination === '/' ? 0 : mount.destination.length);
  return `${mount.source === '/' ? '' : mount.source.replace(/\/+$/, '')}${below}` || '/';
}

function isWithin(path: string, directory: string): boolean {
  return directory === '/' || path === directory || path.startsWith(`${directory}/`);
}

/** `stat -c %d:%i`. Undefined when it is not one pair of numbers. */
export function parseIdentity(output: string): string | undefined {
  return /^(\d+:\d+)\n$/.exec(output)?.[1];
}
