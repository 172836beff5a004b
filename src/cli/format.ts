import { styleText } from 'node:util';

type Colour = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** Colours only where the stream is a terminal that wants them (NO_COLOR, FORCE_COLOR and TERM are respected by Node). */
export type Paint = (colour: Colour, text: string) => string;

export function painter(stream: NodeJS.WriteStream): Paint {
  return (colour, text) => styleText(colour, text, { stream });
}

export const plain: Paint = (_colour, text) => text;

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(value: number): string {
  let left = value;
  let unit = 0;
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit++;
  }
  return `${unit === 0 || left >= 100 ? Math.round(left) : left.toFixed(1)} ${units[unit]}`;
}

export function duration(ms: number): string {
  if (ms < 100) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 100) return unitsOf(minutes, 'min', Math.floor(seconds % 60), 's');
  return unitsOf(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
}

function unitsOf(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return `${large} ${largeUnit}${small === 0 ? '' : ` ${small} ${smallUnit}`}`;
}

/** Local with zone, to the second; `--to` takes it back as it stands. */
export function localTime(rfc3339: string): string {
  const time = new Date(rfc3339);
  if (Number.isNaN(time.getTime())) return 'unknown';
  const offset = -time.getTimezoneOffset();
  const two = (value: number): string => String(value).padStart(2, '0');
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return (
    `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ` +
    `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())} ${zone}`
  );
}

/** Columns as wide as their widest cell. Cells are plain text; `paint` may colour a padded cell, so that widths stay right. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  paint: (cell: string, column: number) => string = (cell) => cell,
  right: ReadonlySet<number> = new Set(),
): readonly string[] {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[], colour: (cell: string, column: number) => string): string =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return colour(right.has(column) ? cell.padStart(width) : cell.padEnd(width), column);
      })
      .join('  ')
      .trimEnd();
  return [line(head, (cell) => cell), ...rows.map((row) => line(row, paint))];
}

/** `name   value`, the names in one column. Empty values are left out; further lines of a value are indented under it. */
export function pairs(list: readonly (readonly [string, string | readonly string[] | undefined])[]): readonly string[] {
  const shown = list.flatMap(([name, value]) => {
    const lines = value === undefined ? [] : typeof value === 'string' ? [value] : value;
    return lines.length === 0 ? [] : [{ name, lines }];
  });
  const width = Math.max(0, ...shown.map(({ name }) => name.length));
  return shown.flatMap(({ name, lines }) =>
    lines.map((text, index) => `  ${(index === 0 ? name : '').padEnd(width)}   ${text}`),
  );
}

/** The nearest of `known` to a mistyped word, if it is near enough to be meant. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const each of known) {
    const distance = editDistance(word.toLowerCase(), each.toLowerCase());
    if (distance < least) {
      least = distance;
      best = each;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_unused, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const cost = a[row - 1] === b[column - 1] ? 0 : 1;
      current.push(
        Math.min((previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, (previous[column - 1] ?? 0) + cost),
      );
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
