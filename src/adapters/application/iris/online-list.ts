import { StillpointError } from '../../../model/errors.ts';
import { listScript } from './commands-online.ts';
import type { Control } from './control.ts';
import { parseDirectoryList } from './parse-label.ts';
import { absolute, placesOf } from './places.ts';

const questionMs = 60_000;

/** A database that must be in every backup, by the directories under which the engine may name it. */
export interface Needed {
  readonly name: string;
  readonly directories: readonly string[];
}

/** The engine makes these anew, or they come with the installation; its own backup of everything leaves them out too. */
const never = new Set(['IRISTEMP', 'IRISLOCALDATA', 'IRISLIB', 'CACHETEMP', 'CACHELOCALDATA', 'CACHELIB']);

/** The same by the last part of their directories, for copies whose CPF is not at hand. */
export function isLeftOut(directory: string): boolean {
  return never.has((directory.split('/').at(-1) ?? '').toUpperCase());
}

export async function neededOf(control: Control, instance: string, signal: AbortSignal): Promise<readonly Needed[]> {
  const found = (await control.wanted(signal)).find((each) => each.name === instance);
  if (found === undefined) throw new Error(`${instance} is not there any more`);
  const { cpf, manager } = await placesOf(control, found);
  const databases = cpf.databases.filter(
    ({ name, remote }) => !remote && !never.has(name.toUpperCase()) && !control.config.exclude.includes(name),
  );
  const named = databases.map(({ directory }) => plain(absolute(directory, manager)));
  const real = await control.command(['realpath', '--', ...named]);
  const lines = real.exitCode === 0 ? real.stdout.split('\n') : [];
  return databases.map(({ name }, i) => ({
    name,
    directories: [...new Set([named[i] ?? '', plain(lines[i] ?? named[i] ?? '')])],
  }));
}

export function missingIn(directories: readonly string[], needed: readonly Needed[]): readonly string[] {
  const there = new Set(directories.map(plain));
  return needed.filter((each) => !each.directories.some((one) => there.has(one))).map(({ name }) => name);
}

/** Throws `path-outside-group`. A list that cannot be read is no objection, since the label of the backup tells it too, unless it `must` be. */
export async function assertListed(
  control: Control,
  instance: string,
  needed: readonly Needed[],
  file: string,
  signal: AbortSignal,
  strict?: 'must',
): Promise<void> {
  await control.script(instance, [...listScript(file), 'halt'], { signal, timeoutMs: questionMs });
  const text = await control.read(file);
  const listed = parseDirectoryList(text ?? '');
  if (listed.length === 0 && strict === undefined) return;
  const missing = missingIn(listed, needed);
  if (missing.length === 0) return;
  throw new StillpointError(
    'path-outside-group',
    `the list of databases for the backup of ${instance} lacks ${missing.join(', ')}`,
    {
      hint: 'add them (^BACKUP, option 4), or name them under application.iris.exclude if recovery does not need them',
    },
  );
}

function plain(directory: string): string {
  return directory.replace(/(?<=.)\/+$/, '');
}
