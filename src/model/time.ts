/**
 * One moment, read from two clocks of the same machine at once.
 * `monoMs`: milliseconds of CLOCK_MONOTONIC (fractions down to microseconds). All processes of one boot share it, so spans between
 * the flow's and the guard's moments are meaningful; it never jumps. `wall`: RFC 3339 in UTC, for people and for comparing with
 * file times; it may jump.
 */
export interface Moment {
  readonly monoMs: number;
  readonly wall: string;
}
