import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../../src/model/errors.ts';
import type { Point } from '../../../src/model/point.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { eventually, processState } from '../stage.ts';
import { Laps } from './laps.ts';
import { Chance } from './random.ts';
import type { Disturbance, RoundsSubject, Term } from './subject.ts';
import { tableOf, type Tally } from './table.ts';
import { failureOf, type Ended, type Flow, Tool } from './tool.ts';

/** Where a flow can be stopped or killed. */
const steps = ['locate', 'choose', 'predict', 'prepare', 'freeze', 'cut', 'thaw', 'judge', 'copy', 'record', 'expire'];
const transitions = steps.flatMap((step) => [`before:${step}`, `after:${step}`]);
/** Without a kill, every so many points are restored and judged. */
const judgedEvery = 5;
/** A machine that is busy with others. Beyond budget and grace of a hold. */
const slackMs = 15_000;

type Own = 'nothing' | 'tool' | 'guard' | 'sentinel';
type Choice = { readonly own: Own; readonly weight: number } | Disturbance;

const ownKinds: readonly Choice[] = [
  { own: 'nothing', weight: 3 },
  { own: 'tool', weight: 3 },
  { own: 'guard', weight: 2 },
  { own: 'sentinel', weight: 1 },
];

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface RoundsOptions {
  readonly seed: number;
  readonly rounds: number;
  /** Only this one. */
  readonly only?: number;
  readonly judgeAll: boolean;
  readonly say: (line: string) => void;
}

export interface RoundsResult {
  readonly tally: Tally;
  readonly table: string;
  /** Empty if all is well. */
  readonly anomalies: readonly string[];
}

/** Backs the subject up again and again while it, and the tool, are disturbed. */
export async function runRounds(subject: RoundsSubject, options: RoundsOptions): Promise<RoundsResult> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-rounds-'));
  // The servers' own user goes through it.
  await chmod(directory, 0o711);
  await using tool = new Tool(directory);
  const rounds = new Rounds(subject, tool, options);
  try {
    await rounds.all();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return {
    tally: rounds.tally(),
    table: tableOf(subject.name, options.seed, rounds.tally()),
    anomalies: rounds.anomalies,
  };
}

class Rounds {
  readonly anomalies: string[] = [];
  readonly #subject: RoundsSubject;
  readonly #tool: Tool;
  readonly #options: RoundsOptions;
  readonly #known = new Set<string>();
  readonly #byKind = new Map<string, number>();
  readonly #count = { rounds: 0, points: 0, judged: 0, unbounded: 0, refused: 0, discarded: 0, failed: 0, killed: 0 };
  readonly #roles = { explained: 0, unexplained: 0, wrong: 0, heldOff: 0 };
  readonly #longest = { holdMs: 0, gapMs: 0, stillMs: 0 };
  /** How long a backup takes here, as the last ones did. */
  #typicalMs = 2_500;
  #now = '';

  constructor(subject: RoundsSubject, tool: Tool, options: RoundsOptions) {
    this.#subject = subject;
    this.#tool = tool;
    this.#options = options;
  }

  tally(): Tally {
    return {
      ...this.#count,
      ...this.#roles,
      byKind: Object.fromEntries(this.#byKind),
      longestHoldMs: this.#longest.holdMs,
      longestGapMs: this.#longest.gapMs,
      longestStillMs: this.#longest.stillMs,
    };
  }

  async all(): Promise<void> {
    await this.#tool.configure(this.#subject.workload(new Chance(this.#options.seed)));
    await this.#tool.initRepository();
    const { rounds, only } = this.#options;
    for (let round = only ?? 0; round < (only === undefined ? rounds : only + 1); round += 1) {
      this.#now = `round ${round}`;
      try {
        await this.#round(round);
      } catch (error) {
        // The cluster is not as it should be: what follows would only tell the same again.
        this.#anomaly(`the round could not be ended: ${error instanceof Error ? error.stack : String(error)}`);
        return;
      }
    }
  }

  #anomaly(said: string): void {
    this.anomalies.push(`${this.#now}: ${said}`);
    this.#options.say(`ANOMALY ${this.#now}: ${said}`);
  }

