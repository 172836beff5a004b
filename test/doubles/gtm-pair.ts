import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Answer, wentWell } from '../../src/adapters/application/gtm/engine.ts';
import { parseReceived } from '../../src/adapters/application/gtm/parse-journal.ts';
import { processesMarked } from '../../src/platform/process.ts';
import { systemExec } from '../../src/platform/exec.ts';
import { killExactly, type ProcessIdentity } from '../../src/platform/process.ts';
import { freePort } from './free-ports.ts';
import { type GtmDatabase, type GtmOptions, openGtm } from './gtm.ts';
import { testPlatform } from './postgres-subject.ts';

const limits = { limitMs: 60_000 };
/** In seconds: how old what the sender believes of the other may be. The engine's own default is 15. */
const heartbeat = 1;
/** In seconds: how old what is on the disk may be. The engine's own default is 300. */
const epoch = 1;

export interface GtmInstance extends GtmDatabase {
  readonly name: string;
  /** Sends to the other instance, as the one that is written to. */
  startSource(): Promise<void>;
  /** Receives from the other instance: a passive source server, if there is none, and a receiver. */
  startReceiver(): Promise<void>;
  stopSource(): Promise<void>;
  stopReceiver(): Promise<void>;
  /** SIGKILL. Returns when they are gone. */
  killSource(): Promise<void>;
  killReceiver(): Promise<void>;
  /** SIGKILL of everything that has the database open, and its shared memory is taken away, as a crash of the machine would. */
  crash(): Promise<void>;
  /** After a crash, and before its servers are started: as it was at its last update that is in the journal. */
  comeBack(): Promise<void>;
  /** After a crash and a failover: what the other instance, which is written to now, does not have is taken back. Then it receives. */
  rejoin(): Promise<void>;
  /** Whether users may write to it, by its own word. */
  isPrimary(): Promise<boolean>;
  /** Who made its updates, one after the other. */
  history(): Promise<readonly string[]>;
  /** What is frozen of it: files, or the instance. */
  frozen(): Promise<readonly string[]>;
  /** One update of the instance for each, numbered by the engine. `^b` lies in the second region where there are two. */
  update(count: number, global?: 'a' | 'b'): Promise<void>;
  /** Number of the last update in it: posted by itself, or processed from the other. Asks the instance itself. */
  posted(): Promise<bigint>;
  processed(): Promise<bigint>;
}

export interface GtmPair extends AsyncDisposable {
  readonly a: GtmInstance;
  readonly b: GtmInstance;
  /** Planned, with nobody writing: `from` is closed down and `to` is written to. `from` receives afterwards. */
  switchover(from: GtmInstance, to: GtmInstance): Promise<void>;
  /** Waits until `to` has all that `from` has. Throws after 30 s. */
  caughtUp(from: GtmInstance, to: GtmInstance): Promise<void>;
}

/** Two instances of one application, A and B, connected over the loopback interface. No server runs yet. */
export async function openGtmPair(options: GtmOptions): Promise<GtmPair> {
  await using stack = new AsyncDisposableStack();
  const [portOfA, portOfB] = [await freePort(), await freePort()];
  const a = instance(stack.use(await openGtm({ ...options, instance: 'A' })), 'A', portOfA, 'B', portOfB);
  stack.defer(() => endServers(a));
  const b = instance(stack.use(await openGtm({ ...options, instance: 'B' })), 'B', portOfB, 'A', portOfA);
  stack.defer(() => endServers(b));
  for (const { gtm } of [a, b]) await gtm.mupip(['set', '-region', '*', `-journal=on,before,epoch=${epoch}`], limits);
  const all = stack.move();
  return {
    a,
    b,
    async switchover(from, to) {
      await from.stopSource();
      await to.stopReceiver();
      await to.startSource();
      await from.startReceiver();
    },
    async caughtUp(from, to) {
      const untilMs = testPlatform.clock.monoMs() + 30_000;
      let [sent, received] = [await from.posted(), -1n];
      while (received !== sent) {
        if (testPlatform.clock.monoMs() > untilMs) throw new Error(`${to.name} has ${received} of ${sent} updates`);
        received = await to.processed().catch(() => -1n);
        await testPlatform.clock.sleep(50);
        sent = await from.posted();
      }
    },
    [Symbol.asyncDispose]: () => all[Symbol.asyncDispose](),
  };
}

