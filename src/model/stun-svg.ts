import { barsOf, figuresAt, groupsOf, heightOf, placeBars, runsOf, type Figure, type PlacedBar } from './stun-bars.ts';
import { causeNames, overMargin, summarizeStuns, type StunCause, type StunReport, type StunSummary } from './stun.ts';
import { escape, fitted, n, textWidth } from './svg.ts';

interface Scale {
  readonly low: number;
  readonly high: number;
}

const width = 1080;
const left = 76;
/** Right of it only the margin is named, so that no bar can lie under its name. */
const right = width - 132;
const room = { left, right };
const plotHeight = 210;
/** Under the plot: a strip with the causes as letters, two rows of times, air. */
const stripHeight = 16;
const panelHeight = plotHeight + stripHeight + 60;
const mostPanels = 8;
const narrow = 7;

/** Beside the colour, so that it is not the only carrier. */
const letters: Readonly<Record<StunCause, string>> = {
  creation: 'S',
  'creation-memory': 'M',
  consolidation: 'C',
  helper: 'H',
  migration: 'V',
  other: 'O',
};

/**
 * Every stun as a bar in the order of time, on a logarithmic scale against the failover margin, one plot for each machine. Stands
 * alone, light or dark as the viewer prefers. Times in UTC. Pure.
 */
