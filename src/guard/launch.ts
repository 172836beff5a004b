import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { StillpointError } from '../model/errors.ts';
import type { Exec } from '../platform/exec.ts';
import { GuardClient, type GuardSpec, type GuardStatus } from './protocol.ts';

const startMs = 20_000;

/** In a clone the guard runs from its source, in the package from the built file beside this one. */
function entry(): string {
  const source = fileURLToPath(new URL('main.ts', import.meta.url));
  return existsSync(source) ? source : fileURLToPath(new URL('main.js', import.meta.url));
}

/** Starts a guard with its sentinel and takes ownership. Nothing is connected to the engine yet. `main`: another main module, in tests. */
export async function launchGuard(
  spec: GuardSpec,
  exec: Exec,
  main: string = entry(),
): Promise<{ readonly client: GuardClient; readonly status: GuardStatus }> {
  const child = exec.start({ argv: [process.execPath, main, 'guard'], cwd: '/', detached: true, env: passedOn() });
  child.write(`${JSON.stringify(spec)}\n`);
  try {
    await child.firstLine((line) => line === 'ready', startMs);
  } catch (error) {
    child.kill('SIGKILL');
    throw new StillpointError('guard-lost', `the guard did not start: ${lastWords(child.stderrTail())}`, {
      hint: 'see that the state directory can be written to and that its path is short, for the guard listens on a socket in it',
      details: { stderr: child.stderrTail() },
      cause: error,
    });
  }
  const client = await GuardClient.connect(spec.socket);
  return { client, status: await client.call('own') };
}

/** Of a process that may have ended by an error that nobody caught: Node prints a trace and its own version behind it. */
function lastWords(stderr: string): string {
  const lines = stderr.trim().split('\n');
  return lines.findLast((line) => /^\w*Error\b.*: /.test(line)) ?? lines.at(-1) ?? '';
}

/** Secrets may come from the environment, so the guard must have it too; PATH and locale are set by exec itself. */
export function passedOn(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && name !== 'PATH' && name !== 'NODE_OPTIONS') env[name] = value;
  }
  return env;
}
