import { join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { Marks } from '../../../model/journal.ts';
import type { Moment } from '../../../model/time.ts';
import type { Copy } from '../../../ports/application.ts';
import type { AppliedLevel, OnlineAnswer, OnlineBackup, OnlineRequest, OnlineRun } from '../../../ports/online.ts';
import { applyLevel } from './apply.ts';
import { clearScript, externalScript, flagScript, labelScript, memoryScript, sizeScript } from './commands-online.ts';
import type { Control } from './control.ts';
import { madeOf, type Result, resultOf, type Target } from './online-answer.ts';
import { chooseLevel, describe, readDirtyMark, readMark, unprovenSince, writeDirtyMark } from './online-chain.ts';
import { assertListed, type Needed, neededOf } from './online-list.ts';
import { type BackupPlace, makePlace, refuseFull, removePlace } from './online-place.ts';
import { type Finished, IrisRun, jobOf } from './online-run.ts';
import { answersOf, parseAnswers } from './parse.ts';
import { type Memory, parseLabel, parseMemory } from './parse-label.ts';
import { parseBackupSize } from './parse-online.ts';
import { placesOf } from './places.ts';
import { ask, assertFit, objections } from './questions.ts';

const questionMs = 60_000;
const sizeMs = 300_000;

/** `BACKUP^DBACK` of each instance, while users work. The engine counts nothing that it would tell, so each level is found by its description. */
export class IrisOnline implements OnlineBackup {
  readonly #control: Control;
  readonly #workload: string;

  constructor(control: Control, workload: string) {
    this.#control = control;
    this.#workload = workload;
  }

  async start(request: OnlineRequest): Promise<OnlineRun> {
    const { level, since, signal } = request;
    if (level !== 'full' && since === undefined) {
      throw misfit(`there is nothing that a ${level} backup could go on top of`);
    }
    const names = await this.#fit(signal);
    const place = await makePlace(this.#control, this.#workload, signal);
    try {
      const targets: Target[] = [];
      for (const name of names) targets.push(await this.#target(name, place, request));
      await this.#refuseFull(place, targets, signal);
      const ready = await Promise.all(targets.map(async (target) => this.#closeCopy(target, place, signal)));
      const began = this.#control.platform.clock.now();
      const jobs = ready.map((target) => jobOf(place, target.name, target.level));
      return new IrisRun(this.#control, place, jobs, signal, async (finished) =>
        this.#conclude(request, place, ready, { began, finished }),
      );
    } catch (cause) {
      await removePlace(this.#control, place).catch(() => undefined);
      throw cause;
    }
  }

  /** Every reason not to begin that an instance itself gives. */
  async #fit(signal: AbortSignal): Promise<readonly string[]> {
    const instances = await this.#control.wanted(signal);
    for (const instance of instances) {
      assertFit(instance);
      const places = await placesOf(this.#control, instance);
      const answers = await ask(this.#control, places, signal);
      // A backup freezes nothing for long: neither the limit nor databases without a journal are in its way.
      const config = { ...this.#control.config, requireSuspendLimit: false };
      const [objection] = objections(places, { ...answers, notJournaled: [] }, config);
      if (objection !== undefined) throw objection;
    }
    return instances.map((each) => each.name);
  }

  async #target(name: string, place: BackupPlace, request: OnlineRequest): Promise<Target> {
    const { level, since, signal } = request;
    const needed = await neededOf(this.#control, name, signal);
    await assertListed(this.#control, name, needed, join(place.directory, `${name}.list`), signal);
    const memory = await this.#memory(name, signal);
    if (memory.aborting) {
      throw new StillpointError('workload-busy', `a backup of ${name} is being aborted`, {
        hint: 'wait for its end, or let `ClearAbortStatus` of Backup.General end a flag that was left over',
      });
    }
    if (level === 'full' || since === undefined) return { name, needed, level: 'full' };
    const text = since[name];
    if (text === undefined) throw misfit(`the level below holds nothing of ${name}`);
    const begin = readDirtyMark(text);
    if (begin !== undefined) {
      const why = unprovenSince(begin, memory);
      if (why !== undefined) throw misfit(`the live copy of ${name} cannot be closed: ${why}`);
      return { name, needed, level, dirty: { begin, end: { id: place.id, index: 0 } } };
    }
    const below = readMark(text);
    if (below === undefined) throw misfit(`${JSON.stringify(text)} is no mark of a backup of ${name}`);
    const choice = chooseLevel(level, below, memory);
    if ('misfit' in choice) throw misfit(`${name}: ${choice.misfit}`);
    return { name, needed, below, ...choice, flagged: await this.#flagged(name, needed, signal) };
  }

  /** Only to say later why a full was made: the engine goes by its flags itself. */
  async #flagged(name: string, needed: readonly Needed[], signal: AbortSignal): Promise<readonly string[]> {
    const script = flagScript(needed.map(({ directories }) => directories[0] ?? ''));
    const output = await this.#control.script(name, [...script, 'halt'], { signal, timeoutMs: questionMs });
    return answersOf(output, 'flag').flatMap((each) => (each.startsWith('1=') ? [each.slice(2)] : []));
  }

  async #memory(name: string, signal: AbortSignal): Promise<Memory> {
    const output = await this.#control.script(name, [...memoryScript(), 'halt'], { signal, timeoutMs: questionMs });
    const answers = parseAnswers(output);
    return answers.has('full') && answers.has('abort') ? parseMemory(output) : this.#control.refuse(name, output);
  }

  async #refuseFull(place: BackupPlace, targets: readonly Target[], signal: AbortSignal): Promise<void> {
    let bytes = 0;
    for (const { name, level } of targets) {
      const output = await this.#control.script(name, sizeScript([level]), { signal, timeoutMs: sizeMs });
      bytes += parseBackupSize(parseAnswers(output).get(level) ?? '')?.fileBytes ?? 0;
    }
    await refuseFull(this.#control, place.directory, bytes);
  }

  /** The full that the incremental will go by was made by us: the engine must know of it before it makes one. */
  async #closeCopy(target: Target, place: BackupPlace, signal: AbortSignal): Promise<Target> {
    if (target.dirty === undefined) return target;
    const index = await this.#record(target.name, describe(place.id, 'live-copy-ends'), [], signal);
    return { ...target, dirty: { ...target.dirty, end: { id: place.id, index } } };
  }

  /** Place in the history of an entry that is made now. */
  async #record(name: string, description: string, first: readonly string[], signal: AbortSignal): Promise<number> {
    const script = [...first, ...externalScript(description), ...memoryScript(), 'halt'];
    const output = await this.#control.script(name, script, { signal, timeoutMs: questionMs });
    const answers = parseAnswers(output);
    const [newest] = parseMemory(output).history ?? [];
    const cleared = first.length === 0 || answers.get('cleared') === '1';
    if (cleared && answers.get('external') === '1' && newest?.description === description) return newest.index;
    throw new StillpointError('command-failed', `${name} did not take the live copy into its history of backups`, {
      hint: 'see messages.log of the instance; another backup may have been at work',
    });
  }

  async mark(signal: AbortSignal): Promise<Marks> {
    if (!this.#control.config.maySpoilHistory) {
      throw new StillpointError(
        'method-unsupported',
        "the method concurrent clears the engine's bitmaps and its history of backups",
        {
          hint: 'set application.iris.maySpoilHistory: true if nobody relies on its incrementals, or use --method online',
        },
      );
    }
    const names = await this.#fit(signal);
    const place = await makePlace(this.#control, this.#workload, signal);
    try {
      for (const name of names) {
        const needed = await neededOf(this.#control, name, signal);
        const list = join(place.directory, `${name}.list`);
        await assertListed(this.#control, name, needed, list, signal, 'must');
      }
      const marks: Record<string, string> = {};
      for (const name of names) {
        const description = describe(place.id, 'live-copy-begins');
        const index = await this.#record(name, description, clearScript(), signal);
        const begin = { id: place.id, index };
        const why = unprovenSince(begin, await this.#memory(name, signal));
        if (why !== undefined) throw misfit(`${name}: ${why}`);
        marks[name] = writeDirtyMark(begin);
      }
      return marks;
    } finally {
      await removePlace(this.#control, place);
    }
  }

  async apply(level: AppliedLevel, copy: Copy, signal: AbortSignal): Promise<void> {
    await applyLevel(this.#control, level, copy, signal);
  }

  async #conclude(
    request: OnlineRequest,
    place: BackupPlace,
    targets: readonly Target[],
    run: { readonly began: Moment; readonly finished: readonly Finished[] },
  ): Promise<OnlineAnswer> {
    const results: Result[] = [];
    for (const [i, each] of run.finished.entries()) {
      const target = targets[i] as Target;
      const output = await this.#control.script(
        target.name,
        [...memoryScript(), ...labelScript(each.job.file), 'halt'],
        { signal: request.signal, timeoutMs: questionMs },
      );
      const seen = { label: parseLabel(output), memory: parseMemory(output) };
      results.push(resultOf(target, place, each, seen, request.since?.[target.name]));
    }
    const { made, why } = madeOf(request.level, results);
    return {
      finished: results.every((each) => each.faults.length === 0),
      said: results.map((each) => each.said).join('; '),
      made,
      ...(why === '' ? {} : { why }),
      from: made === 'full' ? {} : Object.fromEntries(results.map(({ name, from }) => [name, from])),
      to: Object.fromEntries(results.flatMap(({ name, to }) => (to === undefined ? [] : [[name, to]]))),
      began: run.began,
      ended: run.finished.map(({ ended }) => ended).reduce((a, b) => (b.monoMs > a.monoMs ? b : a), run.began),
      starts: results.flatMap(({ start }) => (start === undefined ? [] : [start])),
      spans: run.finished.map(({ span }) => span),
    };
  }
}

function misfit(said: string): StillpointError {
  return new StillpointError('level-misfit', said, { hint: 'make a full backup: stillpoint backup --level full' });
}
