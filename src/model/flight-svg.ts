import type { Evidence } from './evidence.ts';
import { commandSpans, summarizeHold } from './flight-record.ts';
import { judge, type Judgement } from './judge.ts';
import { escape, fitted, n, textWidth } from './svg.ts';
import type { Moment } from './time.ts';
import { skewOf, type TogetherEvidence } from './together.ts';

/** Something drawn in a lane: an event is a dot, a command a bar. Milliseconds of the evidence's monotonic clock. */
interface Mark {
  readonly start: number;
  /** Absent for an event. */
  readonly end?: number;
  readonly label: string;
}

interface Lane {
  readonly name: string;
  /** Whose colours it has; by default those of its name. */
  readonly like?: string;
  readonly marks: readonly Mark[];
}

interface Placed {
  readonly mark: Mark;
  readonly from: number;
  readonly to: number;
  readonly row: number;
  /** Left end of the label, or undefined where there was no room for it. */
  readonly labelAt: number | undefined;
}

interface Window {
  readonly start: number;
  readonly end: number;
  /** Where the axis reads 0. */
  readonly zero: number;
  readonly from: 'freeze' | 'cut' | 'backup';
}

const width = 1080;
const left = 124;
const right = width - 24;
const rowHeight = 18;
const lanePadding = 9;
/** Rows for marks with a name. Events may come by the hundred; volumes are cut at once, and each is worth its row. */
const mostRows = { events: 6, commands: 16 };
const mostReasons = 6;
const labelSize = 11;
const longestLabel = 300;

/**
 * The flight record as a picture that stands alone: what the flow, the guard, the engine, the provider and the canary did around the
 * hold, to one scale in milliseconds from the freeze. Light or dark as the viewer prefers. Judges the evidence anew. Pure.
 */
