import { stringify } from 'yaml';
import { inYaml, type Option, type Section, sections } from './explain.ts';

/** An engine that `init` found, or the one that a user named. */
export interface FoundWorkload {
  readonly name: string;
  readonly kind: string;
  /** The value of `application.<kind>`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Where and how it was found; becomes a comment. */
  readonly said: string;
}

export interface Found {
  /** Directory of a local repository. */
  readonly repository: string;
  readonly passwordFile: string;
  /** Undefined: the default is left in place. */
  readonly stateDirectory?: string | undefined;
  readonly workloads: readonly FoundWorkload[];
}

const width = 100;

/** A configuration file for what was found: every key explained, what is not set as a comment. `readConfig` accepts it as it is. */
export function commentedConfig(found: Found): string {
  const known = sections();
  const used = new Set<string>();
  const workloads = found.workloads.map((workload) =>
    workloadText({ ...workload, name: uniqueName(workload.name, used) }, known),
  );
  const lines = [
    '# Configuration of Stillpoint. Lines that are commented out show a default or an example.',
    '# Check it with `stillpoint check`; all keys are explained in docs/guide/configuration.md.',
    '',
    'repository:',
    ...comment(optionAt(known, 'repository.store', 'local').description, 2),
    `  store: { local: ${inYaml(found.repository)} }`,
    ...comment(optionAt(known, 'repository', 'passwordFile').description, 2),
    `  passwordFile: ${inYaml(found.passwordFile)}`,
    ...optional(optionAt(known, 'repository', 'passwordEnv'), 2),
    ...optional(optionAt(known, 'repository', 'passwordCommand'), 2),
    '',
    ...(found.stateDirectory === undefined
      ? optional(optionAt(known, '', 'stateDirectory'), 0)
      : [
          ...comment(optionAt(known, '', 'stateDirectory').description, 0),
          `stateDirectory: ${inYaml(found.stateDirectory)}`,
        ]),
    '',
    ...(workloads.length === 0 ? noWorkload(known) : ['workloads:', ...workloads.flat()]),
  ];
  return `${lines.join('\n')}\n`;
}

function workloadText({ name, kind, config, said }: FoundWorkload, known: readonly Section[]): readonly string[] {
  const base = 'workloads.<name>';
  // No block scalars: indenting them, as all lines here are, would change them.
  const given = stringify({ [kind]: config }, { lineWidth: 0, blockQuote: false }).trimEnd();
  return [
    ...comment(said, 2),
    `  ${inYaml(name)}:`,
    '    application:',
    ...given.split('\n').map((line) => `      ${line}`),
    ...unset(sectionAt(known, `${base}.application.${kind}`), config).flatMap((option) => optional(option, 8)),
    ...optional(optionAt(known, base, 'reach'), 4),
    ...optional(optionAt(known, base, 'storage'), 4),
    ...comment(optionAt(known, `${base}.hold`, 'budget').description, 4),
    `    # hold: { budget: ${optionAt(known, `${base}.hold`, 'budget').example} }`,
    ...optional(optionAt(known, base, 'consistency'), 4),
    ...optional(optionAt(known, base, 'changedBlocks'), 4),
    ...optional(optionAt(known, base, 'degradedStorage'), 4),
    ...comment(optionAt(known, `${base}.drill`, 'directory').description, 4),
    `    # drill: { directory: ${optionAt(known, `${base}.drill`, 'directory').example} }`,
    '',
  ];
}

function noWorkload(known: readonly Section[]): readonly string[] {
  const example = workloadText(
    { name: 'orders', kind: 'sqlite', config: { file: '/srv/orders/orders.db' }, said: 'An example.' },
    known,
  );
  return [
    '# No database was found here. Take the marks off this example, or see the guide.',
    'workloads: {}',
    '# workloads:',
    ...example.filter((line) => !line.trimStart().startsWith('#')).map((line) => `# ${line}`.trimEnd()),
  ];
}

/** Options that the found configuration leaves at their default. */
function unset(section: Section, config: Readonly<Record<string, unknown>>): readonly Option[] {
  return section.options.filter((option) => !(option.key in config) && option.default !== undefined);
}

function optional(option: Option, indent: number): readonly string[] {
  const value = option.default ?? option.example;
  return [...comment(option.description, indent), `${' '.repeat(indent)}# ${option.key}: ${value ?? ''}`];
}

function comment(text: string, indent: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && indent + 2 + line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  if (line !== '') lines.push(line);
  return lines.map((each) => `${' '.repeat(indent)}# ${each}`);
}

/** Names of databases may hold anything; names of workloads may not. */
function uniqueName(name: string, used: Set<string>): string {
  const plain =
    name
      .replaceAll(/[^A-Za-z0-9_.-]+/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 56) || 'workload';
  let unique = plain;
  for (let n = 2; used.has(unique); n += 1) unique = `${plain}-${n}`;
  used.add(unique);
  return unique;
}

function sectionAt(known: readonly Section[], path: string): Section {
  const section = known.find((each) => each.path === path);
  if (section === undefined) throw new Error(`the configuration has no section ${path}`);
  return section;
}

function optionAt(known: readonly Section[], path: string, key: string): Option {
  const option = sectionAt(known, path).options.find((each) => each.key === key);
  if (option === undefined) throw new Error(`the configuration has no key ${key} in ${path}`);
  return option;
}
