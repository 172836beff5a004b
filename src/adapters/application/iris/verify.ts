import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { messageOf } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import type { Copy } from '../../../ports/application.ts';
import { integrityScript, questions } from './commands.ts';
import type { Control } from './control.ts';
import { databasesIn } from './locate.ts';
import { isLeftOut } from './online-list.ts';
import { answersOf, parseAnswers } from './parse.ts';
import { parseMessages } from '../../../platform/parse-iris-messages.ts';
import { judgeIntegrity, parseIntegrity } from './parse-verify.ts';

const integrityMs = 24 * 60 * 60_000;

/** Looks at the files first; then the isolated instance checks the databases, if there is one. The copy is local: it is ours. */
export async function* verify(control: Control, copy: Copy, signal: AbortSignal): AsyncGenerator<Finding> {
  const databases = databasesIn(copy.facts);
  if (databases.size === 0) {
    yield { severity: 'error', check: 'facts', said: 'the point does not say which databases it holds' };
    return;
  }
  for (const [instance, directories] of databases) {
    yield* files(copy, instance, directories);
    yield* await window(copy, instance);
  }
  signal.throwIfAborted();
  const there = await Promise.all(
    [...databases.values()]
      .flat()
      .map(async (directory) => ((await missing(copy, directory)) ? [] : [copy.at(directory)])),
  );
  const at = there.flat();
  const { verify: settings } = control.config;
  if (settings === undefined) {
    const said =
      'nothing was asked of the databases: no instance is configured to check them (application.iris.verify.instance)';
    yield { severity: 'warning', check: 'integrity', said };
    return;
  }
  const objection = await unfit(control, settings.instance, signal);
  if (objection !== undefined) {
    yield { severity: 'error', check: 'integrity', said: objection };
    return;
  }
  for (const directory of at) {
    if ((await control.has(dirname(directory), basename(directory))) === true) continue;
    const said = `nothing was asked of the databases: the machine of ${settings.instance} does not see the copy ${directory}`;
    yield { severity: 'warning', check: 'integrity', said };
    return;
  }
  yield* await integrity(control, settings.instance, settings.partial, at, signal);
}

/** The engine's own backups never hold these databases; it makes them anew, or they come with the installation. */
export async function missing(copy: Copy, directory: string): Promise<boolean> {
  return isLeftOut(directory) && (await stat(copy.at(directory)).catch(() => undefined)) === undefined;
}

async function* files(copy: Copy, instance: string, directories: readonly string[]): AsyncGenerator<Finding> {
  for (const directory of directories) {
    if (await missing(copy, directory)) {
      yield {
        severity: 'info',
        check: 'files',
        said: `${directory} is in no backup by the engine, and not in the copy`,
      };
      continue;
    }
    const at = copy.at(directory);
    let names: readonly string[];
    try {
      names = await readdir(at);
    } catch (cause) {
      yield {
        severity: 'error',
        check: 'files',
        said: `${directory} of ${instance} is not in the copy: ${messageOf(cause)}`,
      };
      continue;
    }
    const lock = names.find((name) => /^(?:iris|cache)\.lck$/i.test(name));
    if (lock !== undefined) {
      yield { severity: 'error', check: 'lock', said: `${directory}/${lock} was copied: the copy cannot be mounted` };
    }
    const data = names.find((name) => /^(?:iris|cache)\.dat$/i.test(name));
    const bytes = data === undefined ? 0 : (await stat(join(at, data))).size;
    if (bytes === 0)
      yield { severity: 'error', check: 'files', said: `${directory} of ${instance} holds no database file` };
    else yield { severity: 'info', check: 'files', said: `${directory}: ${bytes} bytes` };
  }
}

/** The copied log ends inside the window: its last word is that the system was suspended. An independent witness of the cut. */
async function window(copy: Copy, instance: string): Promise<readonly Finding[]> {
  const console = copy.facts[`${instance}.console`];
  if (console === undefined) return [];
  let text: string;
  try {
    text = await readFile(copy.at(console), 'utf8');
  } catch {
    return [{ severity: 'info', check: 'window', said: `the log of ${instance} is not in the copy` }];
  }
  const last = parseMessages(text).entries.findLast((entry) =>
    /Backup\.General\.External(?:Freeze|Thaw)/.test(entry.text),
  );
  if (last !== undefined && last.text.includes('System suspended')) {
    return [
      { severity: 'info', check: 'window', said: `the log of ${instance} in the copy ends with "System suspended"` },
    ];
  }
  const said = `the log of ${instance} in the copy does not end inside a freeze: ${last?.text ?? 'it tells of none'}`;
  return [{ severity: 'warning', check: 'window', said }];
}

/** Why the instance must not be used: a mirror member could take a copy for its own database. */
export async function unfit(control: Control, name: string, signal: AbortSignal): Promise<string | undefined> {
  // By the configuration alone: where a copy is restored, the live instance may not be.
  const { instances } = control.config;
  if (instances !== 'all' && instances.some((each) => each.toUpperCase() === name.toUpperCase()))
    return `${name} is backed up itself: a copy must be checked on another instance`;
  const output = await control.script(name, questions([]), { signal });
  const member = parseAnswers(output).get('member');
  if (member === '0') return undefined;
  return member === undefined
    ? `${name} gave no answers`
    : `${name} is in a mirror: a copy must be checked outside of it`;
}

async function integrity(
  control: Control,
  name: string,
  partial: boolean,
  directories: readonly string[],
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const output = await control.script(name, integrityScript(directories, partial), { timeoutMs: integrityMs, signal });
  const report = parseIntegrity(output);
  const mounted = answersOf(output, 'mounted').flatMap((answer) => (answer.startsWith('1=') ? [answer.slice(2)] : []));
  const verdict = judgeIntegrity(parseAnswers(output).get('integrity'), report, directories, mounted);
  if (verdict.sound) {
    const said = `${name} found no errors in ${directories.length} databases${partial ? ' (pointers of large globals only)' : ''}`;
    return [{ severity: 'info', check: 'integrity', said }];
  }
  return verdict.said.map((said) => ({ severity: 'error', check: 'integrity', said }));
}