export function flightRecordSvg(evidence: Evidence): string {
  const window = windowOf(evidence);
  const x = (ms: number): number => left + ((ms - window.start) / (window.end - window.start)) * (right - left);
  const judgement = judge(evidence);
  const head = heading(evidence, judgement);
  const top = head.height + 52;
  const lanes = drawLanes(lanesOf(evidence), window, x, top);
  const bottom = lanes.bottom;
  const height = bottom + 46;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>Flight record of ${escape(evidence.workload)}, ${escape(evidence.runId)}: ${judgement.verdict}</title>`,
    style,
    `<rect class="page" width="${width}" height="${height}"/>`,
    head.svg,
    lanes.stripes,
    ...drawHold(spanOfHold(evidence), x, top, bottom),
    ...drawAxis(window, x, top, bottom),
    ...drawCut(spanOfCut(evidence), window, x, top, bottom),
    ...drawBudget(spanOfHold(evidence), window, x, top, bottom),
    lanes.svg,
    '</svg>',
    '',
  ].join('\n');
}

interface HoldSpan {
  readonly from: number;
  readonly to: number;
  readonly heldThroughout: boolean;
  readonly budgetMs: number;
}

/** Of a group from the word to freeze until the last part was heard to be thawed. */
function spanOfHold({ hold, together }: Evidence): HoldSpan | undefined {
  if (hold !== null) {
    const { heldThroughout, at } = hold.thawed;
    return { from: hold.frozen.at.monoMs, to: at.monoMs, heldThroughout, budgetMs: hold.budgetMs };
  }
  if (together === undefined) return undefined;
  const from = together.saidFreeze.monoMs;
  const heldThroughout = together.parts.every((part) => part.hold?.heldThroughout === true);
  const thawed = together.parts.flatMap((part) => part.heard.thawed?.monoMs ?? []);
  return { from, to: Math.max(from, ...thawed), heldThroughout, budgetMs: together.budgetMs };
}

interface CutSpan {
  readonly called: number;
  readonly fixed: number;
  readonly what: string;
}

function spanOfCut({ cut, together }: Evidence): CutSpan | undefined {
  if (together !== undefined) {
    const called = together.saidCut.monoMs;
    return { called, fixed: called + (skewOf(together) ?? 0), what: ` of ${together.parts.length} parts` };
  }
  if (cut.cuts.length === 0) return undefined;
  return {
    called: Math.min(...cut.cuts.map((each) => each.called.monoMs)),
    fixed: Math.max(...cut.cuts.map((each) => each.fixed.monoMs)),
    what: cut.cuts.length === 1 ? '' : ` of ${cut.cuts.length} volumes`,
  };
}

/** The hold and the cut with a margin; what the flow did long before and after would press them into one pixel. */
function windowOf(evidence: Evidence): Window {
  const { hold, cut, together } = evidence;
  const whole = together === undefined ? undefined : spanOfHold(evidence);
  const cuts = cut.cuts.flatMap(({ called, fixed }) => [called.monoMs, fixed.monoMs]);
  const holds = hold === null ? [] : [hold.freezeCalled.monoMs, hold.frozen.at.monoMs, hold.thawed.at.monoMs];
  if (whole !== undefined) holds.push(whole.from, whole.to);
  if (evidence.online !== undefined) cuts.push(evidence.online.began.monoMs, evidence.online.ended.monoMs);
  // Without a hold and a cut there is no instant to look at: the first event stands in for it.
  const shown = [...holds, ...cuts, ...(holds.length + cuts.length === 0 ? [evidence.events[0]?.at.monoMs ?? 0] : [])];
  const start = Math.min(...shown);
  const end = Math.max(...shown);
  const margin = Math.max((end - start) * 0.08, 0.05);
  return {
    start: start - margin,
    end: end + margin,
    zero: hold?.frozen.at.monoMs ?? start,
    from: hold !== null || whole !== undefined ? 'freeze' : evidence.online === undefined ? 'cut' : 'backup',
  };
}

function lanesOf(evidence: Evidence): readonly Lane[] {
  const events = (by: string): readonly Mark[] =>
    evidence.events
      .filter((event) => event.by === by)
      .map((event) => ({ start: event.at.monoMs, label: event.what }))
      .toSorted((a, b) => a.start - b.start);
  const spans = (party: string): readonly Mark[] =>
    commandSpans(evidence)
      .filter((span) => span.party === party)
      .map((span) => ({
        start: span.startMs,
        end: span.endMs,
        label: `${duration(span.endMs - span.startMs)} · ${span.what}`,
      }))
      .toSorted((a, b) => a.start - b.start);
  if (evidence.together !== undefined) {
    return [
      { name: 'flow', marks: events('flow').filter(({ label }) => label.startsWith('said')) },
      ...partLanes(evidence.together),
    ];
  }
  const sentinel = events('sentinel');
  return [
    { name: 'flow', marks: events('flow') },
    { name: 'guard', marks: events('guard') },
    ...(sentinel.length > 0 ? [{ name: 'sentinel', marks: sentinel }] : []),
    { name: 'engine', marks: [...spans('engine'), ...events('engine')] },
    { name: 'provider', marks: spans('provider') },
    { name: 'canary', marks: events('canary') },
  ];
}

/**
 * What each part did, by its own clock, shifted so that it was told to cut when the word was said: it was told a little later, so all of
 * its lane lies too early by that. A part that is not known of has an empty lane.
 */
function partLanes({ parts, saidCut }: TogetherEvidence): readonly Lane[] {
  return parts.map(({ name, hold }) => {
    if (hold === null) return { name, marks: [] };
    const shift = saidCut.monoMs - hold.toldToCut.monoMs;
    const bar = (from: Moment, to: Moment, what: string): Mark => ({
      start: from.monoMs + shift,
      end: to.monoMs + shift,
      label: `${duration(to.monoMs - from.monoMs)} · ${what}`,
    });
    const marks = [
      bar(hold.toldToFreeze, hold.frozen, 'freeze'),
      bar(hold.cutCalled, hold.cutFixed, 'cut'),
      bar(hold.cutFixed, hold.thawed, 'thaw'),
    ];
    return { name, like: 'engine', marks };
  });
}

const verdictMarks = { 'application-consistent': '✓', 'crash-consistent': '!', unproven: '✕' } as const;

function heading(
  evidence: Evidence,
  { verdict, reasons }: Judgement,
): { readonly svg: string; readonly height: number } {
  const { engine, workload, runId } = evidence;
  const badge = `${verdictMarks[verdict]}  ${verdict}`;
  const badgeWidth = textWidth(badge, 13) + 24;
  const lines = [
    `<text class="title" x="24" y="38">${fitted(workload, 20, width - badgeWidth - 72)}</text>`,
    `<g class="${verdict}"><rect class="badge" x="${n(right - badgeWidth)}" y="18" width="${n(badgeWidth)}" height="28" rx="14"/>`,
    `<text class="on-badge" x="${n(right - badgeWidth / 2)}" y="37" text-anchor="middle">${badge}</text></g>`,
    `<text class="soft" x="24" y="60">${fitted(`${engine.name} ${engine.version} · run ${runId}`, 12, width - 48)}</text>`,
    `<text class="figures" x="24" y="84">${figures(evidence)}</text>`,
  ];
  let y = 84;
  for (const { rule, said } of reasons.slice(0, mostReasons)) {
    y += 20;
    const room = right - 24 - textWidth(rule, 13) - 10;
    lines.push(
      `<text x="24" y="${y}"><tspan class="rule ${verdict}">${escape(rule)}</tspan><tspan class="said" dx="10">${fitted(said, 12, room)}</tspan></text>`,
    );
  }
  if (reasons.length > mostReasons) {
    y += 20;
    lines.push(`<text class="soft" x="24" y="${y}">and ${reasons.length - mostReasons} more</text>`);
  }
  return { svg: lines.join('\n'), height: y };
}

function figures(evidence: Evidence): string {
  const hold = summarizeHold(evidence);
  const { online } = evidence;
  if (online !== undefined)
    return escape(`${online.made} by the engine's own backup${online.dirty ? ', over files copied live' : ''}`);
  if (hold === null) return 'cut without a hold';
  const pair = (name: string, value: string): string => `${name} <tspan class="figure">${value}</tspan>`;
  return [
    pair('held', duration(hold.heldMs)),
    pair('own overhead', duration(hold.overheadMs)),
    pair('budget', duration(hold.budgetMs)),
    pair('cut at', escape(hold.cutAt)),
  ].join('\u2002·\u2002');
}

