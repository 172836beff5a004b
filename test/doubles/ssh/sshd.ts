import { chmod, mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { freePort } from '../free-ports.ts';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { controlSocket } from '../../../src/adapters/host/ssh/host.ts';
import { exit } from '../../../src/adapters/host/ssh/commands.ts';
import { config, type Config } from '../../../src/adapters/host/ssh/config.ts';
import { systemExec, type RunningProcess } from '../../../src/platform/exec.ts';

const timeoutMs = 20_000;

/** A real OpenSSH server of our own on loopback, with keys of its own. */
export interface SshServer extends AsyncDisposable {
  readonly directory: string;
  readonly config: Config;
  /** In front of PATH for what is started there. */
  readonly bin: string;
  /** Processes that serve a connection (not the listener), and what runs below them. */
  serving(): Promise<readonly number[]>;
  /** All that was started there and its processes still run. */
  alive(): Promise<readonly number[]>;
  /** Ends the connections as a broken network does, and leaves what runs there. */
  cut(): Promise<void>;
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** Where a server listens, and what its program is started through: `ip netns exec NAME`. */
export interface Place {
  readonly address: string;
  readonly through: readonly string[];
}

const loopback: Place = { address: '127.0.0.1', through: [] };

export async function sshServer(
  more: Partial<Config> = {},
  place: Place = loopback,
): Promise<SshServer | { readonly skip: string }> {
  if (process.getuid?.() !== 0) return { skip: 'needs root: runs an SSH server of its own' };
  const program = await systemExec.which('sshd');
  if (program === undefined) return { skip: 'needs sshd (package openssh-server)' };
  for (const each of ['ssh', 'ssh-keygen']) {
    if ((await systemExec.which(each)) === undefined) return { skip: `needs ${each} (package openssh-client)` };
  }
  const directory = await mkdtemp(join(tmpdir(), 'sp-sshd-'));
  const at = (name: string): string => join(directory, name);
  for (const key of ['host', 'client', 'other']) {
    await systemExec.check({
      argv: ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', at(key)],
      timeoutMs,
    });
  }
  const port = await freePort();
  await mkdir(at('bin'));
  await writeFile(at('authorized'), await readFile(at('client.pub')));
  await writeFile(at('known_hosts'), `[${place.address}]:${port} ${await readFile(at('host.pub'), 'utf8')}`);
  await chmod(at('authorized'), 0o600);
  // The server refuses to run without it; packages make it when the service starts.
  const madeRun = await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  await writeFile(
    at('config'),
    [
      `Port ${port}`,
      `ListenAddress ${place.address}`,
      `HostKey ${at('host')}`,
      `PidFile none`,
      `AuthorizedKeysFile ${at('authorized')}`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin yes',
      'PrintMotd no',
      'UseDNS no',
      'MaxStartups 100',
      'MaxSessions 10',
      // Marks all that runs there, so that it is found again.
      `SetEnv SP_SSHD=${directory} PATH=${at('bin')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      '',
    ].join('\n'),
  );
  const settings = config.parse({
    host: place.address,
    user: userInfo().username,
    port,
    identityFile: at('client'),
    knownHosts: at('known_hosts'),
    ...more,
  });
  let server: RunningProcess | undefined;
  const start = async (): Promise<void> => {
    const [first, ...rest] = [...place.through, program, '-D', '-e', '-f', at('config')];
    server = systemExec.start({ argv: [first ?? program, ...rest] });
    for (let tries = 0; !server.stderrTail().includes('Server listening'); tries += 1) {
      if (tries > 500) throw new Error(`sshd does not listen: ${server.stderrTail()}`);
      await sleep(20);
    }
  };
  const serving = async (): Promise<readonly number[]> =>
    (await processes())
      .filter(({ args, parent }) => args.startsWith('sshd: ') && parent === server?.pid)
      .map(({ pid }) => pid);
  const alive = async (): Promise<readonly number[]> => {
    const found: number[] = [];
    for (const { pid } of await processes()) {
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
      if (environment.split('\0').includes(`SP_SSHD=${directory}`)) found.push(pid);
    }
    return found;
  };
  const cut = async (): Promise<void> => {
    const all = await processes();
    const mine = await serving();
    // The monitor and, where there is one, its child that serves the user.
    for (const { pid, args, parent } of all) {
      if (mine.includes(pid) || (args.startsWith('sshd: ') && mine.includes(parent))) end(pid);
    }
  };
  const stop = async (): Promise<void> => {
    await cut();
    server?.kill('SIGTERM');
    await server?.exited;
  };
  await start();
  return {
    directory,
    config: settings,
    bin: at('bin'),
    serving,
    alive,
    cut,
    start,
    stop,
    async [Symbol.asyncDispose]() {
      await systemExec.run({ argv: exit(settings, controlSocket(settings)), timeoutMs });
      await stop();
      for (const pid of await alive()) end(pid);
      await rm(directory, { recursive: true, force: true });
      // Only when empty, and only if nobody else needs it.
      await rmdir(dirname(controlSocket(settings))).catch(() => undefined);
      if (madeRun !== undefined) await rmdir(madeRun).catch(() => undefined);
    },
  };
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

async function processes(): Promise<
  readonly { readonly pid: number; readonly parent: number; readonly args: string }[]
> {
  const found: { pid: number; parent: number; args: string }[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = (await readFile(`/proc/${name}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ');
      if ('ZX'.includes(stat[0] ?? '')) continue;
      const args = (await readFile(`/proc/${name}/cmdline`, 'utf8')).replaceAll('\0', ' ');
      found.push({ pid: Number(name), parent: Number(stat[1]), args });
    } catch {
      // It has ended.
    }
  }
  return found;
}