function instance(db: GtmDatabase, name: string, port: number, other: string, portOfOther: number): GtmInstance {
  const log = (what: string): string => `-log=${join(db.directory, `${what}.log`)}`;
  const replicate = async (...args: readonly string[]): Promise<Answer> => {
    const answer = await db.gtm.mupip(['replicate', ...args], limits);
    if (!wentWell(answer)) throw new Error(`${name}: mupip replicate ${args.join(' ')}: ${answer.text}`);
    return answer;
  };
  const runs = (which: RegExp): boolean => serversOf(db).some((each) => which.test(each.commandLine));
  const kill = async (which: RegExp): Promise<void> => {
    const found = serversOf(db).filter((each) => which.test(each.commandLine));
    for (const each of found) killExactly(each, 'SIGKILL');
    while (runs(which)) await testPlatform.clock.sleep(20);
  };
  const rollBack = async (...how: readonly string[]): Promise<void> => {
    // It takes dead memory away; that it then asks for the rollback is not an error here.
    await db.gtm.mupip(['rundown', '-region', '*'], limits);
    const answer = await db.gtm.mupip(['journal', '-rollback', '-backward', ...how, '*'], limits);
    if (!wentWell(answer)) throw new Error(`${name}: mupip journal -rollback: ${answer.text}`);
  };
  const { replicationInstance = '' } = db.gtm.place;
  return {
    ...db,
    name,
    ...lookOf(db, replicate, replicationInstance),
    comeBack: () => rollBack(),
    async rejoin() {
      await rollBack(`-fetchresync=${port}`, `-losttrans=${join(db.directory, 'lost')}`);
      await this.startReceiver();
    },
    async startSource() {
      const to = [`-instsecondary=${other}`, `-secondary=127.0.0.1:${portOfOther}`];
      const how = [`-connectparams=5,500,1,60,${heartbeat},30`, log('source')];
      if (runs(/-passive/)) await replicate('-source', '-activate', ...to, '-rootprimary', ...how);
      else await replicate('-source', '-start', ...to, '-buffsize=1048576', ...how);
    },
    async startReceiver() {
      if (!runs(/-passive/)) {
        const how = ['-passive', `-instsecondary=${other}`, '-updnotok', '-buffsize=1048576'];
        await replicate('-source', '-start', ...how, log('passive'));
      }
      await replicate('-receiver', '-start', `-listenport=${port}`, '-buffsize=1048576', log('receiver'));
    },
    async stopSource() {
      await replicate('-source', '-shutdown', '-timeout=0');
    },
    async stopReceiver() {
      await replicate('-receiver', '-shutdown', '-timeout=0');
    },
    killSource: () => kill(/ -source /),
    killReceiver: () => kill(/ -(receiver|updateproc|updhelper) /),
    async crash() {
      await kill(/./);
      await removeShared(await sharedOf(db));
    },
    async update(count, global = 'a') {
      const answer = await db.gtm.xecute(`for i=1:1:${count} set ^${global}("row",i)=$justify(i,100)`, limits);
      if (!wentWell(answer)) throw new Error(answer.text);
    },
    async posted() {
      const { text } = await replicate('-source', '-showbacklog');
      const found = /sequence number posted +: (\d+)/.exec(text)?.[1];
      if (found === undefined) throw new Error(text);
      return BigInt(found);
    },
    async processed() {
      const { text } = await replicate('-receiver', '-showbacklog');
      const found = parseReceived(text);
      if (found === undefined) throw new Error(text);
      return found.processed;
    },
  };
}

