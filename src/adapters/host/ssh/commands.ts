import type { Config } from './config.ts';

export type Argv = readonly [string, ...string[]];

/** A network that is gone shows within `aliveSeconds` times `aliveCount`, by the end of the client. */
const aliveSeconds = 3;
const aliveCount = 3;
const connectSeconds = 10;
/** The shared connection ends by itself when nothing used it for so long. */
const persistSeconds = 60;

/**
 * The first value that ssh meets counts, and the command line comes before ssh_config(5): ours come first. `socket` is where one connection
 * is shared by all commands: a login inside a hold would lengthen it.
 */
function options(config: Config, socket: string): readonly string[] {
  const set: readonly (readonly [string, string])[] = [
    ['BatchMode', 'yes'],
    ['StrictHostKeyChecking', 'yes'],
    ['NoHostAuthenticationForLocalhost', 'no'],
    ['VerifyHostKeyDNS', 'no'],
    ['UpdateHostKeys', 'no'],
    ...(config.knownHosts === undefined ? [] : ([['UserKnownHostsFile', quoted(config.knownHosts)]] as const)),
    ['ControlMaster', 'auto'],
    ['ControlPath', quoted(socket)],
    ['ControlPersist', String(persistSeconds)],
    ['RequestTTY', 'no'],
    ['RemoteCommand', 'none'],
    ['PermitLocalCommand', 'no'],
    ['ClearAllForwardings', 'yes'],
    ['ForwardAgent', 'no'],
    ['ForwardX11', 'no'],
    ['EscapeChar', 'none'],
    ['LogLevel', 'ERROR'],
    ...Object.entries(config.options ?? {}),
    ['ConnectTimeout', String(connectSeconds)],
    ['ServerAliveInterval', String(aliveSeconds)],
    ['ServerAliveCountMax', String(aliveCount)],
  ];
  return set.flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/** Values are read as in ssh_config: `%` begins a token there, and a blank ends a file's name. */
function quoted(path: string): string {
  return `"${path.replaceAll('%', '%%').replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function client(config: Config, socket: string, more: readonly string[]): Argv {
  return [
    'ssh',
    ...options(config, socket),
    ...(config.port === undefined ? [] : ['-p', String(config.port)]),
    ...(config.user === undefined ? [] : ['-l', config.user]),
    ...(config.identityFile === undefined
      ? []
      : ['-o', `IdentityFile=${quoted(config.identityFile)}`, '-o', 'IdentitiesOnly=yes']),
    ...more,
    '--',
    config.host,
  ];
}

/**
 * `argv` on a POSIX host. The server hands one line to the login shell of the user, whichever that is, so it holds nothing in which
 * sh, csh and fish differ: within single quotes only printable characters but quotes, `!`, `\` (as octal escapes of printf) and line
 * ends. `exec`, so that no shell stands between the server and the program.
 */
export function run(
  config: Config,
  socket: string,
  argv: Argv,
  as: { readonly uid?: number; readonly gid?: number },
): Argv {
  const inner = ['exec', ...userOf(as), ...argv].map((each) => `'${each.replaceAll("'", String.raw`'\''`)}'`).join(' ');
  // The quoted word `exec` is still the built-in: quoting stops aliases and reserved words alone.
  return [...client(config, socket, []), `exec sh -c 'eval "$(printf %b "${octal(inner)}")"'`];
}

/** Like the local machine: another user has no supplementary groups, and the group of his number. */
function userOf({ uid, gid }: { readonly uid?: number; readonly gid?: number }): readonly string[] {
  if (uid === undefined && gid === undefined) return [];
  return [
    'setpriv',
    ...(uid === undefined ? [] : [`--reuid=${uid}`]),
    `--regid=${gid ?? uid}`,
    uid === undefined ? '--keep-groups' : '--clear-groups',
  ];
}

function octal(text: string): string {
  let line = '';
  for (const byte of Buffer.from(text)) {
    const character = String.fromCodePoint(byte);
    line += /[A-Za-z0-9 _.,:/=@%+-]/.test(character) ? character : `\\0${byte.toString(8).padStart(3, '0')}`;
  }
  return line;
}

/** `argv` on Windows: words without blanks or quotes, which cmd.exe, PowerShell and others read alike. */
export function runWords(config: Config, socket: string, argv: Argv): Argv {
  return [...client(config, socket, []), argv.join(' ')];
}

/** Ends the shared connection. */
export function exit(config: Config, socket: string): Argv {
  return client(config, socket, ['-O', 'exit']);
}

/** Variables by which the client finds keys. */
export const clientVariables = /^(?:HOME|USER|LOGNAME|SSH_AUTH_SOCK|XDG_RUNTIME_DIR)$/;
