import { stunToExpect, type Silence } from '../../src/model/failover-margin.ts';
import type { MemberPolicy } from '../../src/model/choose-member.ts';
import type { Fault, Kind, Scenario } from './cluster.ts';
import { Random } from './random.ts';

/** How long cutting stops a machine, in milliseconds. */
export interface Profile {
  readonly name: string;
  readonly worstMs: number;
  draw(random: Random): number;
}

const uniform = (name: string, least: number, most: number): Profile => ({
  name,
  worstMs: most,
  draw: (random) => random.between(least, most),
});

export const profiles: readonly Profile[] = [
  uniform('none', 0, 0),
  uniform('creation, small', 50, 200),
  uniform('creation, typical', 300, 1000),
  uniform('with memory', 2000, 6000),
  {
    name: 'consolidation',
    worstMs: 12_000,
    // Most of them short, one in a hundred longer than eight seconds: a long tail, cut at both ends.
    draw: (random) => Math.min(12_000, Math.max(1000, Math.exp(Math.log(2000) + 0.6 * random.normal()))),
  },
  uniform('pathological', 10_000, 60_000),
];

/** From what Stillpoint knows of earlier stuns to the stun that it reckons with. */
export type Prediction = (observedMs: readonly number[], boundMs: number | undefined) => number | undefined;

const longestOf = (observed: readonly number[]): number => Math.max(0, ...observed);

/** Ways to predict that were compared; the last one is the rule. */
export const predictions: readonly { readonly name: string; readonly predict: Prediction }[] = [
  { name: 'the last one', predict: (observed) => observed.at(-1) ?? 0 },
  { name: 'longest of the last 10', predict: (observed) => longestOf(observed.slice(-10)) },
  { name: 'longest of the last 10, half as much again', predict: (observed) => longestOf(observed.slice(-10)) * 1.5 },
  {
    name: 'longest of all, 20 at the least',
    predict: (observed) => (observed.length < 20 ? undefined : longestOf(observed)),
  },
  { name: 'the bound and nothing else', predict: (_observed, bound) => bound },
  { name: 'stunToExpect without bounds', predict: (observed) => stunToExpect(observed) },
  { name: 'stunToExpect', predict: stunToExpect },
];

/** What the backup will do and what it will meet. Drawn before there is a world. */
export interface Plan {
  readonly scenario: Scenario;
  readonly policy: MemberPolicy;
  /** Undefined: all. */
  readonly only: string | undefined;
  readonly predicted: Silence;
  readonly holdCounts: boolean;
  readonly stunMs: number;
  readonly holdMs: number;
  readonly worst: { readonly stunMs: number; readonly holdMs: number };
  readonly prepareMs: number;
  readonly budgetMs: number;
  readonly guardLateMs: number;
}

const worstHoldMs = 1000;
const faultPart = 0.4;
const tuned: ReadonlySet<Fault | undefined> = new Set(['lagging-standby', 'lag-unknown']);

export function planOf(kind: Kind, profile: Profile, seed: string, predict: Prediction = stunToExpect): Plan {
  const random = new Random(`${seed}/plan`);
  const wanted = random.chance(faultPart) ? kind.faults[Math.floor(random.next() * kind.faults.length)] : undefined;
  const stuns = profile.worstMs > 0;
  const fresh = wanted === 'stun-unknown' || random.chance(0.25);
  const observed = Array.from({ length: Math.floor(fresh ? random.between(0, 20) : random.between(20, 60)) }, () =>
    profile.draw(random),
  );
  // Whoever has few observations has to give a bound; one of two others does as well.
  const bound = !stuns || (wanted !== 'stun-unknown' && (fresh || random.chance(0.5))) ? profile.worstMs : undefined;
  const hold = (): number => Math.min(worstHoldMs, Math.max(30, Math.exp(Math.log(250) + 0.5 * random.normal())));
  const holdCounts = kind.holdStopsWrites || random.chance(0.2);
  const predicted = {
    stunMs: predict(observed, bound),
    holdMs: holdCounts ? Math.max(...Array.from({ length: 10 }, hold)) : 0,
  };
  const silenceMs = (predicted.stunMs ?? Infinity) + predicted.holdMs;
  const fault =
    silenceMs === 0 && !tuned.has(wanted) ? undefined : stuns || wanted !== 'stun-unknown' ? wanted : undefined;
  const usual = kind.detectionsMs[Math.floor(random.next() * kind.detectionsMs.length)] ?? kind.detectionsMs[0];
  // Half of it is not above the silence that is predicted.
  const small = random.between(0.3, 0.99) * 2 * Math.min(silenceMs, 60_000);
  const variant = Math.floor(random.next() * 60);
  const onStandby =
    fault === 'quorum-lead' ||
    fault === 'lagging-standby' ||
    fault === 'lag-unknown' ||
    fault === 'failover-in-progress';
  const policy = onStandby ? 'standby' : fault === 'other-down' ? 'primary' : choosePolicy(random);
  return {
    scenario: {
      kind: kind.name,
      detectionMs: fault === 'margin-small' ? Math.max(300, small) : usual,
      busy: random.chance(0.5),
      variant,
      heldOff: fault === undefined && kind.canHoldOff && random.chance(0.15),
      fault,
    },
    policy: kind.name === 'galera' ? 'primary' : policy,
    only: onStandby ? 'first' : undefined,
    predicted,
    holdCounts,
    stunMs: profile.draw(random),
    // A cut that hangs: the guard ends the hold.
    holdMs: random.chance(0.05) ? 60_000 : hold(),
    worst: { stunMs: profile.worstMs, holdMs: holdCounts ? worstHoldMs : 0 },
    prepareMs: random.between(500, 5000),
    budgetMs: 5000,
    guardLateMs: random.between(0, 1000),
  };
}

function choosePolicy(random: Random): MemberPolicy {
  const part = random.next();
  return part < 0.55 ? 'prefer-standby' : part < 0.85 ? 'primary' : 'standby';
}
