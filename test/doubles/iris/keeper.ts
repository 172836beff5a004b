/**
 * The limits of one freeze, as a process: blocks all updates at ExternalFreezeTimeOut and resumes the system at WDSuspendLimit.
 * Updates are blocked for real: a dse process holds the critical section of each backing database until it is told to let go, or dies.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expire } from './freeze.ts';
import { Gtm, gtmDirectory } from './gtm.ts';
import { message, plain } from './texts.ts';
import { Store } from './state.ts';

const [root = '', name = '', token = ''] = process.argv.slice(2);
const store = new Store(root);
const gtm = new Gtm(root);
const holders: ChildProcess[] = [];

process.on('SIGTERM', () => void letGo().then(() => process.exit(0)));

async function letGo(): Promise<void> {
  await Promise.all(
    holders.splice(0).map(async (holder) => {
      if (holder.exitCode !== null) return;
      holder.stdin?.end('crit -release\nexit\n');
      await new Promise((resolve) => holder.once('exit', resolve));
    }),
  );
}

async function block(): Promise<void> {
  const directories = await store.updateWhenFree(name, (instance) => {
    if (instance.freeze?.token !== token) return [];
    instance.freeze.blocked = true;
    message(instance, 2, 'Write daemon suspended longer than ExternalFreezeTimeOut, updates are blocked');
    return instance.databases.filter((one) => one.mounted && !one.readOnly).map((one) => plain(one.directory));
  });
  for (const directory of directories) {
    const holder = spawn(join(gtmDirectory, 'dse'), [], {
      env: gtm.environment(directory),
      cwd: join(root, 'gtm', 'tmp'),
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    holder.stdin?.on('error', () => undefined);
    holder.stdin?.write('crit -seize\n');
    holders.push(holder);
  }
}

// Whoever started this one still holds the lock; the freeze is written when it lets go.
await store.updateWhenFree(name, () => undefined);
for (;;) {
  const { freeze } = store.read(name);
  if (freeze?.token !== token) break;
  const now = Date.now();
  if (freeze.resumeAtMs !== undefined && now >= freeze.resumeAtMs) {
    await letGo();
    await store.updateWhenFree(name, (instance) => {
      if (instance.freeze?.token !== token) return;
      // The keeper must not wait for its own end.
      instance.freeze.keeper = process.pid;
      expire(gtm, instance);
    });
    break;
  }
  if (!freeze.blocked && now >= freeze.blockAtMs) await block();
  const next = Math.min(freeze.blocked ? Infinity : freeze.blockAtMs, freeze.resumeAtMs ?? Infinity);
  await sleep(Math.max(1, Math.min(next - Date.now(), 200)));
}
await letGo();