function drawLanes(
  lanes: readonly Lane[],
  window: Window,
  x: (ms: number) => number,
  top: number,
): { readonly svg: string; readonly stripes: string; readonly bottom: number } {
  const svg: string[] = [];
  const stripes: string[] = [];
  let y = top;
  for (const [number, { name, like, marks }] of lanes.entries()) {
    const seen = marks.filter((mark) => (mark.end ?? mark.start) >= window.start && mark.start <= window.end);
    const placed = place(seen, x);
    const rows = Math.max(1, ...placed.map((each) => each.row + 1));
    const notes = notesOf(marks, placed, window);
    const height = rows * rowHeight + 2 * lanePadding + (notes === '' ? 0 : rowHeight);
    stripes.push(`<rect class="stripe${number % 2}" x="0" y="${y}" width="${width}" height="${height}"/>`);
    svg.push(`<text class="lane" x="24" y="${y + lanePadding + 13}">${fitted(name, 12, left - 32)}</text>`);
    svg.push(...placed.map((each) => drawMark(each, like ?? name, y + lanePadding)));
    if (notes !== '') {
      svg.push(`<text class="note" x="${right}" y="${y + height - lanePadding + 1}" text-anchor="end">${notes}</text>`);
    }
    y += height;
  }
  return { svg: svg.join('\n'), stripes: stripes.join('\n'), bottom: y };
}

/** What the picture leaves out, so that nobody takes it for all. */
function notesOf(marks: readonly Mark[], placed: readonly Placed[], window: Window): string {
  const earlier = marks.filter((mark) => (mark.end ?? mark.start) < window.start).length;
  const later = marks.filter((mark) => mark.start > window.end).length;
  const unnamed = placed.filter((each) => each.labelAt === undefined).length;
  return [
    ...(earlier > 0 ? [`${earlier} earlier`] : []),
    ...(unnamed > 0 ? [`${unnamed} more shown without a name`] : []),
    ...(later > 0 ? [`${later} later`] : []),
  ].join(' · ');
}