export function stunSvg(reports: readonly StunReport[], detectionMs: number): string {
  const summary = summarizeStuns(reports, detectionMs);
  const shown = reports.slice(0, mostPanels);
  const scale = scaleOf(reports, summary.marginMs);
  const head = heading(reports, summary, detectionMs);
  const legend = drawLegend(summary, head.bottom + 28);
  const top = legend.bottom + 36;
  const step = panelHeight + (reports.length > 1 ? 34 : 0);
  const beyond = reports.length - shown.length;
  const height = top + shown.length * step + (beyond > 0 ? 24 : 0);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>Stuns against a failover margin of ${duration(summary.marginMs)}: ${verdictOf(summary)}</title>`,
    style,
    patterns,
    `<rect class="page" width="${width}" height="${height}"/>`,
    head.svg,
    legend.svg,
    ...shown.map((report, index) => drawPanel(report, scale, summary.marginMs, top + index * step, reports.length > 1)),
    ...(beyond > 0 ? [`<text class="soft" x="24" y="${height - 14}">and ${beyond} more machines</text>`] : []),
    '</svg>',
    '',
  ].join('\n');
}

function verdictOf({ total }: StunSummary): string {
  if (total.count === 0) return 'no stun';
  return total.over === 0 ? 'all below the margin' : `${total.over} of ${total.count} not below the margin`;
}

function heading(
  reports: readonly StunReport[],
  summary: StunSummary,
  detectionMs: number,
): { readonly svg: string; readonly bottom: number } {
  const { total, marginMs } = summary;
  const badge = `${total.over > 0 ? '✕' : '✓'}  ${verdictOf(summary)}`;
  const badgeWidth = textWidth(badge, 13) + 24;
  const end = width - 24;
  const from = Math.min(...reports.map(({ fromMs }) => fromMs));
  const to = Math.max(...reports.map(({ toMs }) => toMs));
  const of = reports.length === 1 ? reports.map(({ machine }) => machine).join('') : `${reports.length} machines`;
  const guessed = reports.some(({ yearGuessed }) => yearGuessed) ? ' · year guessed' : '';
  return {
    svg: [
      `<text class="title" x="24" y="38">${fitted(`Stuns of ${of}`, 20, width - badgeWidth - 72)}</text>`,
      `<g class="${total.over > 0 ? 'bad' : 'good'}"><rect class="badge" x="${n(end - badgeWidth)}" y="18" width="${n(badgeWidth)}" height="28" rx="14"/>`,
      `<text class="on-badge" x="${n(end - badgeWidth / 2)}" y="37" text-anchor="middle">${escape(badge)}</text></g>`,
      `<text class="soft" x="24" y="60">${escape(`${day(from)} ${minute(from)} to ${day(to)} ${minute(to)} UTC${guessed} · bars in the order of time, gaps left out, logarithmic scale`)}</text>`,
      `<text class="figures" x="24" y="84">${[
        pair('stuns', `${total.count}`),
        ...(total.count === 0
          ? []
          : [
              pair('longest', duration(total.longestMs)),
              pair('median', duration(total.p50Ms)),
              pair('99th percentile', duration(total.p99Ms)),
            ]),
        pair('margin', `${duration(marginMs)} of ${duration(detectionMs)}`),
      ].join('\u2002·\u2002')}</text>`,
    ].join('\n'),
    bottom: 84,
  };
}

function pair(name: string, value: string): string {
  return `${name} <tspan class="figure">${value}</tspan>`;
}

function drawLegend({ causes }: StunSummary, y: number): { readonly svg: string; readonly bottom: number } {
  const svg: string[] = [];
  let x = 24;
  let row = y;
  for (const { cause, count, longestMs } of causes) {
    const text = `${causeNames[cause]}: ${count}, longest ${duration(longestMs)}`;
    const needed = 43 + textWidth(text, 12) + 18;
    if (x + needed > width - 24) {
      x = 24;
      row += 24;
    }
    const box = (at: number, fill: string): string =>
      `<rect class="bar" x="${n(at)}" y="${row - 13}" width="18" height="16"/>${fill}`;
    svg.push(
      `<g class="${cause}">${box(x, drawLetter(cause, x + 9, row - 1))}${box(x + 18, `<rect x="${n(x + 18)}" y="${row - 13}" width="18" height="16" fill="url(#stun-${cause})"/>`)}</g>`,
      `<text x="${n(x + 43)}" y="${row}">${text}</text>`,
    );
    x += needed;
  }
  return { svg: svg.join('\n'), bottom: row };
}

/** A logarithm has no place for the margin of a detection time that leaves none. */
const leastDrawnMs = 0.1;

function scaleOf(reports: readonly StunReport[], marginMs: number): Scale {
  const all = [Math.max(marginMs, leastDrawnMs), ...reports.flatMap(({ stuns }) => stuns.map(heightOf))];
  const least = all.reduce((a, b) => Math.min(a, b));
  const most = all.reduce((a, b) => Math.max(a, b));
  // Room below for the shortest bar, above for the name of the longest one.
  return { low: 10 ** Math.floor(Math.log10(least) - 0.2), high: most * (most / least > 100 ? 3 : 2) };
}

function drawPanel(report: StunReport, scale: Scale, marginMs: number, top: number, named: boolean): string {
  const from = named ? top + 20 : top;
  const bottom = from + plotHeight;
  const y = (ms: number): number =>
    bottom - ((Math.log10(ms) - Math.log10(scale.low)) / (Math.log10(scale.high) - Math.log10(scale.low))) * plotHeight;
  const bars = placeBars(barsOf(report.stuns), room, y);
  const folded = bars.reduce((most, { of }) => Math.max(most, of), 0);
  return [
    ...(named ? [`<text class="machine" x="24" y="${top + 4}">${fitted(report.machine, 13, width - 48)}</text>`] : []),
    ...drawScale(scale, y, from, bottom),
    ...groupsOf(bars).map(([first, last]) => {
      const at = first.x - 2;
      return `<rect class="group" x="${n(at)}" y="${from}" width="${n(last.x + last.width + 2 - at)}" height="${plotHeight + stripHeight + 4}"/>`;
    }),
    ...bars.map((bar) => drawBar(bar, bottom, marginMs)),
    ...drawMargin(marginMs, (ms) => y(Math.max(ms, leastDrawnMs))),
    ...figuresAt(bars, marginMs, room, duration).map(drawFigure),
    ...runsOf(bars).map((run) => drawRun(run, bottom + 3)),
    ...drawTimes(groupsOf(bars), bottom + stripHeight + 20),
    ...(bars.length === 0
      ? [
          `<text class="soft" x="${(left + right) / 2}" y="${from + plotHeight / 2}" text-anchor="middle">no stun</text>`,
        ]
      : []),
    ...(folded > 1
      ? [
          `<text class="tick" x="${right + 10}" y="${bottom + 14}">the longest of up</text><text class="tick" x="${right + 10}" y="${bottom + 28}">to ${folded} stuns a bar</text>`,
        ]
      : []),
  ].join('\n');
}

function drawBar({ stun, of, x, y, width: wide }: PlacedBar, bottom: number, marginMs: number): string {
  const over = overMargin(stun, marginMs);
  const shape = `x="${n(x)}" y="${n(y)}" width="${n(wide)}" height="${n(bottom - y)}"`;
  const snapshot = stun.snapshot === undefined ? '' : ` '${stun.snapshot}'`;
  const several = of === 1 ? '' : `, the longest of ${of}`;
  const about = `${duration(stun.durationMs)}, ${causeNames[stun.cause]}${snapshot}, until ${new Date(stun.atMs).toISOString()}${several} (${stun.file}:${stun.line})`;
  // An outline would leave nothing of a narrow bar.
  const cap = over && wide < narrow ? `<rect class="cap" x="${n(x)}" y="${n(y)}" width="${n(wide)}" height="5"/>` : '';
  return `<g class="${stun.cause}${over && wide >= narrow ? ' over' : ''}"><rect class="bar" ${shape}/><rect class="edge" ${shape} fill="url(#stun-${stun.cause})"/>${cap}<title>${escape(about)}</title></g>`;
}

function drawScale(scale: Scale, y: (ms: number) => number, top: number, bottom: number): readonly string[] {
  const first = Math.ceil(Math.log10(scale.low) - 1e-9);
  const count = Math.floor(Math.log10(scale.high)) - first + 1;
  const ticks = Array.from({ length: count }, (_, index) => 10 ** (first + index));
  return [
    ...ticks.map(
      (tick) =>
        `<path class="grid" d="M${left} ${n(y(tick))}H${right}"/><text class="tick" x="${left - 8}" y="${n(y(tick) + 4)}" text-anchor="end">${tick >= 1000 ? `${tick / 1000} s` : `${tick} ms`}</text>`,
    ),
    `<path class="axis" d="M${left} ${top}V${bottom}H${right}"/>`,
  ];
}

function drawMargin(marginMs: number, y: (ms: number) => number): readonly string[] {
  const at = y(marginMs);
  return [
    `<path class="margin-line" d="M${left} ${n(at)}H${right + 4}"/>`,
    `<text class="margin" x="${right + 10}" y="${n(at - 2)}">failover margin</text>`,
    `<text class="margin" x="${right + 10}" y="${n(at + 13)}">${duration(marginMs)}</text>`,
  ];
}

function drawFigure({ text, x, y, over }: Figure): string {
  return `<text class="value${over ? ' hot' : ''}" x="${n(x)}" y="${n(y)}" text-anchor="middle">${text}</text>`;
}

/** The strip below the bars that tells their causes by letters. */
function drawRun([first, last]: readonly [PlacedBar, PlacedBar], y: number): string {
  const { cause } = first.stun;
  const wide = last.x + last.width - first.x;
  const letter = wide < narrow ? '' : drawLetter(cause, first.x + wide / 2, y + 12, wide < 10);
  return `<g class="${cause}"><rect class="bar" x="${n(first.x)}" y="${y}" width="${n(wide)}" height="${stripHeight}"/>${letter}<title>${causeNames[cause]}</title></g>`;
}

function drawLetter(cause: StunCause, x: number, y: number, small = false): string {
  return `<text class="letter${small ? ' small' : ''}" x="${n(x)}" y="${n(y)}" text-anchor="middle">${letters[cause]}</text>`;
}

/** When each group began, where there is room for it. */
function drawTimes(groups: readonly (readonly [PlacedBar, PlacedBar])[], y: number): readonly string[] {
  let free = left - 10;
  return groups.flatMap(([{ stun, x }]) => {
    const from = Math.max(x, left);
    const to = from + textWidth('2000-00-00', 11);
    if (from < free || to > width - 8) return [];
    free = to + 12;
    return [
      `<path class="axis" d="M${n(x)} ${y - 15}v5"/><text class="tick" x="${n(from)}" y="${y + 3}">${minute(stun.atMs, true)}</text><text class="tick" x="${n(from)}" y="${y + 18}">${day(stun.atMs)}</text>`,
    ];
  });
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function minute(ms: number, seconds = false): string {
  return new Date(ms).toISOString().slice(11, seconds ? 19 : 16);
}

/** Three digits that matter, with their unit. */
function duration(ms = 0): string {
  if (ms < 999.5) return `${ms < 99.95 ? Number(ms.toPrecision(3)) : Math.round(ms)} ms`;
  return `${Number((ms / 1000).toPrecision(Math.max(3, Math.ceil(Math.log10(ms / 1000)))))} s`;
}

/** Laid over the colour of the bar. */
const patterns = `<defs>
<pattern id="stun-creation" width="6" height="6" patternUnits="userSpaceOnUse"/>
<pattern id="stun-creation-memory" width="6" height="6" patternUnits="userSpaceOnUse"><path class="ink" d="M-1 1L1 -1M0 6L6 0M5 7L7 5"/></pattern>
<pattern id="stun-consolidation" width="6" height="6" patternUnits="userSpaceOnUse"><path class="ink" d="M0 3H6"/></pattern>
<pattern id="stun-helper" width="6" height="6" patternUnits="userSpaceOnUse"><circle class="dot" cx="3" cy="3" r="1.3"/></pattern>
<pattern id="stun-migration" width="5" height="5" patternUnits="userSpaceOnUse"><path class="ink" d="M2.5 0V5"/></pattern>
<pattern id="stun-other" width="6" height="6" patternUnits="userSpaceOnUse"><path class="ink" d="M0 0L6 6M6 0L0 6"/></pattern>
</defs>`;

const style = `<style>
svg { --page:#fff; --ink:#1c2430; --soft:#5b6675; --line:#d5dbe2; --group:#f4f6f8; --good:#15803d; --bad:#b91c1c; --on:#fff; --over:#fff;
  --creation:#1f6fc4; --memory:#6d42c7; --consolidation:#0f766e; --helper:#a16207; --migration:#be2d7c; --other:#5b6675 }
@media (prefers-color-scheme: dark) { svg { --page:#10151c; --ink:#e6ebf2; --soft:#97a3b3; --line:#2c3744; --group:#171e27; --good:#4ade80; --bad:#f87171;
  --on:#10151c; --over:#10151c; --creation:#6cb0f5; --memory:#b79cf5; --consolidation:#3fc6b6; --helper:#e2b340; --migration:#f472b6; --other:#97a3b3 } }
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink) }
.page { fill: var(--page) } .group { fill: var(--group) } .title { font-size: 20px; font-weight: 600 } .machine { font-size: 13px; font-weight: 600 }
.soft, .tick { fill: var(--soft) } .tick { font-size: 11px } .figures { font-size: 13px; fill: var(--soft) } .figure { font-weight: 600; fill: var(--ink) }
.good { --verdict: var(--good) } .bad { --verdict: var(--bad) } .badge { fill: var(--verdict) } .on-badge { font-size: 13px; font-weight: 600; fill: var(--on) }
.creation { --mark: var(--creation) } .creation-memory { --mark: var(--memory) } .consolidation { --mark: var(--consolidation) }
.helper { --mark: var(--helper) } .migration { --mark: var(--migration) } .other { --mark: var(--other) }
.bar { fill: var(--mark) } .cap { fill: var(--bad) } .over .edge { stroke: var(--bad); stroke-width: 2 } .ink { stroke: var(--over); stroke-width: 1.2; fill: none } .dot { fill: var(--over) }
.letter { font-size: 11px; font-weight: 700; fill: var(--on); paint-order: stroke; stroke: var(--mark); stroke-width: 3px; stroke-linejoin: round }
.small { font-size: 9px }
.grid { stroke: var(--line) } .axis { stroke: var(--soft); fill: none } .margin-line { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 6 4 }
.margin { font-size: 11px; font-weight: 600; fill: var(--bad) }
.value { font-size: 11px; font-weight: 600; paint-order: stroke; stroke: var(--page); stroke-width: 3px; stroke-linejoin: round } .hot { fill: var(--bad) }
</style>`;
