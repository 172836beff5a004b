import { play } from './backup.ts';
import type { Kind } from './cluster.ts';
import { planOf, type Plan, type Prediction, type Profile } from './plan.ts';

/** One kind under one profile. */
export interface Row {
  readonly kind: string;
  readonly profile: string;
  runs: number;
  allowed: number;
  refused: number;
  /** Seeded so that a view shows it. */
  unsafe: number;
  unsafeRefused: number;
  /** Seeded so that a view need not show it. */
  hidden: number;
  hiddenRefused: number;
  /** Of the runs with nothing seeded: allowed, or refused although safe by the simulator's own trial. */
  safe: number;
  falseRefusals: number;
  /** Refused, nothing seeded, and this one stun would have gone well: what being careful costs. */
  wellByLuck: number;
  /** Refused, and the roles would have changed. */
  prevented: number;
  /** Allowed, and the roles changed, which they do not without the backup. */
  roleChanges: number;
  /** Allowed, and the others took the member for failed for a while. */
  givenUp: number;
  /** How often each reason was among those of a refusal. */
  readonly reasons: Map<string, number>;
  /** What should never be: the seeds of runs to look at. */
  readonly suspects: { readonly seed: string; readonly why: string }[];
}

const trials = 4;

export function rowOf(kind: Kind, profile: Profile, runs: number, predict?: Prediction): Row {
  const row: Row = {
    kind: kind.name,
    profile: profile.name,
    runs,
    allowed: 0,
    refused: 0,
    unsafe: 0,
    unsafeRefused: 0,
    hidden: 0,
    hiddenRefused: 0,
    safe: 0,
    falseRefusals: 0,
    wellByLuck: 0,
    prevented: 0,
    roleChanges: 0,
    givenUp: 0,
    reasons: new Map(),
    suspects: [],
  };
  for (let run = 0; run < runs; run++)
    count(row, kind, planOf(kind, profile, seedOf(kind, profile, run), predict), seedOf(kind, profile, run));
  return row;
}

function seedOf(kind: Kind, profile: Profile, run: number): string {
  return `${kind.name}/${profile.name}/${run}`;
}

function count(row: Row, kind: Kind, plan: Plan, seed: string): void {
  const { fault } = plan.scenario;
  const played = play(kind, plan, seed, 'ask');
  const refused = played.refusedBy !== undefined;
  if (fault === 'falsely-healthy') {
    row.hidden += 1;
    row.hiddenRefused += Number(refused);
  } else if (fault !== undefined) {
    row.unsafe += 1;
    row.unsafeRefused += Number(refused);
    if (!refused) row.suspects.push({ seed, why: `${fault} was allowed` });
  }
  if (refused) {
    row.refused += 1;
    for (const reason of played.refusedBy) row.reasons.set(reason, (row.reasons.get(reason) ?? 0) + 1);
    countRefused(row, kind, plan, seed, played.refusedBy);
    return;
  }
  row.allowed += 1;
  if (fault === undefined) row.safe += 1;
  if (played.givenUp.includes(played.member ?? '')) {
    row.givenUp += 1;
    if (!plan.scenario.heldOff) row.suspects.push({ seed, why: 'given up' });
  }
  if (played.roleChanges.length === 0 || play(kind, plan, seed, 'watch').roleChanges.length > 0) return;
  row.roleChanges += 1;
  row.suspects.push({ seed, why: `${fault ?? 'nothing seeded'}: ${played.roleChanges.join('; ')}` });
}

function countRefused(row: Row, kind: Kind, plan: Plan, seed: string, reasons: readonly string[]): void {
  const forced = play(kind, plan, seed, 'force');
  const changed = forced.roleChanges.length > 0;
  if (changed && play(kind, plan, seed, 'watch').roleChanges.length === 0) row.prevented += 1;
  if (plan.scenario.fault !== undefined) return;
  if (!changed && forced.givenUp.length === 0) row.wellByLuck += 1;
  if (!isSafe(kind, plan, seed)) return;
  row.safe += 1;
  row.falseRefusals += 1;
  row.suspects.push({ seed, why: `refused by ${reasons.join(', ')}` });
}

/**
 * Whether a backup with nothing seeded should have been allowed: the same cluster bears, several times over, a machine that stands still
 * for twice the worst silence of this profile (stun, hold and the guard's second where the hold counts) and one heartbeat more.
 */
function isSafe(kind: Kind, plan: Plan, seed: string): boolean {
  const { stunMs, holdMs } = plan.worst;
  const worstMs = stunMs + (plan.holdCounts ? holdMs + 1000 : 0);
  const stretched = {
    ...plan,
    stunMs: worstMs * 2 + kind.heartbeatMs(plan.scenario.detectionMs),
    holdMs: 0,
    holdCounts: false,
  };
  for (let trial = 0; trial < trials; trial++) {
    const { roleChanges, givenUp } = play(kind, stretched, `${seed}/trial-${trial}`, 'force');
    if (roleChanges.length + givenUp.length > 0) return false;
  }
  return true;
}

const columns: readonly { readonly title: string; readonly of: (row: Row) => string }[] = [
  { title: 'cluster', of: (row) => row.kind },
  { title: 'stun', of: (row) => row.profile },
  { title: 'runs', of: (row) => String(row.runs) },
  { title: 'allowed', of: (row) => String(row.allowed) },
  { title: 'refused', of: (row) => String(row.refused) },
  { title: 'unsafe refused', of: (row) => `${row.unsafeRefused}/${row.unsafe}` },
  { title: 'hidden refused', of: (row) => `${row.hiddenRefused}/${row.hidden}` },
  { title: 'false refusals', of: (row) => `${row.falseRefusals}/${row.safe}` },
  { title: 'well by luck', of: (row) => String(row.wellByLuck) },
  { title: 'prevented', of: (row) => String(row.prevented) },
  { title: 'given up', of: (row) => String(row.givenUp) },
  { title: 'role changes', of: (row) => String(row.roleChanges) },
];

export function tableOf(rows: readonly Row[]): string {
  return aligned([columns.map(({ title }) => title), ...rows.map((row) => columns.map((column) => column.of(row)))], 2);
}

/** One line for each way to predict stuns, over all its rows. */
export function comparisonOf(ways: readonly { readonly name: string; readonly rows: readonly Row[] }[]): string {
  const lines = ways.map(({ name, rows }) => {
    const sum = (figure: (row: Row) => number): number => rows.reduce((total, row) => total + figure(row), 0);
    return [
      name,
      String(sum((row) => row.runs)),
      String(sum((row) => row.allowed)),
      `${sum((row) => row.falseRefusals)}/${sum((row) => row.safe)}`,
      String(sum((row) => row.givenUp)),
      String(sum((row) => row.roleChanges)),
    ];
  });
  return aligned([['prediction', 'runs', 'allowed', 'false refusals', 'given up', 'role changes'], ...lines], 1);
}

function aligned(lines: readonly (readonly string[])[], left: number): string {
  const widths = (lines[0] ?? []).map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, index) => (index < left ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0)))
        .join('  '),
    )
    .join('\n');
}
