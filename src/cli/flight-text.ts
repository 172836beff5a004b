import { commandSpans } from '../model/flight-record.ts';
import type { Evidence } from '../model/evidence.ts';
import type { TogetherEvidence } from '../model/together.ts';

const columns = 60;

interface Row {
  readonly name: string;
  readonly spans: readonly { readonly start: number; readonly end: number }[];
}

/**
 * The flight record as text: every event with its time since the freeze was called, and the hold, the commands of engine and provider,
 * and our own part of it drawn to one scale. Pure.
 */
export function flightLines(evidence: Evidence): readonly string[] {
  const { hold, cut, together } = evidence;
  const zero = hold?.freezeCalled.monoMs ?? together?.saidFreeze.monoMs ?? cut.cuts[0]?.called.monoMs ?? 0;
  const events = evidence.events.toSorted((a, b) => a.at.monoMs - b.at.monoMs);
  const offset = (ms: number): string => `${(ms - zero).toFixed(1).padStart(10)} ms`;
  return [
    together !== undefined
      ? 'flight record of the coordinator, from the word to freeze'
      : hold === null
        ? 'flight record, from the first cut'
        : 'flight record, from the call of the freeze',
    ...events.map((event) => `  ${offset(event.at.monoMs)}  ${event.what}  (${event.by})`),
    '',
    ...picture(evidence, zero),
  ];
}

function picture(evidence: Evidence, zero: number): readonly string[] {
  const hold = evidence.hold;
  const spans = commandSpans(evidence).map((span) => ({ ...span, start: span.startMs, end: span.endMs }));
  const cuts = evidence.cut.cuts.map((cut) => ({ start: cut.called.monoMs, end: cut.fixed.monoMs }));
  const rows: readonly Row[] =
    evidence.together !== undefined
      ? rowsOf(evidence.together)
      : [
          { name: 'held', spans: hold === null ? [] : [{ start: hold.frozen.at.monoMs, end: hold.thawed.at.monoMs }] },
          { name: 'engine', spans: spans.filter((span) => span.party === 'engine') },
          { name: 'provider', spans: spans.filter((span) => span.party === 'provider') },
          { name: 'cut', spans: cuts },
        ];
  const end = Math.max(zero, ...rows.flatMap((row) => row.spans.map((span) => span.end)));
  const perColumn = (end - zero) / columns;
  if (perColumn <= 0) return [];
  const shown = rows.filter((row) => row.spans.length > 0);
  const width = Math.max(8, ...shown.map(({ name }) => name.length));
  return [
    ...shown.map(({ name, spans: drawn }) => `  ${name.padEnd(width)}  ${bar(drawn, zero, perColumn)}`),
    `  ${''.padEnd(width)}  0 ms${`${(end - zero).toFixed(1)} ms`.padStart(columns - 4)}`,
  ];
}

/** Each part from when it was heard to be frozen until it was heard to be thawed: a little later than it was. */
function rowsOf({ parts }: TogetherEvidence): readonly Row[] {
  return parts.map(({ name, heard: { frozen, thawed } }) => ({
    name,
    spans: frozen === undefined || thawed === undefined ? [] : [{ start: frozen.monoMs, end: thawed.monoMs }],
  }));
}

/** Even the shortest span is seen: it fills at least one column. */
function bar(spans: Row['spans'], zero: number, perColumn: number): string {
  const cells = Array.from({ length: columns }, () => '·');
  for (const { start, end } of spans) {
    const from = Math.max(0, Math.min(columns - 1, Math.floor((start - zero) / perColumn)));
    const to = Math.max(from + 1, Math.min(columns, Math.round((end - zero) / perColumn)));
    for (let column = from; column < to; column++) cells[column] = '█';
  }
  return cells.join('');
}
