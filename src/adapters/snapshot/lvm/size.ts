/** How much space a snapshot of an ordinary volume gets. All sizes in bytes. */

const units: Readonly<Record<string, number>> = {
  kB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  TB: 1000 ** 4,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

/** Undefined for what is no size with a unit, or none at all. */
export function parseBytes(text: string): number | undefined {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)$/.exec(text.trim()) ?? [];
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  const bytes = factor === undefined ? 0 : Math.round(Number(number) * factor);
  return bytes > 0 ? bytes : undefined;
}

export const leastBytes = 64 * 1024 * 1024;
const leastShare = 0.1;
/** Writes come in bursts, and the rate was measured for a second only. */
const safety = 2;
/** How long a snapshot has to live if nothing is known. */
export const assumedKeepMs = 30 * 60_000;
/** LVM's default chunk of a snapshot. A smaller one could need more for its index. */
const chunkBytes = 4096;
const indexEntryBytes = 16;

export interface SizeRequest {
  readonly vg: string;
  readonly originBytes: number;
  readonly extentBytes: number;
  readonly configured: number | undefined;
  /** 0 if it was not measured. */
  readonly bytesPerSecond: number;
  readonly keepMs: number | undefined;
}

/** A snapshot of this size cannot run over: every chunk of the origin with its entry in the index, and the header. */
export function wholeBytes(originBytes: number): number {
  const chunks = Math.ceil(originBytes / chunkBytes);
  const index = Math.ceil((chunks * indexEntryBytes) / chunkBytes);
  return (chunks + index + 2) * chunkBytes;
}

function toExtents(bytes: number, extentBytes: number): number {
  return Math.ceil(bytes / extentBytes) * extentBytes;
}

/** What the snapshot must have, and what it should have, both in whole extents and never more than can be used. */
export function wantedBytes(request: SizeRequest): { readonly least: number; readonly wanted: number } {
  const { originBytes, extentBytes, configured, bytesPerSecond, keepMs } = request;
  const fit = (bytes: number): number => toExtents(Math.min(bytes, wholeBytes(originBytes)), extentBytes);
  if (configured !== undefined) return { least: fit(configured), wanted: fit(configured) };
  const least = Math.max(leastBytes, originBytes * leastShare);
  const expected = (bytesPerSecond * (keepMs ?? assumedKeepMs) * safety) / 1000;
  return { least: fit(least), wanted: fit(Math.max(least, expected)) };
}

/**
 * Shares out the free space of each volume group: everybody gets the least, and of what is wanted above that as much as there is.
 * Undefined in the place of a request whose group cannot give even the least to all. `free` is by volume group.
 */
export function shareOut(
  requests: readonly SizeRequest[],
  free: ReadonlyMap<string, number>,
): readonly (number | undefined)[] {
  const sizes = requests.map(wantedBytes);
  const total = (vg: string, of: (size: { least: number; wanted: number }) => number): number =>
    sizes.reduce((sum, size, index) => (requests[index]?.vg === vg ? sum + of(size) : sum), 0);
  return requests.map((request, index) => {
    const size = sizes[index];
    const left = (free.get(request.vg) ?? 0) - total(request.vg, ({ least }) => least);
    if (size === undefined || left < 0) return undefined;
    const extra = total(request.vg, ({ least, wanted }) => wanted - least);
    const share = extra <= left ? 1 : left / extra;
    const given = (size.wanted - size.least) * share;
    return size.least + Math.floor(given / request.extentBytes) * request.extentBytes;
  });
}

export function mib(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}
