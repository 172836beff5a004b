/** What became of the rounds of one subject. */
export interface Tally {
  readonly rounds: number;
  readonly points: number;
  readonly judged: number;
  /** Judged without a row that must be in it, for its member was not looked at in the same life before the cut. */
  readonly unbounded: number;
  readonly refused: number;
  readonly discarded: number;
  readonly failed: number;
  readonly killed: number;
  readonly byKind: Readonly<Record<string, number>>;
  readonly explained: number;
  readonly unexplained: number;
  readonly wrong: number;
  readonly longestHoldMs: number;
  readonly longestGapMs: number;
  readonly longestStillMs: number;
  readonly heldOff: number;
}

const ms = (value: number): string => `${Math.round(value)} ms`;

export function tableOf(name: string, seed: number, tally: Tally): string {
  const rows: readonly (readonly [string, string | number])[] = [
    ['rounds', tally.rounds],
    ['points', tally.points],
    ['  judged by a copy that was started', tally.judged],
    ['  of these without a lower bound', tally.unbounded],
    ['  made while failover was held off', tally.heldOff],
    ['refused', tally.refused],
    ['discarded', tally.discarded],
    ['failed', tally.failed],
    ['ended by the kill', tally.killed],
    ...Object.entries(tally.byKind)
      .toSorted(([one], [other]) => (one < other ? -1 : 1))
      .map(([kind, count]) => [`  ${kind}`, count] as const),
    ['role changes explained by a kill', tally.explained],
    ['role changes not explained', tally.unexplained],
    ['points wrong', tally.wrong],
    ['longest hold of a point', ms(tally.longestHoldMs)],
    ['longest wait of a writer, no member disturbed', ms(tally.longestGapMs)],
    ['longest standstill of a member, none disturbed', ms(tally.longestStillMs)],
  ];
  const width = Math.max(...rows.map(([what]) => what.length));
  return [`${name}, seed ${seed}`, ...rows.map(([what, value]) => `${what.padEnd(width)}  ${value}`)].join('\n');
}