function lookOf(
  db: GtmDatabase,
  replicate: (...args: readonly string[]) => Promise<Answer>,
  file: string,
): Pick<GtmInstance, 'isPrimary' | 'history' | 'frozen'> {
  return {
    async isPrimary() {
      const { text } = await replicate('-source', '-jnlpool', '-show');
      const found = /^CTL Updates Disabled +(TRUE|FALSE)/m.exec(text)?.[1];
      if (found === undefined) throw new Error(text);
      return found === 'FALSE';
    },
    async history() {
      const { text } = await replicate('-editinstance', '-show', file);
      return [...text.matchAll(/^HST #.*: Root Primary Instance Name +(\S+)/gm)].map(([, by = '']) => by);
    },
    async frozen() {
      const heads = db.files.map(async (path) => {
        const { text } = await db.gtm.mupip(['dumpfhead', '-file', path], limits);
        const by = /"sgmnt_data\.freeze"\)=(\d+)/.exec(text)?.[1];
        return by === '0' ? [] : [`${path} is frozen: ${by ?? text}`];
      });
      const { text } = await replicate('-source', '-freeze');
      const whole = /Instance Freeze: OFF/.test(text) ? [] : [text.trim()];
      return [...(await Promise.all(heads)).flat(), ...whole];
    },
  };
}

/** The servers go on without the one who started them, and carry the directory of their database in their environment. */
function serversOf(db: GtmDatabase): readonly (ProcessIdentity & { readonly commandLine: string })[] {
  return processesMarked('SPDB', db.directory).flatMap((each) => {
    try {
      const commandLine = readFileSync(`/proc/${each.pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return [{ ...each, commandLine }];
    } catch {
      return [];
    }
  });
}

interface Shared {
  readonly kind: '-m' | '-s';
  readonly id: string;
}

/** Memory and semaphores that the headers and the instance file name. */
async function sharedOf(db: GtmDatabase): Promise<readonly Shared[]> {
  const { replicationInstance = '' } = db.gtm.place;
  const shown = await db.gtm.mupip(['replicate', '-editinstance', '-show', replicationInstance], limits);
  const headers = await Promise.all(db.files.map((file) => db.gtm.mupip(['dumpfhead', '-file', file], limits)));
  return [
    ...shown.text.matchAll(/^HDR (?:Journal|Receive) Pool (Shm|Sem) Id +(\d+)/gm),
    ...headers.flatMap(({ text }) => [...text.matchAll(/"sgmnt_data\.(shm|sem)id"\)=(\d+)/g)]),
  ].map(([, kind = '', id = '']) => ({ kind: /shm/i.test(kind) ? '-m' : '-s', id }));
}

async function removeShared(shared: readonly Shared[]): Promise<void> {
  for (const { kind, id } of shared) {
    if (!(await isThere(kind, id))) continue;
    const removed = await systemExec.run({ argv: ['ipcrm', kind, id], timeoutMs: 10_000 });
    // A program of a backup that was the last one to leave the database may have removed it in between.
    if (removed.exitCode !== 0 && (await isThere(kind, id))) throw new Error(`ipcrm ${kind} ${id}: ${removed.stderr}`);
  }
}

async function isThere(kind: Shared['kind'], id: string): Promise<boolean> {
  const list = await readFile(`/proc/sysvipc/${kind === '-m' ? 'shm' : 'sem'}`, 'utf8');
  return list.split('\n').some((line) => line.trim().split(/\s+/)[1] === id);
}

/** By force: nothing of them is used again, and the engine takes seconds to end them in order. */
async function endServers(db: GtmInstance): Promise<void> {
  const shared = await sharedOf(db);
  for (const each of serversOf(db)) killExactly(each, 'SIGKILL');
  while (serversOf(db).length > 0) await testPlatform.clock.sleep(20);
  await db.gtm.mupip(['freeze', '-off', '-override', '*'], limits);
  await db.gtm.mupip(['rundown', '-region', '*'], limits);
  await removeShared([...shared, ...(await sharedOf(db))]);
}