  async #round(round: number): Promise<void> {
    const chance = new Chance(this.#options.seed * 1_000 + round);
    const choice = chance.weighted<Choice>([...ownKinds, ...this.#subject.disturbances]);
    const kind = 'own' in choice ? choice.own : choice.kind;
    const when = chance.yes(0.5) ? chance.of(transitions as [string, ...string[]]) : chance.between(0, 1.1);
    this.#count.rounds += 1;
    this.#byKind.set(kind, (this.#byKind.get(kind) ?? 0) + 1);
    this.#now = `round ${round}, ${kind} at ${typeof when === 'string' ? when : `${when.toFixed(2)} of a backup`}`;
    await this.#tool.configure(this.#subject.workload(chance));
    const before = await this.#subject.term();
    const beganMs = systemClock.monoMs();
    const ended = await this.#disturbed(choice, when, chance);
    const lap = new Laps(beganMs);
    const tookMs = lap.end('backup');
    if (kind === 'nothing') this.#typicalMs = (3 * this.#typicalMs + tookMs) / 4;
    const explains = 'explains' in choice && choice.explains;
    try {
      await this.#subject.mend();
    } catch (error) {
      // Another primary is the likeliest reason, and must be told as what it is.
      this.#compare(before, await this.#subject.term(), explains);
      throw error;
    }
    lap.end('mend');
    await this.#recover();
    lap.end('recover');
    this.#compare(before, await this.#subject.term(), explains);
    for (const left of [...(await this.#tool.leftovers()), ...(await this.#subject.held(this.#tool.points()))])
      this.#anomaly(`left behind: ${left}`);
    const made = this.#tool.points().filter(({ id }) => !this.#known.has(id));
    this.#outcome(kind, ended, made);
    lap.end('look');
    const calm = 'own' in choice ? { fromMs: beganMs, toMs: systemClock.monoMs() } : undefined;
    if (calm !== undefined) this.#waits(calm);
    for (const point of made) await this.#point(point, calm, kind !== 'nothing');
    lap.end('judge');
    const { code, said } = failureOf(ended);
    const what = made.length > 0 ? `a point of ${made.map(({ member }) => member).join()}` : `${code} ${said}`;
    this.#options.say(`${this.#now}: ${lap.said()}; exit ${ended.exitCode}, ${what.slice(0, 240)}`);
  }

  /** One backup, and what befalls it. */
  async #disturbed(choice: Choice, when: string | number, chance: Chance): Promise<Ended> {
    const tool = this.#tool;
    const own = 'own' in choice ? choice.own : undefined;
    if (own === 'nothing') return await tool.run('backup', 'orders');
    if (own === 'tool') {
      if (typeof when === 'string')
        return await tool.start(['backup', 'orders'], { STILLPOINT_FAULT: `exit:${when}` }).ended;
      const flow = tool.start(['backup', 'orders']);
      await Promise.race([flow.ended, systemClock.sleep(when * this.#typicalMs)]);
      signal(flow, 'SIGKILL');
      return await flow.ended;
    }
    if ((own === 'guard' || own === 'sentinel') && typeof when === 'string') {
      const flow = await this.#standing(when);
      const pid = await tool.helperNow(own);
      if (pid !== undefined) signal({ pid, over: () => false }, 'SIGKILL');
      signal(flow, 'SIGCONT');
      return await flow.ended;
    }
    if (own === 'guard' || own === 'sentinel') {
      const flow = tool.start(['backup', 'orders']);
      const pid = await tool.helper(own, flow);
      await Promise.race([flow.ended, systemClock.sleep(chance.between(0, this.#typicalMs * 0.7))]);
      if (pid !== undefined) signal({ pid, over: () => false }, 'SIGKILL');
      return await flow.ended;
    }
    if (!('act' in choice)) throw new Error('not a disturbance');
    if (typeof when === 'number') {
      const flow = tool.start(['backup', 'orders']);
      await Promise.race([flow.ended, systemClock.sleep(when * this.#typicalMs)]);
      await choice.act(chance);
      return await flow.ended;
    }
    const flow = await this.#standing(when);
    await choice.act(chance);
    signal(flow, 'SIGCONT');
    return await flow.ended;
  }

  /** A backup that stands still at that transition, unless it ended before. */
  async #standing(when: string): Promise<Flow> {
    const flow = this.#tool.start(['backup', 'orders'], { STILLPOINT_FAULT: `stop:${when}` });
    await eventually(async () => flow.over() || (await processState(flow.pid)) === 'T', 120_000);
    return flow;
  }

  async #recover(): Promise<void> {
    const { exitCode, stdout, stderr } = await this.#tool.run('recover');
    if (exitCode !== 0) this.#anomaly(`recover ended with ${exitCode}: ${stdout.slice(-2000)}${stderr.slice(-2000)}`);
  }

  /** Changes in a round in which no member was killed are the tool's doing. */
  #compare(before: Term, after: Term, explains: boolean): void {
    if (before.term === after.term && before.leader === after.leader && before.roles.join() === after.roles.join())
      return;
    this.#roles[explains ? 'explained' : 'unexplained'] += 1;
    const said = `roles were ${before.roles.join(', ')} in ${before.term} and are ${after.roles.join(', ')} in ${after.term}`;
    if (explains) this.#options.say(`${this.#now}: ${said}`);
    else this.#anomaly(`not explained by a kill: ${said}`);
  }

  #outcome(kind: string, ended: Ended, made: readonly Point[]): void {
    const { code, said } = failureOf(ended);
    if (ended.hung) this.#anomaly(`the backup did not end: ${ended.stderr.slice(-2000)}`);
    if (made.length > 1) this.#anomaly(`one backup made ${made.length} points`);
    if (ended.exitCode === null && kind !== 'tool') this.#anomaly('the backup was ended by a signal');
    if (ended.exitCode !== null && ended.exitCode !== 0 && made.length > 0)
      this.#anomaly(`a backup that ended with ${ended.exitCode} (${code}: ${said}) left a point`);
    this.#count.points += made.length;
    if (made.length > 0) return;
    if (ended.exitCode === null) this.#count.killed += 1;
    else if (ended.exitCode === 4) this.#count.refused += 1;
    else if (code === 'verdict-too-weak') this.#count.discarded += 1;
    else if (ended.exitCode === 5 || ended.exitCode === 6) this.#count.failed += 1;
    else this.#anomaly(`no point, and exit code ${ended.exitCode}: ${ended.stderr.slice(-1500)}`);
    if (kind === 'nothing') this.#anomaly(`nothing befell it, and there is no point: ${code} ${said}`);
  }

  /** How long a writer had to wait, where no member was disturbed. */
  #waits({ fromMs, toMs }: Span): void {
    const { witness, budgetMs, stopsWriters } = this.#subject;
    const gapMs = witness.longestGap(fromMs, toMs);
    this.#longest.gapMs = Math.max(this.#longest.gapMs, gapMs);
    const mostMs = (stopsWriters ? budgetMs + 1_000 : 0) + slackMs;
    if (gapMs > mostMs) this.#anomaly(`a writer had to wait ${Math.round(gapMs)} ms`);
  }

  async #point(point: Point, calm: Span | undefined, disturbed: boolean): Promise<void> {
    this.#known.add(point.id);
    if (point.verdict !== 'application-consistent') this.#anomaly(`verdict ${point.verdict}`);
    if (point.hold?.heldThroughout !== true) this.#anomaly('a point whose hold did not last');
    this.#longest.holdMs = Math.max(this.#longest.holdMs, point.hold?.heldMs ?? 0);
    if (!disturbed && !this.#options.judgeAll && this.#count.points % judgedEvery !== 0) return;
    const wrong = await this.#wrongIn(point, calm).catch((error: unknown) => [
      `it could not be judged: ${messageOf(error)}`,
    ]);
    if (wrong.length === 0) return;
    this.#roles.wrong += 1;
    this.#anomaly(`the point of ${point.member} is wrong: ${wrong.join('; ')}`);
  }

  async #wrongIn(point: Point, calm: Span | undefined): Promise<readonly string[]> {
    const target = join(this.#tool.directory, 'restored');
    const restored = await this.#tool.run('restore', point.id, '--target', target);
    try {
      if (restored.exitCode !== 0) return [`restore: ${restored.stdout}${restored.stderr}`];
      const evidence = await this.#tool.evidenceOf(point);
      const member = evidence.cluster?.chosen.member ?? '';
      this.#count.judged += 1;
      if (evidence.cluster?.heldOff === true) this.#roles.heldOff += 1;
      if (calm !== undefined) {
        const stillMs = this.#subject.witness.longestStill(member, calm.fromMs, calm.toMs);
        this.#longest.stillMs = Math.max(this.#longest.stillMs, stillMs);
      }
      const { last, wrong } = await this.#subject.judge(target, member, evidence);
      const least = this.#subject.witness.seenAt(member, this.#subject.certainUntil(evidence));
      if (least === undefined) this.#count.unbounded += 1;
      if (least === undefined || last >= least) return wrong;
      return [...wrong, `its last row is ${last}, and ${member} had ${least} before the cut`];
    } finally {
      await rm(target, { recursive: true, force: true });
    }
  }
}

function signal({ pid, over }: Pick<Flow, 'pid' | 'over'>, which: NodeJS.Signals): void {
  if (over()) return;
  try {
    process.kill(pid, which);
  } catch {
    // It has ended.
  }
}
