interface Sample {
  readonly monoMs: number;
  readonly row: number;
}

/** What was seen of a member, one look after the other. */
export class Samples {
  readonly #all: Sample[] = [];
  /** When lives of its engine ended or began: it may have gone back in what it holds. */
  readonly #breaks: number[] = [];

  newLife(monoMs: number): void {
    this.#breaks.push(monoMs);
  }

  /** Looks that saw the same are kept as the first and the last of them. */
  add(row: number, monoMs: number): void {
    const [before, last] = this.#all.slice(-2);
    if (before?.row === row && last?.row === row && !this.#broken(before.monoMs, monoMs)) this.#all.pop();
    this.#all.push({ row, monoMs });
  }

  /** Newest row at or before that time; undefined if nobody looked since the life of then began. */
  at(monoMs: number): number | undefined {
    const found = this.#all.findLast((each) => each.monoMs <= monoMs);
    return found === undefined || this.#broken(found.monoMs, monoMs) ? undefined : found.row;
  }

  newest(): Sample {
    return this.#all.at(-1) ?? { row: 0, monoMs: 0 };
  }

  /** The longest time in which only the same was seen, again and again. */
  longestStill(fromMs: number, toMs: number): number {
    let longest = 0;
    let first: Sample | undefined;
    for (const each of this.#within(fromMs, toMs)) {
      if (first === undefined || each.row !== first.row || this.#broken(first.monoMs, each.monoMs)) first = each;
      longest = Math.max(longest, each.monoMs - first.monoMs);
    }
    return longest;
  }

  /** The longest time without a look. */
  longestGap(fromMs: number, toMs: number): number {
    let [longest, since] = [0, fromMs];
    for (const { monoMs } of this.#within(fromMs, toMs)) {
      longest = Math.max(longest, monoMs - since);
      since = monoMs;
    }
    return Math.max(longest, toMs - since);
  }

  /** What is older is not asked for any more. */
  forget(beforeMs: number): void {
    const from = this.#all.findLastIndex((each) => each.monoMs < beforeMs);
    if (from > 0) this.#all.splice(0, from);
    const dead = this.#breaks.findLastIndex((each) => each < beforeMs);
    if (dead > 0) this.#breaks.splice(0, dead);
  }

  #within(fromMs: number, toMs: number): readonly Sample[] {
    return this.#all.filter(({ monoMs }) => monoMs >= fromMs && monoMs <= toMs);
  }

  #broken(fromMs: number, toMs: number): boolean {
    return this.#breaks.some((each) => each > fromMs && each <= toMs);
  }
}
