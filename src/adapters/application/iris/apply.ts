import { chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { Copy } from '../../../ports/application.ts';
import type { AppliedLevel } from '../../../ports/online.ts';
import { withSlash } from './commands.ts';
import { labelScript, restoreScript } from './commands-online.ts';
import type { Control } from './control.ts';
import { databasesIn, sourcesIn } from './locate.ts';
import { isLeftOut } from './online-list.ts';
import { streamName } from './online-run.ts';
import { answersOf, parseAnswers } from './parse.ts';
import { type Label, parseLabel, parseRestore } from './parse-label.ts';
import { judgeIntegrity, parseIntegrity } from './parse-verify.ts';
import { unfit } from './verify.ts';

const questionMs = 60_000;
const restoreMs = 24 * 60 * 60_000;

/** What was put into a copy last, by its labels: the engine itself is not asked whether a level fits. */
interface Applied {
  readonly name: string;
  readonly full: string;
}

/** Puts one level into the copy, by the instance that is there for that. It must not serve anything else. */
export async function applyLevel(
  control: Control,
  level: AppliedLevel,
  copy: Copy,
  signal: AbortSignal,
): Promise<void> {
  const { verify } = control.config;
  if (verify === undefined) {
    throw new StillpointError(
      'method-unsupported',
      'a backup of the engine is restored by an instance, and none is configured for it',
      { hint: 'set application.iris.verify.instance' },
    );
  }
  const objection = await unfit(control, verify.instance, signal);
  if (objection !== undefined) throw new StillpointError('engine-running', objection, { hint: 'use another instance' });
  for (const [instance, databases] of databasesIn(copy.facts)) {
    signal.throwIfAborted();
    const file = level.streams.get(streamName(instance));
    if (file === undefined) throw misfit(`the level holds nothing of ${instance}`);
    await restoreOne({ control, by: verify.instance, copy, level, signal }, instance, databases, file);
  }
}

interface Work {
  readonly control: Control;
  readonly by: string;
  readonly copy: Copy;
  readonly level: AppliedLevel;
  readonly signal: AbortSignal;
}

async function restoreOne(work: Work, instance: string, databases: readonly string[], file: string): Promise<void> {
  const { control, by, copy, signal } = work;
  await assertSeen(control, by, file);
  const answered = await control.script(by, [...labelScript(file), 'halt'], { signal, timeoutMs: questionMs });
  const label = parseLabel(answered);
  if (label?.level === undefined) throw misfit(`${basename(file)} has no label of a backup that ${by} can read`);
  const record = join(copy.scratch, `applied-${instance}.json`);
  assertFits(work, label, await readApplied(record));
  const pairs = pairsOf(copy, instance, databases, label);
  const list = await writeList(copy, instance, pairs);
  for (const { target } of pairs) await mkdir(target, { recursive: true, mode: 0o770 });
  const targets = pairs.map(({ target }) => target);
  if (label.level === 'full') for (const target of targets) await giveToOwner(copy, target);
  const script = restoreScript({ file, list, targets, mount: label.level !== 'full' });
  const output = await control.script(by, script, { signal, timeoutMs: restoreMs });
  assertRestored(by, instance, output, targets);
  const made: Applied = { name: label.name, full: label.level === 'full' ? label.name : `${label.lastFull} Full` };
  await writeFile(record, JSON.stringify(made));
}

/** By the labels, once more: the records of the points said so already. */
function assertFits({ level }: Work, label: Label, applied: Applied | undefined): void {
  if (label.level === 'full') return;
  if (level.level === 'full')
    throw misfit(`a full was expected, and the file holds a ${label.level ?? 'strange'} backup`);
  if (level.dirtySince !== undefined) return;
  if (applied === undefined) throw misfit(`there is nothing that a ${label.level ?? ''} backup could go on top of`);
  if (`${label.lastFull} Full` !== applied.full)
    throw misfit(`it goes on the full of ${label.lastFull}, and the copy is of ${applied.full}`);
  if (label.level === 'incremental' && label.previous !== applied.name) {
    throw misfit(`it goes on the backup of ${label.previous}, and the copy ends with that of ${applied.name}`);
  }
}

async function readApplied(record: string): Promise<Applied | undefined> {
  const text = await readFile(record, 'utf8').catch(() => undefined);
  // Our own file of a few minutes ago.
  return text === undefined ? undefined : (JSON.parse(text) as Applied);
}

interface Pair {
  /** As the backup names it. */
  readonly source: string;
  readonly target: string;
}

function pairsOf(copy: Copy, instance: string, databases: readonly string[], label: Label): readonly Pair[] {
  const sources = sourcesIn(copy.facts).get(instance) ?? [];
  const pairs = databases.flatMap((directory, i): readonly Pair[] => {
    const known = new Set([directory, sources[i] ?? directory].map(plain));
    const source = label.directories.find((each) => known.has(plain(each)));
    if (source !== undefined) return [{ source, target: copy.at(directory) }];
    if (isLeftOut(directory)) return [];
    throw misfit(`the backup of ${instance} holds no database ${directory}`);
  });
  for (const path of pairs.flatMap(({ source, target }) => [source, target])) {
    if (!/[,\n]/.test(path)) continue;
    throw new StillpointError('io', `^DBREST cannot take ${JSON.stringify(path)}: there is a comma in it`, {
      hint: 'choose a target without one',
    });
  }
  return pairs;
}

/** The engine deletes the file, so its user must own the directory that it lies in. */
async function writeList(copy: Copy, instance: string, pairs: readonly Pair[]): Promise<string> {
  const directory = join(copy.scratch, `list-${instance}`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const list = join(directory, 'databases');
  await writeFile(list, pairs.map(({ source, target }) => `${withSlash(source)},${withSlash(target)},Y\n`).join(''));
  await giveToOwner(copy, directory);
  await giveToOwner(copy, list);
  return list;
}

async function giveToOwner({ facts }: Copy, path: string): Promise<void> {
  const { ownerUid, ownerGid } = facts;
  if (process.getuid?.() === 0 && ownerUid !== undefined)
    await chown(path, Number(ownerUid), Number(ownerGid ?? ownerUid));
}

async function assertSeen(control: Control, by: string, file: string): Promise<void> {
  if ((await control.has(dirname(file), basename(file))) === true) return;
  throw new StillpointError('method-unsupported', `the machine of ${by} does not see ${file}`, {
    hint: 'restore where the verify instance sees the target and the state directory, or as its owner (application.iris.user)',
  });
}

/**
 * What ^DBREST returns when all went well is not documented (a negative number when not), so its word alone counts for nothing: each database
 * must be named as restored and as mounted, the engine must say that it is mounted, and its pointers must be sound.
 */
function assertRestored(by: string, instance: string, output: string, targets: readonly string[]): void {
  const answers = parseAnswers(output);
  const returned = answers.get('restore');
  const report = parseRestore(output);
  const reasons: string[] = [...report.complaints];
  if (returned === undefined || !/^\d+$/.test(returned)) {
    reasons.push(`it returned ${returned ?? 'nothing'}`);
  }
  const [restored, mounted] = [new Set(report.restored.map(plain)), new Set(report.mounted.map(plain))];
  for (const target of targets) {
    if (!restored.has(plain(target))) reasons.push(`${target} is not named as restored`);
    if (!mounted.has(plain(target))) reasons.push(`${target} is not named as mounted`);
  }
  const there = answersOf(output, 'mounted').flatMap((each) => (each.startsWith('1=') ? [each.slice(2)] : []));
  const sound = judgeIntegrity(answers.get('integrity'), parseIntegrity(output), targets, there);
  reasons.push(...sound.said);
  if (reasons.length === 0) return;
  throw misfit(`${by} did not restore ${instance}: ${reasons.slice(0, 5).join('; ')}`);
}

function misfit(said: string): StillpointError {
  return new StillpointError('level-misfit', said, { hint: 'choose another point with `stillpoint points`' });
}

function plain(directory: string): string {
  return directory.replace(/(?<=.)\/+$/, '');
}
