/** Freezes file systems together with an engine: after it, thawed before it, by whoever thaws the engine. */
import { stat } from 'node:fs/promises';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import type {
  CommandSpan,
  FreezeAnswer,
  FreezeStatus,
  FrozenFileSystem,
  HoldToken,
  ThawAnswer,
} from '../model/hold.ts';
import { bootId, type Clock } from '../platform/clock.ts';
import type { CommandResult, Exec } from '../platform/exec.ts';
import type { Application, HoldSession } from '../ports/application.ts';

const syncMs = 10 * 60_000;
/** Longer than any hold that stops writers: the guard's deadline ends the hold, not this. */
const freezeMs = 60_000;
const thawMs = 10_000;

/**
 * Asks by trying, for no file shows whether a file system is frozen (fsfreeze(8)): a second freeze fails with EBUSY. If it was not
 * frozen it is thawed at once, and again by a process of its own in case this one is killed in between.
 */
const probeScript =
  '(sleep 3; fsfreeze -u "$1") </dev/null >/dev/null 2>&1 & fsfreeze -f "$1" || { code=$?; kill $!; exit $code; }; fsfreeze -u "$1"; kill $!; exit 9';
const wasNotFrozen = 9;

interface Tools {
  readonly exec: Exec;
  readonly clock: Clock;
}

/**
 * The same application, whose freezes, thaws and answers include the file systems that the token names. Tokens without any are passed
 * through.
 */