/** Each mark goes into the first row that has room for it and its label: inside it, right or left of it. The rest shares a last row. */
function place(marks: readonly Mark[], x: (ms: number) => number): readonly Placed[] {
  const rows = marks.some((mark) => mark.end !== undefined) ? mostRows.commands : mostRows.events;
  const taken: (readonly [number, number])[][] = [];
  const placed = marks.map((mark) => {
    const from = mark.end === undefined ? x(mark.start) - 4 : Math.max(left, x(mark.start));
    const to = mark.end === undefined ? from + 8 : Math.max(from + 3, Math.min(right, x(mark.end)));
    const label = Math.min(longestLabel, textWidth(mark.label, labelSize)) + 6;
    const inside = to - from > label + 6 ? [from + 6] : [];
    for (const at of [...inside, to + 5, from - label]) {
      if (at < left || at + label > right) continue;
      const extent = [Math.min(from, at), Math.max(to, at + label)] as const;
      const free = taken.findIndex((others) => others.every(([a, b]) => extent[1] <= a || extent[0] >= b));
      const row = free === -1 ? taken.length : free;
      if (row === rows) continue;
      taken[row] = [...(taken[row] ?? []), extent];
      return { mark, from, to, row, labelAt: at };
    }
    return { mark, from, to, row: -1, labelAt: undefined };
  });
  return placed.map((each) => (each.row === -1 ? { ...each, row: taken.length } : each));
}

function drawMark({ mark, from, to, row, labelAt }: Placed, lane: string, top: number): string {
  const y = top + row * rowHeight;
  const shape =
    mark.end === undefined
      ? `<circle cx="${n(from + 4)}" cy="${y + 9}" r="4"/>`
      : `<rect x="${n(from)}" y="${y + 2}" width="${n(to - from)}" height="14" rx="${n(Math.min(3, (to - from) / 2))}"/>`;
  const inside = labelAt !== undefined && labelAt > from && labelAt < to;
  const label =
    labelAt === undefined
      ? ''
      : `<text class="${inside ? 'inside' : 'label'}" x="${n(labelAt)}" y="${y + 13}">${fitted(mark.label, labelSize, longestLabel)}</text>`;
  return `<g class="mark ${lane}">${shape}${label}<title>${escape(mark.label)}</title></g>`;
}

function drawHold(
  hold: HoldSpan | undefined,
  x: (ms: number) => number,
  top: number,
  bottom: number,
): readonly string[] {
  if (hold === undefined) return [];
  const from = x(hold.from);
  const to = Math.max(from + 1, x(hold.to));
  const lost = hold.heldThroughout ? '' : ' lost';
  const text = `held ${duration(hold.to - hold.from)}${lost === '' ? '' : ', not throughout'}`;
  return [
    `<g class="hold${lost}"><rect class="held" x="${n(from)}" y="${top - 6}" width="${n(to - from)}" height="${bottom - top + 6}"/>`,
    `<path class="edge" d="M${n(from)} ${bottom}V${top - 14}H${n(to)}V${bottom}"/>`,
    `<text class="hold-label" x="${n(centred((from + to) / 2, text))}" y="${top - 20}" text-anchor="middle">${text}</text></g>`,
  ];
}

function drawCut(
  cut: CutSpan | undefined,
  window: Window,
  x: (ms: number) => number,
  top: number,
  bottom: number,
): readonly string[] {
  if (cut === undefined) return [];
  const { called, fixed, what } = cut;
  const from = x(called);
  const to = Math.max(from + 2, x(fixed));
  const text = `cut${what}: ${offset(called - window.zero)} to ${offset(fixed - window.zero)}`;
  return [
    `<g class="cut"><rect class="cut-band" x="${n(from)}" y="${top}" width="${n(to - from)}" height="${bottom - top}"/>`,
    `<path class="cut-line" d="M${n(to)} ${top}V${bottom}"/>`,
    `<text class="cut-label" x="${n(centred(to, text))}" y="${bottom + 36}" text-anchor="middle">▲ ${text}</text></g>`,
  ];
}

function drawBudget(
  hold: HoldSpan | undefined,
  window: Window,
  x: (ms: number) => number,
  top: number,
  bottom: number,
): readonly string[] {
  const deadline = (hold?.from ?? Infinity) + (hold?.budgetMs ?? 0);
  if (deadline > window.end) return [];
  return [
    `<g class="budget"><path d="M${n(x(deadline))} ${top - 6}V${bottom}"/>`,
    `<text x="${n(x(deadline) - 5)}" y="${bottom - 6}" text-anchor="end">budget</text></g>`,
  ];
}

