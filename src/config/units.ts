/** What a text with a unit means, or what is wrong with it as the end of a sentence that begins with the name of the setting. */
export type Parsed = { readonly value: number } | { readonly problem: string };

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1000,
  KB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  TB: 1000 ** 4,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

/** Milliseconds. Units: ms, s, m, h, d; one number, one unit. */
export function parseDuration(text: string): Parsed {
  return parse(text, durationUnits, 's', 'a duration such as 500ms, 5s, 2m or 1h');
}

/** Whole bytes. Decimal (kB, MB, GB, TB) and binary units (KiB, MiB, GiB, TiB). */
export function parseSize(text: string): Parsed {
  const parsed = parse(text, sizeUnits, 'MiB', 'a size such as 64KiB, 10MB or 2GiB');
  return 'value' in parsed ? { value: Math.round(parsed.value) } : parsed;
}

/** What to tell somebody who wrote a number without a unit. */
export function missingUnit(number: string, unit: string): string {
  return `needs a unit, such as ${number}${unit}`;
}

function parse(text: string, units: Readonly<Record<string, number>>, usual: string, what: string): Parsed {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim());
  if (match === null) return { problem: `must be ${what}` };
  const [, number = '', unit = ''] = match;
  if (unit === '') return { problem: missingUnit(number, usual) };
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  if (factor !== undefined) return { value: Number(number) * factor };
  const meant = Object.keys(units).find((each) => each.toLowerCase() === unit.toLowerCase());
  return { problem: meant === undefined ? `must be ${what}` : `must be ${what}; did you mean ${number}${meant}?` };
}

/** The shortest text that `parseDuration` reads as exactly `ms`: `90s`, `1.5ms`. */
export function formatDuration(ms: number): string {
  return format(ms, ['h', 'm', 's'], durationUnits) ?? (ms === 0 ? '0s' : `${ms}ms`);
}

/** The shortest text that `parseSize` reads as exactly `bytes`: `2GiB`, `10MB`, `1001B`. */
export function formatSize(bytes: number): string {
  return format(bytes, ['TiB', 'TB', 'GiB', 'GB', 'MiB', 'MB', 'KiB', 'kB'], sizeUnits) ?? `${bytes}B`;
}

function format(value: number, names: readonly string[], units: Readonly<Record<string, number>>): string | undefined {
  if (value === 0) return undefined;
  for (const name of names) {
    const factor = units[name];
    if (factor !== undefined && value % factor === 0) return `${value / factor}${name}`;
  }
  return undefined;
}
