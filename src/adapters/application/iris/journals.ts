import { mkdir, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { JournalFile, RecoveryTarget } from '../../../model/journal.ts';
import type { Finding } from '../../../model/point.ts';
import type { Copy } from '../../../ports/application.ts';
import type { JournalNeed, Journals, PlacedJournal } from '../../../ports/journals.ts';
import { neededScript, purgeScript, rollForwardScript, switchScript } from './commands.ts';
import type { Control } from './control.ts';
import { databasesIn, hereOf, sourcesIn } from './locate.ts';
import { parseAnswers } from './parse.ts';
import type { Instance } from './parse-instances.ts';
import { journalChains, parseJournalName, parseJournalStats, partOf } from './parse-journal.ts';
import { parseJournalRestore } from './parse-verify.ts';
import { journalDirectories, placesOf } from './places.ts';
import { missing, unfit } from './verify.ts';

const switchMs = 60_000;
const rollMs = 24 * 60 * 60_000;

/** Journal files of all instances. Positions are dates and numbers of their names; times are those of the files, to the second. */
export class IrisJournals implements Journals {
  readonly #control: Control;

  constructor(control: Control) {
    this.#control = control;
  }

  async list(signal: AbortSignal): Promise<readonly JournalFile[]> {
    const found: JournalFile[] = [];
    for (const instance of await this.#control.wanted(signal)) {
      // Asked first: a file that becomes current after this has no successor yet and is taken for closed only in the next list.
      const answers = await this.#answers(instance, neededScript(), 'current', signal);
      const directories = await this.#directories(instance);
      const stats = await Promise.all(directories.map(async (each) => this.#statsIn(each)));
      const chains = journalChains(instance.name, stats.flat(), basename(answers.get('current') ?? ''));
      found.push(...chains.filter((file) => !this.#laterThan(file, basename(answers.get('current') ?? ''))));
    }
    return found;
  }

  /** Began after the question which one is written to: it is one itself. */
  #laterThan(file: JournalFile, current: string): boolean {
    const now = parseJournalName(current);
    const name = parseJournalName(file.name);
    if (now === undefined || name === undefined || now.mirror !== name.mirror) return false;
    return name.date > now.date || (name.date === now.date && name.number > now.number);
  }

  async #directories(instance: Instance): Promise<readonly string[]> {
    return journalDirectories(await placesOf(this.#control, instance));
  }

  async #statsIn(directory: string): Promise<ReturnType<typeof parseJournalStats>> {
    const listed = await this.#control.command(['ls', '-1A', '--', directory]);
    const names = listed.stdout.split('\n').filter((name) => parseJournalName(name) !== undefined);
    const here = await hereOf(this.#control, directory);
    if (listed.exitCode !== 0 || here === undefined) {
      throw new StillpointError('journal-missing', `the journal directory ${directory} cannot be read from here`, {
        hint: 'run as the owner of the instance: set application.iris.user',
      });
    }
    if (names.length === 0) return [];
    // Exit 1 when one was compressed or purged meanwhile; the others are there, and that one is in the next list.
    const paths = names.map((name) => join(directory, name));
    const { stdout } = await this.#control.command(['stat', '-c', '%s %Y %W %n', '--', ...paths]);
    return parseJournalStats(stdout).map((each) => ({ ...each, directory: here }));
  }

  async #answers(
    { name }: Instance,
    lines: readonly string[],
    wanted: string,
    signal?: AbortSignal,
  ): Promise<ReadonlyMap<string, string>> {
    const options = { timeoutMs: switchMs, ...(signal === undefined ? {} : { signal }) };
    const output = await this.#control.script(name, lines, options);
    const answers = parseAnswers(output);
    return answers.has(wanted) ? answers : this.#control.refuse(name, output);
  }

  async switch(signal: AbortSignal): Promise<void> {
    for (const instance of await this.#control.wanted(signal)) {
      const answers = await this.#answers(instance, switchScript(), 'switched', signal);
      if (answers.get('switched') === '1') continue;
      throw new StillpointError('command-failed', `${instance.name} did not switch to a new journal file`, {
        hint: 'see messages.log; the disk of the journal may be full',
      });
    }
  }

  async needed(signal: AbortSignal): Promise<readonly JournalNeed[]> {
    const found: JournalNeed[] = [];
    const all = await this.list(signal);
    for (const instance of await this.#control.wanted(signal)) {
      const answers = await this.#answers(instance, neededScript(), 'current', signal);
      for (const [key, why] of [
        ['rollback', 'an open transaction may have to be rolled back'],
        ['recovery', 'a start after a crash needs it'],
        ['current', 'it is written to'],
      ] as const) {
        const name = basename(answers.get(key) ?? '');
        if (name !== '') found.push({ name, part: partOf(instance.name, name), why });
      }
      for (const file of all.filter((each) => each.part.startsWith(`${instance.name}:`))) {
        found.push({ name: file.name, part: file.part, why: 'another member of the mirror may not have it yet' });
      }
    }
    return found;
  }

  async remove(file: JournalFile): Promise<void> {
    const instance = (await this.#control.wanted()).find((each) => file.part.split(':')[0] === each.name);
    if (instance === undefined) {
      throw new StillpointError('command-failed', `no instance here has the journal ${file.part}`, {
        hint: 'see application.iris.instances',
      });
    }
    const needed = await this.needed(new AbortController().signal);
    const need = needed.find((each) => each.part === file.part && each.name === file.name);
    if (need !== undefined) {
      throw new StillpointError('command-failed', `journal file ${file.name} is not removed: ${need.why}`, {
        hint: 'let the engine purge its journals by itself',
      });
    }
    const there = await this.list(new AbortController().signal);
    if (!there.some((each) => each.part === file.part && each.name === file.name)) return;
    for (const directory of await this.#directories(instance)) {
      if ((await hereOf(this.#control, directory)) !== file.path.slice(0, file.path.lastIndexOf('/'))) continue;
      const answers = await this.#answers(instance, purgeScript(join(directory, file.name)), 'purged');
      if (answers.get('purged') === '1') return;
    }
    throw new StillpointError('command-failed', `${instance.name} did not purge ${file.name}`, {
      hint: 'see messages.log of the instance',
    });
  }

  async rollForward(
    copy: Copy,
    files: readonly PlacedJournal[],
    target: RecoveryTarget,
    signal: AbortSignal,
  ): Promise<readonly Finding[]> {
    const { verify } = this.#control.config;
    if (target.kind === 'time') {
      throw new StillpointError(
        'method-unsupported',
        'IRIS rolls forward to the end of a journal file, not to a time',
        {
          hint: 'name a journal file as the target, or `latest`; ship journals more often for a finer choice',
        },
      );
    }
    if (verify === undefined) {
      throw new StillpointError(
        'method-unsupported',
        'journals are applied by an instance, and none is configured for it',
        {
          hint: 'set application.iris.verify.instance',
        },
      );
    }
    const objection = await unfit(this.#control, verify.instance, signal);
    if (objection !== undefined)
      throw new StillpointError('journal-misfit', objection, { hint: 'use another instance' });
    const findings: Finding[] = [];
    for (const [instance, databases] of databasesIn(copy.facts)) {
      const mine = files.filter(({ file }) => file.part === instance || file.part.startsWith(`${instance}:`));
      if (mine.some(({ file }) => file.part !== instance)) {
        throw new StillpointError('method-unsupported', `the journal of ${instance} is that of a mirror`, {
          hint: 'catch the databases up on a member (MirrorCatchup^JRNRESTO)',
        });
      }
      if (mine.length === 0) continue;
      findings.push(await this.#roll(copy, instance, databases, mine, verify.instance, signal));
    }
    return findings;
  }

  async #roll(
    copy: Copy,
    instance: string,
    databases: readonly string[],
    files: readonly PlacedJournal[],
    by: string,
    signal: AbortSignal,
  ): Promise<Finding> {
    // The engine looks for the files by their names in one directory.
    const directory = join(copy.scratch, `journal-${instance}`);
    await mkdir(directory, { recursive: true });
    for (const { file, at } of files) {
      await rename(
        at,
        join(directory, `${file.name}${parseJournalName(basename(file.path))?.compressed === true ? 'z' : ''}`),
      );
    }
    const names = files.map(({ file }) => file.name);
    const sources = sourcesIn(copy.facts).get(instance) ?? [];
    const present: { readonly source: string; readonly target: string }[] = [];
    for (const [i, each] of databases.entries()) {
      // Its own backup leaves them out, and an update for a database that is not there would end the rolling forward.
      if (!(await missing(copy, each))) present.push({ source: sources[i] ?? each, target: copy.at(each) });
    }
    const script = rollForwardScript({
      directory,
      first: join(directory, names[0] ?? ''),
      last: join(directory, names.at(-1) ?? ''),
      databases: present,
    });
    const output = await this.#control.script(by, script, { timeoutMs: rollMs, signal });
    const answers = parseAnswers(output);
    const restored = parseJournalRestore(output);
    const whole = answers.get('checked') === '1' && answers.get('ran') === '1' && restored.completedAt !== undefined;
    if (!whole || restored.skipped.length > 0) {
      const skipped = restored.skipped.length === 0 ? '' : `; skipped: ${restored.skipped.join(', ')}`;
      throw new StillpointError('journal-misfit', `${by} did not apply the journal of ${instance} whole${skipped}`, {
        hint: 'see messages.log of that instance; the copy is worth nothing now',
        details: { checked: answers.get('checked') ?? null, ran: answers.get('ran') ?? null },
      });
    }
    const said = `${instance}: ${names.length} journal files up to ${names.at(-1) ?? ''} applied to ${restored.updated.length} databases`;
    return { severity: 'info', check: 'journal', said };
  }
}
