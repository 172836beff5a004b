import { open, type FileHandle } from 'node:fs/promises';
import { messageOf, StillpointError } from '../model/errors.ts';
import type { Exec } from './exec.ts';
import { type Logger, silent } from './logger.ts';

/** Where a secret comes from; exactly one is set. Never the secret itself. */
export interface SecretSource {
  readonly file?: string | undefined;
  readonly env?: string | undefined;
  readonly command?: readonly string[] | undefined;
}

const commandTimeoutMs = 30_000;
const mostBytes = 64 * 1024;

/**
 * The secret, without one line ending at its end. Throws `secret-unreadable`; neither the secret nor what the command printed gets into
 * an error. A file that everybody may read is used, with a warning: some platforms cannot mount it otherwise.
 */
export async function readSecret(source: SecretSource, exec: Exec, log: Logger = silent): Promise<string> {
  const given = [source.file, source.env, source.command].filter((each) => each !== undefined);
  if (given.length !== 1) {
    throw new StillpointError('secret-unreadable', 'a password needs exactly one of file, variable or command', {
      hint: 'set one of passwordFile, passwordEnv, passwordCommand',
    });
  }
  if (source.file !== undefined) return fromFile(source.file, log);
  if (source.env !== undefined) return fromEnvironment(source.env);
  return fromCommand(source.command ?? [], exec);
}

async function fromFile(file: string, log: Logger): Promise<string> {
  const name = `the password file ${file}`;
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, 'r');
    const seen = await handle.stat();
    if (seen.size > mostBytes) throw new Error(`${seen.size} bytes are too many for a password`);
    if ((seen.mode & 0o004) !== 0) log.warn(`${name} can be read by everybody; run \`chmod 600 ${file}\``);
    return cleaned(await handle.readFile('utf8'), name, 'write the password into it as its only line');
  } catch (cause) {
    if (cause instanceof StillpointError) throw cause;
    throw new StillpointError('secret-unreadable', `${name} cannot be read: ${messageOf(cause)}`, {
      hint: 'correct the path or its permissions, or make the file with `umask 077; openssl rand -base64 32 > FILE`',
      cause,
    });
  } finally {
    await handle?.close();
  }
}

function fromEnvironment(variable: string): string {
  const hint = `set it: \`export ${variable}=...\`; a service manager may need it in its own environment file`;
  const value = process.env[variable];
  if (value === undefined) {
    throw new StillpointError('secret-unreadable', `the environment variable ${variable} is not set`, { hint });
  }
  return cleaned(value, `the environment variable ${variable}`, hint);
}

async function fromCommand(command: readonly string[], exec: Exec): Promise<string> {
  const [program, ...rest] = command;
  const hint = 'run the command by hand as the same user; it must print the password and exit with 0';
  if (program === undefined) throw new StillpointError('secret-unreadable', 'the password command is empty', { hint });
  // Arguments may hold a token, so only the program is named.
  const name = `the password command ${program}`;
  const result = await exec
    .run({ argv: [program, ...rest], env: inherited(), timeoutMs: commandTimeoutMs, maxOutputBytes: mostBytes })
    .catch(() => {
      // Without the cause: it quotes the arguments.
      throw new StillpointError('secret-unreadable', `${name} cannot be run`, { hint });
    });
  if (result.timedOut) {
    throw new StillpointError('secret-unreadable', `${name} did not end within ${commandTimeoutMs / 1000} s`, { hint });
  }
  if (result.exitCode !== 0) {
    const how = result.exitCode === null ? `was killed by ${result.killedBy}` : `exited with ${result.exitCode}`;
    throw new StillpointError('secret-unreadable', `${name} ${how}`, { hint });
  }
  return cleaned(result.stdout, name, hint);
}

/** Password managers find their agent and their files by these. */
function inherited(): Readonly<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && name !== 'PATH' && name !== 'NODE_OPTIONS') env[name] = value;
  }
  return env;
}

function cleaned(text: string, name: string, hint: string): string {
  const secret = text.replace(/\r?\n$/, '');
  if (secret === '') throw new StillpointError('secret-unreadable', `${name} is empty`, { hint });
  return secret;
}
