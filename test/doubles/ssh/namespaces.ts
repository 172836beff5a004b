import { randomInt } from 'node:crypto';
import { systemExec } from '../../../src/platform/exec.ts';
import { sshServer, type SshServer } from './sshd.ts';

const timeoutMs = 20_000;

/** A host of its own as far as the network goes: a namespace with an address and a real SSH server. Files and processes are this machine's. */
export interface NetworkHost {
  readonly address: string;
  readonly server: SshServer;
  /** The cable is pulled, or put back: nobody is told. */
  link(state: 'up' | 'down'): Promise<void>;
}

export interface Network extends AsyncDisposable {
  readonly hosts: readonly NetworkHost[];
}

async function ip(...args: readonly string[]): Promise<void> {
  await systemExec.check({ argv: ['ip', ...args], timeoutMs });
}

/** So many hosts on one bridge, which this machine is on too. */
export async function network(count: number): Promise<Network | { readonly skip: string }> {
  if (process.getuid?.() !== 0) return { skip: 'needs root: makes network namespaces' };
  for (const program of ['ip', 'sshd', 'ssh', 'ssh-keygen'])
    if ((await systemExec.which(program)) === undefined) return { skip: `needs ${program}` };
  // Names of interfaces have at most 15 characters; the range is one of RFC 2544, for tests of networks.
  const tag = randomInt(36 ** 5)
    .toString(36)
    .padStart(5, '0');
  const net = `198.${randomInt(18, 20)}.${randomInt(1, 255)}`;
  const bridge = `spb${tag}`;
  await using undo = new AsyncDisposableStack();
  try {
    await ip('link', 'add', 'name', bridge, 'type', 'bridge');
  } catch (error) {
    return { skip: `needs bridges and network namespaces: ${String(error)}` };
  }
  undo.defer(() => ip('link', 'del', bridge));
  await ip('addr', 'add', `${net}.254/24`, 'dev', bridge);
  await ip('link', 'set', bridge, 'up');
  const hosts: NetworkHost[] = [];
  for (let index = 1; index <= count; index++) {
    const [name, cable, address] = [`sp${tag}-${index}`, `sp${tag}x${index}`, `${net}.${index}`];
    try {
      await ip('netns', 'add', name);
    } catch (error) {
      return { skip: `needs network namespaces: ${String(error)}` };
    }
    undo.defer(() => ip('netns', 'del', name));
    await ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
    await ip('link', 'set', cable, 'master', bridge);
    await ip('link', 'set', cable, 'up');
    await ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    await ip('-n', name, 'link', 'set', 'lo', 'up');
    await ip('-n', name, 'link', 'set', 'eth0', 'up');
    const server = await sshServer({}, { address, through: ['ip', 'netns', 'exec', name] });
    if ('skip' in server) return server;
    undo.use(server);
    hosts.push({ address, server, link: (state) => ip('link', 'set', cable, state) });
  }
  const kept = undo.move();
  return { hosts, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
