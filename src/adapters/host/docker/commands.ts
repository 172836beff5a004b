import type { Config } from './config.ts';

export type Argv = readonly [string, ...string[]];

/** `-i` passes standard input on. Never `-t`: it needs a terminal, mixes both streams into one and rewrites line ends. */
export function execIn(config: Config, argv: Argv, as: { readonly uid?: number; readonly gid?: number }): Argv {
  const user = userOf(config, as);
  return [config.program, 'exec', '-i', ...(user === undefined ? [] : ['-u', user]), config.container, ...argv];
}

/** With a group by number docker adds no supplementary groups, as exec.ts promises for `uid`. */
function userOf(config: Config, { uid, gid }: { readonly uid?: number; readonly gid?: number }): string | undefined {
  if (uid !== undefined) return `${uid}:${gid ?? uid}`;
  return config.user;
}

export function inspect(config: Config): Argv {
  return [config.program, 'inspect', '--type', 'container', '--format', '{{json .Mounts}}', config.container];
}

/** Device and inode: the same two numbers on this machine prove that it is the same file. */
export function identityOf(path: string): Argv {
  return ['stat', '-L', '-c', '%d:%i', '--', path];
}

/** Variables by which the client finds its server and its credentials. */
export const clientVariables =
  /^(?:HOME|XDG_RUNTIME_DIR|XDG_CONFIG_HOME|XDG_DATA_HOME|SSH_AUTH_SOCK|DOCKER_\w+|CONTAINER_\w+|CONTAINERS_\w+)$/;
