import { basename } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { MemberObservation } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import { questions } from './commands.ts';
import type { IrisConfig } from './config.ts';
import type { Control } from './control.ts';
import { answersOf, mirrorSuitability, parseAnswers, roleOf, type Suitability } from './parse.ts';
import type { Instance } from './parse-instances.ts';
import { absolute, type Places } from './places.ts';

/** What an instance said of itself in a session, before anything was frozen. */
export interface Answers {
  readonly version: string;
  readonly journal: string;
  readonly suspended: boolean;
  readonly mirror: Suitability;
  /** Whether ExternalFreeze has a WDSuspendLimit; undefined when the class dictionary did not say. */
  readonly hasLimit: boolean | undefined;
  /** Whole path of the oldest journal file that undoing open transactions may need. Files only become older than it by being forgotten. */
  readonly required: string | undefined;
  readonly notJournaled: readonly string[];
}

/** Directories of the databases of this machine that must be journaled. */
export function databasesOf(places: Places, config: IrisConfig): readonly string[] {
  return places.cpf.databases
    .filter(({ name, remote }) => !remote && !config.exclude.includes(name))
    .map(({ directory }) => absolute(directory, places.manager));
}

export function needsNoJournal(directory: string, config: IrisConfig): boolean {
  const plain = directory.replace(/\/+$/, '');
  return config.allowNotJournaled.some(
    (allowed) => allowed.replace(/\/+$/, '') === plain || allowed === basename(plain),
  );
}

export async function ask(control: Control, places: Places, signal?: AbortSignal): Promise<Answers> {
  const { name } = places.instance;
  const databases = databasesOf(places, control.config).filter((each) => !needsNoJournal(each, control.config));
  const output = await control.script(name, questions(databases), signal === undefined ? {} : { signal });
  const answers = parseAnswers(output);
  const [journal, suspended] = [answers.get('journal'), answers.get('suspended')];
  if (journal === undefined || (suspended !== '0' && suspended !== '1')) return control.refuse(name, output);
  const formal = answers.get('formal') ?? '';
  return {
    version: answers.get('version') ?? '',
    journal,
    suspended: suspended === '1',
    mirror: mirrorSuitability(
      answers.get('member') === '0' ? '' : (answers.get('mirror') ?? 'unknown'),
      answers.get('ready'),
      answers.get('latency'),
      control.platform.clustered === true,
    ),
    hasLimit: formal === '' ? undefined : /\bWDSuspendLimit\b/.test(formal),
    required: answers.get('required') || undefined,
    // 2 and 0 stand for no, 3 and 1 for yes; whatever else it says, the log of the freeze names those that are not journaled.
    notJournaled: answersOf(output, 'journaled').flatMap((answer) => {
      const [state, ...directory] = answer.split('=');
      return state === '2' || state === '0' ? [directory.join('=')] : [];
    }),
  };
}

/** Every reason not to freeze this instance now, the gravest first. */
export function objections(places: Places, answers: Answers, config: IrisConfig): readonly StillpointError[] {
  const { name } = places.instance;
  const found: StillpointError[] = [];
  if (answers.suspended) {
    found.push(
      new StillpointError('workload-busy', `${name} is frozen already, by somebody else`, {
        hint: `find out who (messages.log names the time); \`iris thaw ${name}\` ends it`,
      }),
    );
  }
  if (answers.journal !== 'Normal') {
    found.push(
      new StillpointError('freeze-failed', `journaling of ${name} is ${answers.journal || 'unknown'}, not Normal`, {
        hint: 'a crash in the freeze would lose updates; start journaling again (^JOURNAL)',
      }),
    );
  }
  const { mirror } = answers;
  if (!mirror.suitable) {
    found.push(
      new StillpointError('role-unsuitable', `${name} may not be backed up now: ${mirror.why}`, {
        hint: 'wait until the member has caught up, or take another member',
      }),
    );
  }
  if (answers.notJournaled.length > 0) {
    found.push(
      new StillpointError(
        'freeze-failed',
        `${name} has databases that are not journaled: ${answers.notJournaled.join(', ')}`,
        { hint: 'turn their journaling on, or list them under application.iris.allowNotJournaled' },
      ),
    );
  }
  if (answers.hasLimit === false && config.requireSuspendLimit) {
    found.push(
      new StillpointError('freeze-failed', `${name} is a release whose ExternalFreeze has no WDSuspendLimit`, {
        hint: 'nothing inside it would end a forgotten freeze; set application.iris.requireSuspendLimit: false to accept that',
      }),
    );
  }
  return found;
}

/** What stands against an instance by the list of instances alone. Throws. */
export function assertFit(instance: Instance): void {
  const { name } = instance;
  if (instance.state === 'down') {
    throw new StillpointError('database-unreachable', `instance ${name} does not run`, {
      hint: `start it with \`iris start ${name}\``,
    });
  }
  if (instance.state !== 'running') {
    throw new StillpointError('database-unreachable', `instance ${name} is not ready: ${instance.status}`, {
      hint: 'wait until `iris list` shows it as running',
    });
  }
  if (instance.health === 'hung') {
    throw new StillpointError('role-unsuitable', `instance ${name} is hung`, {
      hint: 'see alerts.log and `iris stat`',
    });
  }
  if (roleOf(instance.memberType, instance.mirrorStatus) === undefined) {
    throw new StillpointError(
      'role-unsuitable',
      `instance ${name} may not be backed up as ${instance.memberType} ${instance.mirrorStatus}`,
      { hint: 'wait until the mirror is settled, or take another member' },
    );
  }
}

const order = ['primary', 'backup', 'async', 'standalone'] as const;

/** One member for all instances of a hold: the gravest role, and in the epoch every one's own, so that any change shows. */
export function memberOf(host: string, instances: readonly Instance[]): MemberObservation {
  const roles = instances.map((each) => roleOf(each.memberType, each.mirrorStatus));
  return {
    member: `${host}:${instances.map((each) => each.name).join('+')}`,
    role: order.find((role) => roles.includes(role)) ?? 'standalone',
    epoch: instances
      .map((each, i) => `${each.name}=${roles[i] ?? `${each.memberType} ${each.mirrorStatus}`}`)
      .join(' '),
  };
}

/** The refusals and what is worth knowing, for `check`. */
export function findingsOf(places: Places, answers: Answers, config: IrisConfig): readonly Finding[] {
  const { name } = places.instance;
  const found: Finding[] = objections(places, answers, config).map((each) => ({
    severity: 'error',
    check: each.code,
    said: each.message,
  }));
  found.push({ severity: 'info', check: 'version', said: `${name}: ${answers.version}` });
  if (answers.hasLimit === undefined) {
    const said = `${name}: the class dictionary does not tell whether ExternalFreeze has WDSuspendLimit; it is passed, and a release without it will refuse the freeze`;
    found.push({ severity: 'warning', check: 'limit', said });
  } else if (!answers.hasLimit) {
    found.push({
      severity: 'warning',
      check: 'limit',
      said: `${name}: no limit inside the engine ends a forgotten freeze`,
    });
  }
  if (answers.required === undefined) {
    const said = `${name}: the oldest journal file that undoing open transactions needs is not known`;
    found.push({ severity: 'warning', check: 'journal', said });
  }
  return found;
}
