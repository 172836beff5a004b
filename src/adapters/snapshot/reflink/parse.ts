/** `filefrag FILE...`: lines `m/db: 56640 extents found`. Lines about files that vanished are passed over. */
export function parseExtents(output: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const match of output.matchAll(/^(.+): (\d+) extents? found$/gm)) counts.set(String(match[1]), Number(match[2]));
  return counts;
}
