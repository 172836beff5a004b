import { overMargin, type Stun } from './stun.ts';
import { textWidth } from './svg.ts';

/** A bar: one stun, or the longest of neighbours where there are more stuns than pixels. */
export interface Bar {
  readonly stun: Stun;
  readonly of: number;
  /** Set off from the bar before it: the machine ran for long in between. */
  readonly apart: boolean;
}

export interface PlacedBar extends Bar {
  readonly x: number;
  readonly y: number;
  readonly width: number;
}

/** Horizontal room for bars, in pixels. */
interface Room {
  readonly left: number;
  readonly right: number;
}

interface Box {
  readonly from: number;
  readonly to: number;
  readonly top: number;
  readonly bottom: number;
}

const mostBars = 280;
/** Stuns further apart are drawn as another group: the time line leaves out the time in between. */
const apartMs = 600_000;
const widest = 30;
const smallestMs = 0.1;
/** A figure further above its bar would seem to be that of a neighbour. */
const furthest = 16;

/** What a logarithm can be taken of. */
export function heightOf({ durationMs }: Stun): number {
  return Math.max(smallestMs, durationMs);
}

/** Where there are too many, neighbours are one bar as high as the longest of them. */
export function barsOf(stuns: readonly Stun[]): readonly Bar[] {
  const each = Math.ceil(stuns.length / mostBars);
  const bars: Bar[] = [];
  let endedMs: number | undefined;
  for (let at = 0; at < stuns.length; at += each) {
    const folded = stuns.slice(at, at + each);
    const stun = folded.reduce((a, b) => (b.durationMs > a.durationMs ? b : a));
    bars.push({ stun, of: folded.length, apart: endedMs !== undefined && stun.atMs - endedMs > apartMs });
    endedMs = stun.atMs;
  }
  return bars;
}

export function placeBars(
  bars: readonly Bar[],
  { left, right }: Room,
  y: (ms: number) => number,
): readonly PlacedBar[] {
  const gaps = bars.filter(({ apart }) => apart).length;
  const room = right - left - 8;
  const gap = gaps === 0 ? 0 : Math.min(26, (room * 0.3) / gaps);
  const step = Math.min(widest + 4, (room - gap * gaps) / Math.max(1, bars.length));
  const space = step > 8 ? 3 : step > 4 ? 1 : 0.3;
  let x = left + 6;
  return bars.map((bar) => {
    if (bar.apart) x += gap;
    const placed = { ...bar, x, y: y(heightOf(bar.stun)), width: step - space };
    x += step;
    return placed;
  });
}

/** First and last bar of each group. */
export function groupsOf(bars: readonly PlacedBar[]): readonly (readonly [PlacedBar, PlacedBar])[] {
  return joined(bars, (_before, bar) => !bar.apart);
}

/** First and last of neighbours with the same cause. */
export function runsOf(bars: readonly PlacedBar[]): readonly (readonly [PlacedBar, PlacedBar])[] {
  return joined(bars, (before, bar) => !bar.apart && before.stun.cause === bar.stun.cause);
}

function joined(
  bars: readonly PlacedBar[],
  together: (before: PlacedBar, bar: PlacedBar) => boolean,
): readonly (readonly [PlacedBar, PlacedBar])[] {
  const all: (readonly [PlacedBar, PlacedBar])[] = [];
  for (const bar of bars) {
    const open = all.at(-1);
    if (open !== undefined && together(open[1], bar)) all[all.length - 1] = [open[0], bar];
    else all.push([bar, bar]);
  }
  return all;
}

function touches(a: Box, b: Box): boolean {
  return a.from < b.to && b.from < a.to && a.top < b.bottom && b.top < a.bottom;
}

export interface Figure {
  readonly text: string;
  /** Its middle, and its base line. */
  readonly x: number;
  readonly y: number;
  readonly over: boolean;
}

/** Figures for the bars over the margin and for the longest of each cause, so far as there is room, the longest first. */
export function figuresAt(
  bars: readonly PlacedBar[],
  marginMs: number,
  { left, right }: Room,
  textOf: (ms: number) => string,
): readonly Figure[] {
  const sorted = bars.toSorted((one, other) => other.stun.durationMs - one.stun.durationMs);
  const first = [...Map.groupBy(sorted, ({ stun }) => stun.cause).values()].flatMap((caused) => caused.slice(0, 1));
  const over = sorted.filter(({ stun }) => overMargin(stun, marginMs));
  const taken: Box[] = [];
  return [...new Set([...first, ...over])].flatMap((bar) => {
    const text = textOf(bar.stun.durationMs);
    const half = textWidth(text, 11) / 2 + 3;
    const x = Math.min(right - half, Math.max(left + half + 2, bar.x + bar.width / 2));
    const near = bars.filter((other) => other.x < x + half && other.x + other.width > x - half);
    const y = near.reduce((least, other) => Math.min(least, other.y), bar.y) - 5;
    const box = { from: x - half, to: x + half, top: y - 11, bottom: y + 3 };
    if (y < bar.y - furthest || taken.some((other) => touches(box, other))) return [];
    taken.push(box);
    return [{ text, x, y, over: overMargin(bar.stun, marginMs) }];
  });
}
