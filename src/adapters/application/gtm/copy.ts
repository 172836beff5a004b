import { chmod, copyFile, mkdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Copy } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import { type GtmPlace, rundownArguments, segmentCommands } from './commands.ts';
import { type Answer, complaintOf, findDistribution, Gtm, has, type Owner, wentWell } from './engine.ts';
import type { GtmConfig } from './config.ts';
import { type FileHeader, parseFileHeader, parseSegments, type Region } from './parse.ts';

const limitMs = 60_000;

/** A point's regions at the places where the copy has them. */
export interface CopyFiles {
  readonly regions: readonly Region[];
  /** Original path by region. */
  readonly originals: ReadonlyMap<string, string>;
  readonly globalDirectory: string;
  readonly originalGlobalDirectory: string;
}

/** Throws `point-incomplete`. */
export function filesOf(copy: Copy): CopyFiles {
  const { regions, globalDirectory } = copy.facts;
  if (regions === undefined || globalDirectory === undefined) {
    throw new StillpointError('point-incomplete', 'the point names no regions of a GT.M database', {
      hint: 'choose another point: stillpoint points',
    });
  }
  // Written by `locate` of this adapter.
  const originals: Record<string, string> = JSON.parse(regions);
  return {
    regions: Object.entries(originals).map(([name, file]) => ({ name, file: copy.at(file) })),
    originals: new Map(Object.entries(originals)),
    globalDirectory: copy.at(globalDirectory),
    originalGlobalDirectory: globalDirectory,
  };
}

export function distributionFor(copy: Copy, config: GtmConfig): string {
  const known = [config.distribution, copy.facts['distribution']];
  return known.find((each) => each !== undefined && existsSync(join(each, 'mupip'))) ?? findDistribution();
}

/** The engine on a copy, where it can reach nothing of the original. `globalDirectory`: one whose files are the copy's own. */
export function isolatedGtm(
  copy: Copy,
  config: GtmConfig,
  platform: Platform,
  globalDirectory: string,
  owner?: Owner,
): Gtm {
  const place: GtmPlace = {
    distribution: distributionFor(copy, config),
    globalDirectory,
    variables: variablesOf(copy),
    // Shared memory of the replication pool belongs to the living instance.
    replicationInstance: undefined,
    routines: config.routines,
    temporary: copy.scratch,
  };
  return Gtm.isolated(platform, place, owner);
}

/** Undefined if commands on copies can be kept away from the living original here. Touches no database. */
export async function whyNotIsolated(gtm: Gtm, signal: AbortSignal): Promise<string | undefined> {
  const probe = await gtm.xecute('write "here",!', { limitMs, signal });
  signal.throwIfAborted();
  if (wentWell(probe) && probe.stdout.trim() === 'here') return undefined;
  return `without namespaces of its own a copy could harm the living original, so it was not opened: ${complaintOf(probe)}`;
}

function variablesOf(copy: Copy): Readonly<Record<string, string>> {
  const written: Record<string, string> = JSON.parse(copy.facts['environment'] ?? '{}');
  return written;
}

/**
 * A global directory at `to`, made from the one at `from`, whose segments are the copy's files. GDE opens no database. Throws
 * `point-incomplete` if the result does not name exactly the files of the copy: the next command would open the original's.
 */
export async function makeGlobalDirectory(gtm: Gtm, files: CopyFiles, from: string, to: string): Promise<void> {
  if (from !== to) {
    await mkdir(dirname(to), { recursive: true });
    await copyFile(from, to);
    await chmod(to, 0o644);
  }
  const there = gtm.at({ globalDirectory: to });
  const shown = await there.gde(['show -commands'], { limitMs });
  const segments = parseSegments(shown.text);
  const bent = new Map<string, string>();
  for (const region of files.regions) {
    const segment = segments.get(region.name);
    if (segment !== undefined) bent.set(segment, region.file);
  }
  const changed = await there.gde(segmentCommands(bent), { limitMs });
  const seen = (await there.regions({ limitMs })).map((each) => `${each.name} ${each.file}`);
  const wanted = files.regions.map((each) => `${each.name} ${each.file}`);
  if (seen.toSorted().join('\n') !== wanted.toSorted().join('\n')) {
    throw new StillpointError(
      'point-incomplete',
      `the global directory of the copy cannot be bent to its files: ${complaintOf(changed)}`,
      { hint: `see ${to} with GDE`, details: { seen, wanted } },
    );
  }
}

export type Cleaned = { readonly header: FileHeader } | { readonly failed: string };

/**
 * Takes out of a copy's header what belongs to the original: shared memory and semaphores, replication and the absolute path of the
 * living journal, then the freeze. In this order, and in namespaces of its own; `rundown` must be the first command on a copy.
 */
export async function cleanFile(gtm: Gtm, region: Region, signal: AbortSignal): Promise<Cleaned> {
  const limits = { limitMs, signal };
  let header: FileHeader;
  try {
    header = parseFileHeader((await gtm.mupip(['dumpfhead', '-file', region.file], limits)).text);
  } catch (cause) {
    return { failed: messageOf(cause) };
  }
  const steps: readonly (readonly [readonly string[], string])[] = [
    [rundownArguments(region.file), 'MUFILRNDWNSUC'],
    // In one command: -replication=off alone begins a new journal, at the absolute path of the living one.
    ...(header.journaled || header.replicated
      ? [
          [
            ['set', '-file', region.file, ...(header.replicated ? ['-replication=off'] : []), '-journal=disable'],
            'JNLSTATE',
          ] as const,
        ]
      : []),
  ];
  for (const [args, expected] of steps) {
    const answer = await gtm.mupip(args, limits);
    signal.throwIfAborted();
    if (!wentWell(answer) || !has(answer, expected)) return { failed: `mupip ${args[0]}: ${complaintOf(answer)}` };
  }
  return { header };
}

/** After cleanFile of every region. `-override`: the copy may carry the freeze of any uid, and has nobody who could miss it. */
export async function unfreezeCopy(gtm: Gtm, files: CopyFiles, signal: AbortSignal): Promise<Answer> {
  const names = files.regions.map((region) => region.name).join(',');
  return gtm.mupip(['freeze', '-off', '-override', names], { limitMs, signal });
}
