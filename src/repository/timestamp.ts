const second = 1_000_000_000n;

/** Nanoseconds since 1970 as Go writes them: RFC 3339 in UTC, the fraction without trailing zeros. */
export function formatNs(ns: bigint): string {
  const fraction = ((ns % second) + second) % second;
  const whole = new Date(Number((ns - fraction) / 1_000_000n)).toISOString().slice(0, 19);
  const digits = fraction.toString().padStart(9, '0').replace(/0+$/, '');
  return digits === '' ? `${whole}Z` : `${whole}.${digits}Z`;
}

const rfc3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/** The inverse, for any zone offset. Undefined for anything else, Go's year 1 for "no time" included. */
export function parseNs(text: string): bigint | undefined {
  const match = rfc3339.exec(text);
  if (match === null) return undefined;
  const [, whole, fraction, zone] = match;
  const ms = Date.parse(`${whole}${zone}`);
  if (Number.isNaN(ms)) return undefined;
  return BigInt(ms) * 1_000_000n + BigInt((fraction ?? '').padEnd(9, '0'));
}