function drawAxis(window: Window, x: (ms: number) => number, top: number, bottom: number): readonly string[] {
  const [start, end] = [window.start - window.zero, window.end - window.zero];
  const step = niceStep((end - start) / 10);
  const unit = step >= 1000 ? { ms: 1000, name: 's' } : { ms: 1, name: 'ms' };
  const digits = Math.max(0, Math.ceil(-Math.log10(step / unit.ms) - 1e-9));
  const first = Math.ceil(start / step);
  const count = Math.floor(end / step) - first + 1;
  const ticks = Array.from({ length: count }, (_, each) => (first + each) * step);
  return [
    `<path class="axis" d="M${left} ${bottom}H${right}"/>`,
    ...ticks.map((tick) => {
      const at = n(x(tick + window.zero));
      return `<path class="grid" d="M${at} ${top}V${bottom + 4}"/><text class="tick" x="${at}" y="${bottom + 17}" text-anchor="middle">${(tick / unit.ms).toFixed(digits)}</text>`;
    }),
    `<text class="tick" x="24" y="${bottom + 17}">${unit.name} from ${window.from}</text>`,
  ];
}

/** 1, 2 or 5 times a power of ten, not below `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5].find((factor) => factor * power >= least) ?? 10) * power;
}

/** Keeps a centred text inside the picture. */
function centred(at: number, text: string): number {
  const half = textWidth(text, 12) / 2 + 10;
  return Math.min(right - half, Math.max(24 + half, at));
}

/** Two or three digits that matter, with their unit. */
function duration(ms: number): string {
  if (ms < 999.95) return `${ms.toFixed(ms < 9.995 ? 2 : 1)} ms`;
  return `${(ms / 1000).toFixed(ms < 9995 ? 2 : 1)} s`;
}

function offset(ms: number): string {
  return ms < 0 ? `−${duration(-ms)}` : duration(ms);
}

const style = `<style>
svg { --page:#fff; --stripe:#f4f6f8; --ink:#1c2430; --soft:#5b6675; --line:#d5dbe2; --hold:#3478c6; --held:.13; --cut:#c2410c;
  --flow:#475569; --guard:#6d42c7; --engine:#1f6fc4; --provider:#0f766e; --canary:#a16207; --good:#15803d; --weak:#a16207; --bad:#b91c1c; --on:#fff }
@media (prefers-color-scheme: dark) { svg { --page:#10151c; --stripe:#171e27; --ink:#e6ebf2; --soft:#97a3b3; --line:#2c3744; --hold:#5b9ee6; --held:.18;
  --cut:#fb923c; --flow:#a9b6c6; --guard:#b79cf5; --engine:#6cb0f5; --provider:#3fc6b6; --canary:#e2b340; --good:#4ade80; --weak:#facc15; --bad:#f87171; --on:#10151c } }
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink) }
.page { fill: var(--page) } .stripe0 { fill: var(--stripe) } .stripe1 { fill: none }
.title { font-size: 20px; font-weight: 600 } .soft, .said, .note, .tick { fill: var(--soft) } .note, .tick { font-size: 11px }
.figures { font-size: 13px; fill: var(--soft) } .figure { font-weight: 600; fill: var(--ink) } .lane { font-weight: 600 }
.application-consistent { --verdict: var(--good) } .crash-consistent { --verdict: var(--weak) } .unproven { --verdict: var(--bad) }
.badge { fill: var(--verdict) } .on-badge { font-size: 13px; font-weight: 600; fill: var(--on) } .rule { font-weight: 600; fill: var(--verdict) }
.flow { --mark: var(--flow) } .guard { --mark: var(--guard) } .sentinel { --mark: var(--bad) } .engine { --mark: var(--engine) }
.provider { --mark: var(--provider) } .canary { --mark: var(--canary) }
.mark circle, .mark rect { fill: var(--mark); stroke: var(--page); stroke-width: 1 } .label, .inside { font-size: 11px } .inside { fill: var(--on) }
.label, .note { paint-order: stroke; stroke: var(--page); stroke-width: 3px; stroke-linejoin: round }
.axis { stroke: var(--soft) } .grid { stroke: var(--line); stroke-width: 1 } .edge, .cut-line, .budget path { fill: none; stroke-width: 1.5 }
.held { fill: var(--hold); opacity: var(--held) } .edge { stroke: var(--hold) } .hold-label { font-weight: 600; fill: var(--hold) } .lost { --hold: var(--bad) }
.cut-band { fill: var(--cut); opacity: .12 } .cut-line { stroke: var(--cut) } .cut-label { font-weight: 600; fill: var(--cut) }
.budget path { stroke: var(--bad); stroke-dasharray: 5 4 } .budget text { fill: var(--bad); font-size: 11px; font-weight: 600 }
</style>`;
