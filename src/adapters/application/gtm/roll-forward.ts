import { createReadStream, existsSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { StillpointError } from '../../../model/errors.ts';
import type { RecoveryTarget } from '../../../model/journal.ts';
import type { Finding } from '../../../model/point.ts';
import type { Copy } from '../../../ports/application.ts';
import type { PlacedJournal } from '../../../ports/journals.ts';
import type { Platform } from '../../../ports/module.ts';
import { environmentOf, isolatedArgv, mupipArgv } from './commands.ts';
import type { GtmConfig } from './config.ts';
import { cleanFile, type CopyFiles, filesOf, isolatedGtm, makeGlobalDirectory, unfreezeCopy } from './copy.ts';
import { complaintOf, type Gtm, wentWell } from './engine.ts';
import { longestList, readHeaders } from './headers.ts';
import { beforeTime } from './parse-journal.ts';
import { parseMessages } from './parse.ts';

const recoverMs = 24 * 3_600_000;

interface Request {
  readonly copy: Copy;
  readonly files: readonly PlacedJournal[];
  readonly target: RecoveryTarget;
  readonly signal: AbortSignal;
}

/**
 * One `mupip journal -recover -forward` for all regions: only so does it see that a transaction over two regions is there in one and
 * missing in the other, and leaves it out. `-nochain` keeps it from looking for older files under the names that the originals have.
 */
export async function rollForward(
  config: GtmConfig,
  platform: Platform,
  request: Request,
): Promise<readonly Finding[]> {
  const { copy, files, signal } = request;
  const there = filesOf(copy);
  const local = isolatedGtm(copy, config, platform, join(copy.scratch, 'roll.gld'));
  const gtm = local.at({ variables: { ...local.place.variables, TZ: 'UTC' } });
  const behind = notJournaled(copy, there, files);
  await makeGlobalDirectory(gtm, there, there.globalDirectory, gtm.place.globalDirectory);
  for (const region of there.regions) {
    const cleaned = await cleanFile(gtm, region, signal);
    if ('failed' in cleaned) throw misfit(`region ${region.name} of the copy cannot be opened: ${cleaned.failed}`);
  }
  const thawed = await unfreezeCopy(gtm, there, signal);
  if (!wentWell(thawed)) throw misfit(`the copy cannot be thawed: ${complaintOf(thawed)}`);
  const redirect = await redirectsOf(gtm, there, files, signal);
  const names = await place(copy, files);
  const lost = join(copy.scratch, 'lost-transactions');
  const broken = join(copy.scratch, 'broken-transactions');
  const until = endOf(request.target, files);
  const argv = mupipArgv(gtm.place.distribution, [
    'journal',
    '-recover',
    '-forward',
    '-nochain',
    ...(redirect.length === 0 ? [] : [`-redirect=${redirect.join(',')}`]),
    ...(until === undefined ? [] : [`-before="${beforeTime(until)}"`]),
    `-losttrans=${lost}`,
    `-brokentrans=${broken}`,
    names.join(','),
  ]);
  const result = await platform.exec.run({
    argv: isolatedArgv(argv, process.getuid?.() === 0),
    env: environmentOf(gtm.place),
    cwd: journalsIn(copy),
    timeoutMs: recoverMs,
    signal,
  });
  signal.throwIfAborted();
  const messages = parseMessages(`${result.stdout}\n${result.stderr}`);
  const bad = messages.filter((each) => /[EF]/.test(each.severity));
  const recovered = messages.some((each) => each.mnemonic === 'JNLSUCCESS' && each.said.startsWith('Recover'));
  if (result.exitCode !== 0 || bad.length > 0 || !recovered) {
    const said = bad.map((each) => `%GTM-${each.severity}-${each.mnemonic}, ${each.said}`).join('; ');
    throw misfit(said === '' ? `mupip journal -recover ended with ${result.exitCode ?? result.killedBy}` : said);
  }
  const said = `${files.length} journal files of ${there.regions.length} regions${until === undefined ? '' : `, up to and with ${until.toISOString().slice(0, 19)}Z`}`;
  return [
    { severity: 'info', check: 'roll-forward', said },
    ...behind,
    ...(await leftOut(broken, 'broken-transactions', 'that are whole in no region or not in all of their regions')),
    ...(await leftOut(lost, 'lost-transactions', 'that follow a broken one')),
  ];
}

/** Without any file of one region, mupip would not notice that transactions lack their other half. */
function notJournaled(copy: Copy, there: CopyFiles, files: readonly PlacedJournal[]): readonly Finding[] {
  const { journals } = copy.facts;
  const journaled: Record<string, string> = JSON.parse(journals ?? '{}');
  const given = new Set(files.map(({ file }) => file.part));
  const missing = there.regions.filter((region) => !given.has(region.name)).map((region) => region.name);
  const lacking = missing.filter((name) => journals === undefined || journaled[name] !== undefined);
  if (lacking.length > 0 || given.size === 0)
    throw misfit(`no journal file was given for region ${lacking.join(', ')}`);
  return missing.map((name) => ({
    severity: 'warning',
    check: 'roll-forward',
    said: `region ${name} is not journaled and stays as it was backed up`,
  }));
}

async function redirectsOf(
  gtm: Gtm,
  there: CopyFiles,
  files: readonly PlacedJournal[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const redirects: string[] = [];
  for (const region of there.regions) {
    const first = files.find(({ file }) => file.part === region.name);
    if (first === undefined) continue;
    const [header] = await readHeaders(gtm, [first.at], signal);
    if (header === undefined) throw misfit(`${first.file.name} is no journal file`);
    if (header.database !== region.file) redirects.push(`${header.database}=${region.file}`);
  }
  const unfit = redirects.find((each) => /[\s"|]/.test(each) || each.split(/[=,]/).length !== 2);
  if (unfit !== undefined) {
    throw new StillpointError(
      'io',
      `mupip cannot take ${unfit}: there is a blank, comma, equals sign, quotation mark or bar in it`,
      {
        hint: 'choose a target directory without them',
      },
    );
  }
  return redirects;
}

function journalsIn(copy: Copy): string {
  return join(copy.scratch, 'journals');
}

/**
 * Short names for the files, in one directory: mupip cuts its command line without a word, and a list that lost its end would be a
 * recovery to an earlier time that looks like success.
 */
async function place(copy: Copy, files: readonly PlacedJournal[]): Promise<readonly string[]> {
  const names = files.map((_, index) => String(index));
  if (names.join(',').length > longestList) {
    throw misfit(`${files.length} journal files are more than one mupip can take`);
  }
  await mkdir(journalsIn(copy), { recursive: true });
  for (const [index, { at }] of files.entries()) await symlink(at, join(journalsIn(copy), String(index)));
  return names;
}

/** For a file: its part ends with it, the other parts with the second in which it ends. */
function endOf(target: RecoveryTarget, files: readonly PlacedJournal[]): Date | undefined {
  if (target.kind === 'time') return new Date(target.at);
  if (target.kind !== 'file') return undefined;
  const ends = files.filter(({ file }) => file.name === target.name).map(({ file }) => Date.parse(file.endedAt ?? ''));
  if (ends.length === 0) throw misfit(`journal file ${target.name} is not among the files`);
  return new Date(Math.max(...ends));
}

async function leftOut(path: string, check: string, what: string): Promise<readonly Finding[]> {
  if (!existsSync(path)) return [];
  let records = 0;
  // Extract format: a type of two digits, then fields. 05 and 04 are SET and KILL.
  for await (const line of createInterface({ input: createReadStream(path) })) if (/^0[45]\\/.test(line)) records += 1;
  const said = `${records} updates ${what} were left out; they are in ${path}`;
  return records === 0 ? [] : [{ severity: 'warning', check, said, value: records }];
}

function misfit(said: string): StillpointError {
  return new StillpointError('journal-misfit', said, {
    hint: 'the copy is worth nothing now; see stillpoint journal verify, or restore a point as it is',
  });
}
