import { readFile, stat } from 'node:fs/promises';
import { StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import type { Volume } from '../../../model/storage.ts';
import { detailOf } from '../../../platform/snapshot-place.ts';
import type { Platform } from '../../../ports/module.ts';
import type { ThickConfig } from './config.ts';
import { listed, originOf } from './lvs.ts';
import { parseWritten, type LogicalVolume } from './parse.ts';
import { mib, parseBytes, shareOut, wantedBytes, type SizeRequest } from './size.ts';
import type { Way } from './way.ts';

const measureMs = 1000;
const check = 'lvm-snapshot-space';
/** What LVM can put a snapshot beside, and what we have thought about. */
const segmentForm = /^(linear|striped|raid\w*|mirror)$/;

export function thickWay(settings: ThickConfig): Way {
  const text = settings.snapshotSize ?? 'auto';
  const configured = text === 'auto' ? undefined : parseBytes(text);
  const requestOf = (origin: LogicalVolume, bytesPerSecond: number, keepMs: number | undefined): SizeRequest => ({
    vg: origin.vgUuid,
    originBytes: origin.bytes,
    extentBytes: origin.extentBytes,
    configured,
    bytesPerSecond,
    keepMs,
  });
  return {
    kind: 'lvm-thick',
    expectedMs: 250,
    runsOver: true,
    whyNot: (origin) => whyNot(origin) ?? (configured === undefined ? whyNoRoom(origin, requestOf) : undefined),
    findings: (group, volumes) => {
      const origins = group.map((volume) => originOf(volumes, volume));
      return spaceFindings(
        origins,
        origins.map((origin) => requestOf(origin, 0, undefined)),
      );
    },
    details: (origin) => ({ snapshotBytes: String(wantedBytes(requestOf(origin, 0, undefined)).least) }),
    async prepare(platform, group, signal, keepMs) {
      const { volumes } = await listed(platform.exec, signal);
      const origins = group.map((volume) => originOf(volumes, volume));
      const rates =
        configured === undefined
          ? await Promise.all(origins.map(({ device }) => writeRate(platform, device, signal)))
          : [];
      const requests = origins.map((origin, index) => requestOf(origin, rates[index] ?? 0, keepMs));
      return sized(platform, group, origins, requests);
    },
    sizeOf: (volume) => detailOf(volume, 'snapshotBytes'),
  };
}

function whyNot({ segmentTypes, attr, name, vg }: LogicalVolume): string | undefined {
  if (!segmentTypes.every((type) => segmentForm.test(type))) return `it is ${segmentTypes.join(' and ')}`;
  return /^[sS]/.test(attr) ? `${vg}/${name} is itself a snapshot` : undefined;
}

/** Without a size that somebody asked for, the next provider gets its chance where there is no room for any. */
function whyNoRoom(
  origin: LogicalVolume,
  requestOf: (origin: LogicalVolume, bytesPerSecond: number, keepMs: number | undefined) => SizeRequest,
): string | undefined {
  const { least } = wantedBytes(requestOf(origin, 0, undefined));
  return origin.vgFreeBytes >= least
    ? undefined
    : `its volume group ${origin.vg} has ${mib(origin.vgFreeBytes)} free, and a snapshot needs ${mib(least)}`;
}

function freeOf(origins: readonly LogicalVolume[]): ReadonlyMap<string, number> {
  return new Map(origins.map((origin) => [origin.vgUuid, origin.vgFreeBytes]));
}

function spaceFindings(origins: readonly LogicalVolume[], requests: readonly SizeRequest[]): readonly Finding[] {
  const shares = shareOut(requests, freeOf(origins));
  const short = new Map<string, LogicalVolume>();
  origins.forEach((origin, index) => {
    if (shares[index] === undefined) short.set(origin.vgUuid, origin);
  });
  return [...short.values()].map((origin) => ({ severity: 'error', check, said: shortage(origin, requests) }));
}

function shortage(origin: LogicalVolume, requests: readonly SizeRequest[]): string {
  const inGroup = requests.filter(({ vg }) => vg === origin.vgUuid).map((request) => wantedBytes(request).least);
  const needed = inGroup.reduce((sum, bytes) => sum + bytes, 0);
  const many = inGroup.length === 1 ? 'a snapshot' : `${inGroup.length} snapshots`;
  return `the volume group ${origin.vg} has ${mib(origin.vgFreeBytes)} free and ${many} of it need ${mib(needed)}: extend it (vgextend), or set snapshotSize`;
}

function sized(
  { log }: Platform,
  group: readonly Volume[],
  origins: readonly LogicalVolume[],
  requests: readonly SizeRequest[],
): readonly Volume[] {
  const shares = shareOut(requests, freeOf(origins));
  return group.map((volume, index) => {
    const [origin, request, bytes] = [origins[index], requests[index], shares[index]];
    if (origin === undefined || request === undefined) throw new Error(`${volume.id} has no origin`);
    if (bytes === undefined) {
      throw new StillpointError('space-short', shortage(origin, requests), {
        hint: 'add a disk to the volume group (vgextend), remove what is not needed there, or set a smaller snapshotSize',
      });
    }
    const { wanted } = wantedBytes(request);
    if (bytes < wanted) {
      const why = `by the present rate of writes it should have ${mib(wanted)}`;
      log.warn(`the snapshot of ${origin.vg}/${origin.name} gets ${mib(bytes)}, all that there is; ${why}`);
    }
    return { ...volume, details: { ...volume.details, snapshotBytes: String(bytes) } };
  });
}

/** Of the whole volume, whoever writes: over about a second. */
async function writeRate({ clock }: Platform, device: string, signal: AbortSignal): Promise<number> {
  const { rdev } = await stat(device);
  // Linux packs both numbers into one (makedev(3)).
  const major = (rdev >> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
  const file = `/sys/dev/block/${major}:${minor}/stat`;
  const start = clock.monoMs();
  const before = parseWritten(await readFile(file, 'utf8'));
  await clock.sleep(measureMs, signal);
  const written = parseWritten(await readFile(file, 'utf8')) - before;
  return (Math.max(0, written) * 1000) / Math.max(1, clock.monoMs() - start);
}
