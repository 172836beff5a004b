import type { ClusterMember, ClusterView, Health, Lag } from './cluster.ts';
import { escape } from './svg.ts';

const boxWidth = 260;
const boxHeight = 112;
const gap = 28;
const margin = 24;
const headHeight = 92;
const linkHeight = 74;
const perRow = 4;

/** Not by colour alone. */
const signs: Readonly<Record<Health, string>> = { healthy: '✓', trouble: '!', down: '✕', unknown: '?' };

/**
 * Members and what goes between them: the primary above, everybody else below with its lag, who decides at the right of the heading. Stands
 * alone, light or dark as the viewer prefers. Pure.
 */
export function clusterSvg(view: ClusterView): string {
  const primaries = view.members.filter(({ role }) => isPrimary(role));
  const others = view.members.filter(({ role }) => !isPrimary(role));
  const columns = Math.max(1, Math.min(perRow, Math.max(primaries.length, others.length)));
  const width = Math.max(720, 2 * margin + columns * boxWidth + (columns - 1) * gap);
  const top = headHeight + margin;
  const below = top + (primaries.length === 0 ? 0 : boxHeight + linkHeight);
  const rows = Math.ceil(others.length / perRow);
  const height = below + rows * (boxHeight + gap) + margin;
  const place = (index: number, count: number, y: number): Place => {
    const inRow = Math.min(perRow, count - Math.floor(index / perRow) * perRow);
    const left = (width - inRow * boxWidth - (inRow - 1) * gap) / 2;
    return { x: left + (index % perRow) * (boxWidth + gap), y: y + Math.floor(index / perRow) * (boxHeight + gap) };
  };
  const primary = primaries.length === 1 ? place(0, 1, top) : undefined;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escape(`${view.manager} ${view.name}, epoch ${view.epoch}`)}</title>`,
    style,
    `<rect class="page" width="${width}" height="${height}"/>`,
    ...heading(view, width),
    ...others.flatMap((member, index) => link(member, primary, place(index, others.length, below))),
    ...primaries.flatMap((member, index) => box(member, place(index, primaries.length, top))),
    ...others.flatMap((member, index) => box(member, place(index, others.length, below))),
    '</svg>',
    '',
  ].join('\n');
}

interface Place {
  readonly x: number;
  readonly y: number;
}

function isPrimary(role: ClusterMember['role']): boolean {
  return role === 'primary' || role === 'standalone';
}

function heading({ manager, name, epoch, quorum, failover }: ClusterView, width: number): readonly string[] {
  const asked = quorum.kind === 'none' ? 'nobody is asked' : `${signs[quorum.health]} ${quorum.kind} ${quorum.health}`;
  const after =
    failover.detectionMs === undefined ? 'after a time not known' : `after ${failover.detectionMs / 1000} s`;
  const acts = failover.automatic ? `takes over by itself ${after}` : 'only a person makes another member primary';
  const held = failover.heldOff === true ? '; failover is held off' : '';
  return [
    text(margin, 38, `${manager} ${name}`, 'title', 60),
    text(margin, 62, `epoch ${epoch}`, 'soft', 90),
    text(margin, 84, `${acts}${held}`, 'soft', 90),
    `<g text-anchor="end">${text(width - margin, 38, asked, quorum.kind === 'none' ? 'soft' : quorum.health, 40)}</g>`,
  ];
}

function box(member: ClusterMember, { x, y }: Place): readonly string[] {
  const lead = member.leadsQuorum === true ? ' · leads the quorum' : '';
  return [
    `<g class="${member.health}"><rect class="box" x="${x}" y="${y}" width="${boxWidth}" height="${boxHeight}" rx="8"/>`,
    `<rect class="edge" x="${x}" y="${y}" width="6" height="${boxHeight}" rx="3"/>`,
    text(x + 18, y + 28, `${signs[member.health]} ${member.name}`, 'name', 28),
    text(x + 18, y + 52, `${member.role}${lead}`, 'role', 36),
    text(x + 18, y + 74, member.reported, 'soft', 38),
    text(x + 18, y + 96, worst(member), 'soft', 38),
    '</g>',
  ];
}

function worst({ findings, mayTakeOver, role }: ClusterMember): string {
  const found =
    findings.find(({ severity }) => severity === 'error') ?? findings.find(({ severity }) => severity === 'warning');
  if (found !== undefined) return found.said;
  return mayTakeOver && !isPrimary(role) ? 'may take over' : '';
}

function link(member: ClusterMember, primary: Place | undefined, { x, y }: Place): readonly string[] {
  if (primary === undefined || member.role === 'arbiter') return [];
  const from = { x: primary.x + boxWidth / 2, y: primary.y + boxHeight };
  const to = { x: x + boxWidth / 2, y };
  const broken = member.health === 'healthy' ? '' : ' broken';
  return [
    `<path class="link${broken}" d="M${from.x} ${from.y} C${from.x} ${to.y - 20} ${to.x} ${from.y + 20} ${to.x} ${to.y - 6}"/>`,
    `<path class="tip${broken}" d="M${to.x - 5} ${to.y - 9} l5 8 l5 -8 z"/>`,
    `<g text-anchor="middle">${text(to.x, to.y - 16, `sent ${lagText(member.transfer)}, applied ${lagText(member.apply)}`, 'lag', 44)}</g>`,
  ];
}

/** For people: the figure that says most. */
export function lagText(lag: Lag | undefined): string {
  if (lag === undefined) return '?';
  const { ms, bytes, caughtUp } = lag;
  if (ms !== undefined && ms >= 1000) return `${(ms / 1000).toFixed(1)} s behind`;
  if (caughtUp === true) return 'all';
  if (bytes !== undefined && bytes > 0) return `${bytes} B behind`;
  if (ms !== undefined) return `${Math.round(ms)} ms behind`;
  return caughtUp === false ? 'behind' : '?';
}

function text(x: number, y: number, said: string, kind: string, most: number): string {
  const characters = Array.from(said);
  const shown = characters.length > most ? `${characters.slice(0, most - 1).join('')}…` : said;
  return `<text class="${kind}" x="${x}" y="${y}">${escape(shown)}</text>`;
}

const style = `<style>
svg { --page:#fff; --box:#f4f6f8; --ink:#1c2430; --soft:#5b6675; --line:#94a3b3; --good:#15803d; --weak:#a16207; --bad:#b91c1c }
@media (prefers-color-scheme: dark) { svg { --page:#10151c; --box:#171e27; --ink:#e6ebf2; --soft:#97a3b3; --line:#5b6675; --good:#4ade80; --weak:#facc15; --bad:#f87171 } }
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink) }
.page { fill: var(--page) } .title { font-size: 20px; font-weight: 600 } .soft { fill: var(--soft) } .name { font-size: 16px; font-weight: 600 }
.role { font-weight: 600 } .box { fill: var(--box) } .healthy { --health: var(--good) } .trouble, .unknown { --health: var(--weak) } .down { --health: var(--bad) }
.edge { fill: var(--health) } .healthy .name, .trouble .name, .unknown .name, .down .name, text.healthy, text.trouble, text.unknown, text.down { fill: var(--health) }
.link { fill: none; stroke: var(--line); stroke-width: 2 } .tip { fill: var(--line) } .link.broken { stroke-dasharray: 5 5; stroke: var(--bad) } .tip.broken { fill: var(--bad) }
.lag { font-size: 12px; paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round }
</style>`;
