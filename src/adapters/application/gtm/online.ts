import { createReadStream, statSync } from 'node:fs';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { StillpointError } from '../../../model/errors.ts';
import type { JournalStart, Marks } from '../../../model/journal.ts';
import type { Copy } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import type {
  AppliedLevel,
  OnlineAnswer,
  OnlineBackup,
  OnlineRequest,
  OnlineRun,
  OnlineStream,
} from '../../../ports/online.ts';
import { applyLevel, globalDirectoryStream, modesStream } from './apply.ts';
import { sameFile } from './backup-pipes.ts';
import { type BackupEnd, BackupRun } from './backup-run.ts';
import { stateArguments } from './commands.ts';
import type { GtmConfig } from './config.ts';
import { Gtm, type Limits, unreachable } from './engine.ts';
import { chooseSince, mark, marksOf, type Since } from './marks.ts';
import { type Counters, parseCounters } from './parse-backup.ts';
import type { Region } from './parse.ts';

const askMs = 15_000;

/** `mupip backup -bytestream`, all regions in one command and so at one instant, while users work. */
export class GtmOnline implements OnlineBackup {
  readonly #config: GtmConfig;
  readonly #platform: Platform;

  constructor(config: GtmConfig, platform: Platform) {
    this.#config = config;
    this.#platform = platform;
  }