export function withFileSystems(application: Application, tools: Tools): Application {
  const change: Pick<Application, 'openHold' | 'status' | 'thaw'> & { readonly openStop?: Application['openStop'] } = {
    openHold: async (token, budgetMs) => wrap(await application.openHold(token, budgetMs), token, tools),
    status: async (token) => combine(await statusOf(token, tools), await application.status(token)),
    thaw: async (token) => {
      const thawed = await thawAll(token.fileSystems ?? [], tools);
      return join(thawed, await application.thaw(token));
    },
    ...(application.openStop === undefined
      ? {}
      : {
          openStop: async (token: HoldToken, budgetMs: number) => {
            const session = await application.openStop?.(token, budgetMs);
            if (session === undefined) throw new Error(`${application.engine} lost its openStop`);
            return wrap(session, token, tools);
          },
        }),
  };
  return new Proxy(application, {
    get: (target, key): unknown => {
      if (Object.hasOwn(change, key)) return Reflect.get(change, key);
      const value: unknown = Reflect.get(target, key);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

function wrap(inner: HoldSession, token: HoldToken, tools: Tools): HoldSession {
  const all = token.fileSystems ?? [];
  if (all.length === 0) return inner;
  return {
    ...(inner.patience === undefined ? {} : { patience: inner.patience }),
    observe: () => inner.observe(),
    close: () => inner.close(),
    async prepare() {
      await inner.prepare();
      for (const { mountPoint } of all) {
        await tools.exec.check({ argv: ['sync', '-f', mountPoint], timeoutMs: syncMs });
      }
    },
    async freeze() {
      const answer = await inner.freeze();
      return answer.frozen ? await freezeAll(answer, all, tools) : answer;
    },
    async ask() {
      const [answer, probes] = await Promise.all([inner.ask(), Promise.all(all.map((each) => probe(each, tools)))]);
      const lost = probes.find(({ state }) => state !== 'frozen');
      return {
        ...answer,
        frozen: answer.frozen && lost === undefined,
        said: [answer.said, ...probes.map(({ said }) => said)].join('; '),
        at: tools.clock.now(),
        spans: [...answer.spans, ...probes.flatMap(({ spans }) => spans)],
      };
    },
    async thaw() {
      const thawed = await thawAll(all, tools);
      return join(thawed, await inner.thaw());
    },
  };
}

/** One that cannot be frozen fails the freeze; the thaw that follows ends the others. */
async function freezeAll(answer: FreezeAnswer, all: readonly FrozenFileSystem[], tools: Tools): Promise<FreezeAnswer> {
  for (const each of all) await assertSame(each);
  const results = await Promise.all(
    all.map(({ mountPoint }) => tools.exec.run({ argv: ['fsfreeze', '-f', mountPoint], timeoutMs: freezeMs })),
  );
  const spans = [...answer.spans, ...results.map(spanOf)];
  const failed = results.find(({ exitCode }) => exitCode !== 0);
  if (failed !== undefined) {
    const said = `${failed.argv.join(' ')} failed: ${failed.stderr.trim()}`;
    return { ...answer, frozen: false, said: `${answer.said}; ${said}`, at: tools.clock.now(), spans };
  }
  const said = `${answer.said}; frozen: ${all.map(({ mountPoint }) => mountPoint).join(', ')}`;
  return { ...answer, said, at: tools.clock.now(), spans };
}

async function assertSame(each: FrozenFileSystem): Promise<void> {
  const { dev } = await stat(each.mountPoint, { bigint: true });
  if (String(dev) === each.device) return;
  throw new StillpointError('freeze-failed', `another file system is mounted at ${each.mountPoint} than before`, {
    hint: 'run the backup again',
  });
}

interface Thawed {
  readonly thawed: boolean;
  /** Every one of them was frozen until now. */
  readonly held: boolean;
  readonly said: readonly string[];
  readonly spans: readonly CommandSpan[];
}

/** All of them, whatever becomes of one. Never throws: this is called by whoever thaws after a failure. */
async function thawAll(all: readonly FrozenFileSystem[], tools: Tools): Promise<Thawed> {
  const each = await Promise.all(all.map((one) => thawOne(one, tools)));
  return {
    thawed: each.every(({ thawed }) => thawed),
    held: each.every(({ held }) => held),
    said: each.flatMap(({ said }) => said),
    spans: each.flatMap(({ spans }) => spans),
  };
}

async function thawOne(each: FrozenFileSystem, tools: Tools): Promise<Thawed> {
  const nothing = { held: false, spans: [] };
  if (each.bootId !== bootId())
    return { ...nothing, thawed: true, said: [`${each.mountPoint} was frozen before the last boot`] };
  const place = await placeOf(each);
  if (place !== undefined) return { ...nothing, thawed: false, said: [place] };
  try {
    const result = await tools.exec.run({ argv: ['fsfreeze', '-u', each.mountPoint], timeoutMs: thawMs });
    const spans = [spanOf(result)];
    if (result.exitCode === 0) return { thawed: true, held: true, said: [`${each.mountPoint} is thawed`], spans };
    // EINVAL is the kernel's word for "not frozen".
    if (result.stderr.includes('Invalid argument'))
      return { thawed: true, held: false, said: [`${each.mountPoint} was not frozen`], spans };
    return { thawed: false, held: false, said: [`fsfreeze -u ${each.mountPoint}: ${result.stderr.trim()}`], spans };
  } catch (error) {
    return { ...nothing, thawed: false, said: [`fsfreeze -u ${each.mountPoint}: ${messageOf(error)}`] };
  }
}

/** Undefined if the same file system is mounted there. A frozen one that was unmounted is frozen when it comes back. */
async function placeOf({ mountPoint, device }: FrozenFileSystem): Promise<string | undefined> {
  try {
    const { dev } = await stat(mountPoint, { bigint: true });
    return String(dev) === device
      ? undefined
      : `another file system is mounted at ${mountPoint}; the one that was frozen cannot be asked`;
  } catch (error) {
    return codeOf(error) === 'ENOENT'
      ? `${mountPoint} is missing; the file system that was frozen there cannot be asked`
      : `${mountPoint} cannot be looked at: ${messageOf(error)}`;
  }
}

function join(fileSystems: Thawed, engine: ThawAnswer): ThawAnswer {
  if (fileSystems.said.length === 0) return engine;
  return {
    ...engine,
    thawed: engine.thawed && fileSystems.thawed,
    heldThroughout: engine.heldThroughout && fileSystems.held,
    said: [...fileSystems.said, engine.said].join('; '),
    spans: [...fileSystems.spans, ...engine.spans],
  };
}

interface Probe extends FreezeStatus {
  readonly spans: readonly CommandSpan[];
}

async function probe(each: FrozenFileSystem, { exec }: Tools): Promise<Probe> {
  const { mountPoint } = each;
  if (each.bootId !== bootId())
    return { state: 'thawed', said: `${mountPoint} was frozen before the last boot`, spans: [] };
  const place = await placeOf(each);
  if (place !== undefined) return { state: 'unknown', said: place, spans: [] };
  try {
    const result = await exec.run({ argv: ['sh', '-c', probeScript, 'probe', mountPoint], timeoutMs: thawMs });
    const spans = [spanOf(result)];
    if (result.exitCode === wasNotFrozen) return { state: 'thawed', said: `${mountPoint} is not frozen`, spans };
    if (result.stderr.includes('Device or resource busy'))
      return { state: 'frozen', said: `${mountPoint} is frozen`, spans };
    return { state: 'unknown', said: `${mountPoint}: ${result.stderr.trim()}`, spans };
  } catch (error) {
    return { state: 'unknown', said: `${mountPoint}: ${messageOf(error)}`, spans: [] };
  }
}

async function statusOf(token: HoldToken, tools: Tools): Promise<readonly FreezeStatus[]> {
  return await Promise.all((token.fileSystems ?? []).map((each) => probe(each, tools)));
}

/** Frozen if anything is; else unknown if anything is. */
function combine(fileSystems: readonly FreezeStatus[], engine: FreezeStatus): FreezeStatus {
  const all = [engine, ...fileSystems];
  const states = new Set(all.map(({ state }) => state));
  const state = states.has('frozen') ? 'frozen' : states.has('unknown') ? 'unknown' : 'thawed';
  return { state, said: all.map(({ said }) => said).join('; ') };
}

function spanOf(result: CommandResult): CommandSpan {
  return { party: 'provider', what: result.argv.join(' '), startMs: result.startedMs, endMs: result.endedMs };
}