  async start(request: OnlineRequest): Promise<OnlineRun> {
    const { level, since, signal } = request;
    if (level !== 'full' && since === undefined) {
      throw new StillpointError('level-misfit', `there is nothing that a ${level} backup could go on top of`, {
        hint: 'make a full backup first: stillpoint backup --level full',
      });
    }
    const { gtm, regions, counters } = await seeLive(this.#config, this.#platform, { limitMs: askMs, signal });
    const wanted = level === 'full' ? undefined : since;
    const from = wanted === undefined ? fullOf(counters) : chooseSince(counters, wanted);
    const globalDirectory = join(request.scratch, globalDirectoryStream);
    await copyFile(gtm.place.globalDirectory, globalDirectory);
    const run = await BackupRun.start(
      {
        gtm,
        regions,
        // The record mark is what a cumulative finds its full by. Bytestream backups of any level move the bytestream mark.
        qualifiers: [from.qualifier, ...(wanted === undefined ? ['-record'] : [])],
        scratch: request.scratch,
        signal,
        unchangedAt: (region) => mark(from.from[region] ?? '0x0'),
      },
      this.#platform,
    );
    const modes = JSON.stringify(
      Object.fromEntries(regions.map(({ name, file }) => [name, statSync(file).mode & 0o7777])),
    );
    const beside: readonly OnlineStream[] = [
      { name: globalDirectoryStream, open: () => createReadStream(globalDirectory) },
      { name: modesStream, open: () => Readable.from(Buffer.from(`${modes}\n`), { objectMode: false }) },
    ];
    return {
      streams: [...(wanted === undefined ? beside : []), ...run.streams()],
      finish: async () => {
        const end = await run.end();
        return answerOf(request, { since: wanted, from, regions, end, after: await this.#unmoved(end, from, signal) });
      },
      [Symbol.asyncDispose]: () => run[Symbol.asyncDispose](),
    };
  }

  /**
   * For a region that the engine skipped as unchanged it does not say since when. That is known only if the mark it went by was still the
   * same at the end: another backup could have moved it in between. Marks only ever grow.
   */
  async #unmoved(end: BackupEnd, from: Since, signal: AbortSignal): Promise<(region: string) => boolean> {
    if (end.output.regions.every((each) => each.range !== undefined)) return () => true;
    const { counters } = await seeLive(this.#config, this.#platform, { limitMs: askMs, signal });
    const which = /^-since=(bytestream|record|database)$/.exec(from.qualifier)?.[1];
    if (which !== 'bytestream' && which !== 'record' && which !== 'database') return () => true;
    const now = marksOf(counters, which);
    return (region) => now[region] === from.from[region];
  }

  /**
   * A bytestream backup to nowhere. It flushes the buffers of all regions, for it reads the blocks from the files, switches the journals,
   * and leaves the bytestream mark of each region where the closing incremental finds it exactly.
   */
  async mark(signal: AbortSignal): Promise<Marks> {
    const { counters } = await seeLive(this.#config, this.#platform, { limitMs: askMs, signal });
    const scratch = await mkdtemp(join(tmpdir(), 'stillpoint-gtm-mark-'));
    try {
      await using run = await this.start({
        level: 'incremental',
        since: marksOf(counters, 'current'),
        scratch,
        signal,
      });
      for (const stream of run.streams) await finished(stream.open().resume());
      const answer = await run.finish();
      if (answer.finished) return answer.to;
      throw new StillpointError('command-failed', `the database could not be marked: ${answer.said}`, {
        hint: 'see the operator log of GT.M',
      });
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
  }

  async apply(level: AppliedLevel, copy: Copy, signal: AbortSignal): Promise<void> {
    await applyLevel(this.#config, this.#platform, level, copy, signal);
  }
}

/** The live regions with their counters. Throws `database-unreachable` unless the engine shows every region. */
export async function seeLive(
  config: GtmConfig,
  platform: Platform,
  limits: Limits,
): Promise<{ readonly gtm: Gtm; readonly regions: readonly Region[]; readonly counters: readonly Counters[] }> {
  const gtm = await Gtm.open(config, platform, limits);
  const regions = await gtm.regions(limits);
  const answer = await gtm.dse(stateArguments, limits);
  const shown = parseCounters(answer.text);
  const counters = regions.flatMap((region) => shown.find((each) => each.region === region.name) ?? []);
  if (answer.unfinished || counters.length < regions.length)
    throw unreachable('the counters of a region cannot be read', answer);
  return { gtm, regions, counters };
}

function fullOf(counters: readonly Counters[]): Since {
  const from = Object.fromEntries(counters.map((each) => [each.region, mark(1n)]));
  return { qualifier: '-transaction=1', from };
}

function answerOf(
  request: OnlineRequest,
  about: {
    readonly since: Marks | undefined;
    readonly from: Since;
    readonly regions: readonly Region[];
    readonly end: BackupEnd;
    readonly after: (region: string) => boolean;
  },
): OnlineAnswer {
  const { end, since } = about;
  const from: Record<string, string> = {};
  const to: Record<string, string> = {};
  const said: string[] = [];
  const starts: JournalStart[] = [];
  for (const region of about.regions) {
    const { name } = region;
    const made = end.output.regions.find((each) => sameFile(each.file, region.file));
    if (made === undefined || (made.range === undefined && !about.after(name))) continue;
    const unchanged = about.from.from[name] ?? '0x0';
    const engine = made.range ?? { from: unchanged, to: unchanged };
    const asked = since?.[name];
    // Begun earlier than asked: all that was asked for is in it. Begun later: it does not fit, and the chain shows that.
    from[name] = asked !== undefined && BigInt(engine.from) <= BigInt(asked) ? asked : mark(engine.from);
    to[name] = mark(engine.to);
    said.push(`${name} from ${engine.from} to ${engine.to}, ${made.blocks} blocks`);
    const file = end.output.journals[name];
    if (file !== undefined) starts.push({ part: name, file, position: mark(engine.to) });
  }
  const whole = Object.keys(to).length === about.regions.length && end.exitedWell && end.output.succeeded;
  const sound = whole && !end.complaints.some((each) => /^%GTM-[EF]-/.test(each));
  return {
    finished: sound,
    said: [...said, ...end.complaints, end.output.succeeded ? 'BACKUPSUCCESS' : 'no BACKUPSUCCESS'].join('; '),
    made: request.level,
    from,
    to,
    began: end.began,
    ended: end.fixed,
    starts,
    spans: [{ party: 'engine', what: 'mupip backup', startMs: end.began.monoMs, endMs: end.endMs }],
  };
}
