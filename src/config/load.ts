import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, normalize, resolve, sep } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { applications, stores, topologies } from '../adapters/registry.ts';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import type { SplitLimits } from '../model/mirror-split.ts';
import type { Method } from '../model/point.ts';
import type { SecretSource } from '../ports/module.ts';
import {
  byPlace,
  errorMap,
  nearest,
  placeOf,
  placeOfOffset,
  type Problem,
  problemsOf,
  type Source,
} from './problems.ts';
import { configSchema, configurationJsonSchema, type ParsedConfig } from './schema.ts';
import { parseDuration } from './units.ts';

/** An adapter and its settings: plain data that `create` of the registered adapter takes, also in another process. */
export interface Chosen {
  readonly kind: string;
  readonly config: unknown;
}

/** An application and where it lives; without `reach` on this machine. */
export interface ChosenApplication extends Chosen {
  readonly reach?: Chosen;
}

/** A cluster, and the members of it that can be backed up from here. */
export interface ClusterConfig {
  readonly topology: Chosen;
  readonly members: readonly { readonly name: string; readonly application: ChosenApplication }[];
  readonly policy: 'prefer-standby' | 'primary' | 'standby' | 'async';
  readonly maxLagMs: number;
  /** Undefined: only what the logs tell. */
  readonly stunMs: number | undefined;
  /** Paths of vmware.log files, or patterns of such. */
  readonly stunLogs: readonly string[];
  readonly holdOff: boolean;
}

export interface WorkloadConfig {
  readonly name: string;
  readonly application: ChosenApplication;
  /** `auto`: every provider, in the registry's order. */
  readonly storage: 'auto' | readonly Chosen[];
  /** Undefined: depends on the kind of the hold. */
  readonly budgetMs: number | undefined;
  readonly method: Method;
  readonly consistency: 'application' | 'crash';
  readonly changedBlocks: boolean;
  readonly degradedStorage: 'refuse' | 'accept';
  readonly drillDirectory: string | undefined;
  readonly cluster: ClusterConfig | undefined;
  readonly machines: Chosen | undefined;
  readonly splitLimits: SplitLimits;
  readonly fastRestore: boolean;
}

/** A workload of a Stillpoint on another host, or on this one. */
export interface GroupPartConfig {
  readonly name: string;
  readonly reach: Chosen | undefined;
  readonly workload: string;
  /** Undefined: the usual places there; here, the file of the group. */
  readonly config: string | undefined;
  readonly command: readonly [string, ...string[]] | undefined;
}

export interface GroupConfig {
  readonly name: string;
  readonly parts: readonly GroupPartConfig[];
  readonly budgetMs: number;
  readonly skewMs: number | null;
  readonly readyMs: number;
}

export interface Config {
  /** The file that it was read from, absolute. */
  readonly file: string;
  readonly repository: { readonly store: Chosen; readonly password: SecretSource };
  readonly stateDirectory: string;
  /** Told of each alarm; undefined: nobody is. */
  readonly notifyCommand: readonly [string, ...string[]] | undefined;
  /** In the order of the file. */
  readonly workloads: ReadonlyMap<string, WorkloadConfig>;
  readonly groups: ReadonlyMap<string, GroupConfig>;
}

/** Where the configuration is looked for, in this order: `--config`, $STILLPOINT_CONFIG, then these. */
export const usualPlaces = ['stillpoint.yaml', '/etc/stillpoint/stillpoint.yaml'] as const;

/** The file to load. A file that somebody named is taken as it is; a usual place only if there is a file. Throws `config-missing`. */
export async function findConfig(
  named: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  const given = named ?? (env['STILLPOINT_CONFIG'] === '' ? undefined : env['STILLPOINT_CONFIG']);
  if (given !== undefined) return resolve(given);
  for (const usual of usualPlaces) if (await isThere(usual)) return resolve(usual);
  throw new StillpointError('config-missing', `there is no configuration file at ${usualPlaces.join(' or ')}`, {
    hint: 'run `stillpoint init` to write one, or name it with --config FILE',
  });
}

async function isThere(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isFile();
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT' || codeOf(cause) === 'ENOTDIR') return false;
    // A file that cannot be reached must not let another one win silently.
    return true;
  }
}

/** Throws `config-missing` or `config-invalid`; the latter's message lists all problems, each with its line and column. */
export async function loadConfig(file: string): Promise<Config> {
  const path = resolve(file);
  return readConfig(await contentOf(path), path);
}

async function contentOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new StillpointError('config-missing', `the configuration file ${file} cannot be read: ${messageOf(cause)}`, {
      hint: 'run `stillpoint init` to write one, or name another with --config FILE',
      cause,
    });
  }
}

/** `file` is only for messages and for `Config.file`. */
export function readConfig(text: string, file: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const unreadable = [...document.errors, ...document.warnings].map((error) => ({
    ...placeOfOffset(error.pos[0], lines),
    said: yamlProblem(error.code, error.message),
  }));
  if (unreadable.length > 0) throw invalid(file, unreadable);
  const source: Source = { document, lines, schema: configurationJsonSchema() };
  const parsed = configSchema.safeParse(valueOf(source, file), { error: errorMap, reportInput: false });
  if (!parsed.success) throw invalid(file, problemsOf(parsed.error.issues, source));
  const config = assemble(parsed.data, file);
  const impossible = [
    ...tooLong(config, source),
    ...unreachable(config, source),
    ...misplaced(config, source),
    ...ofClusters(config, parsed.data, source),
    ...ofGroups(config, source),
  ];
  if (impossible.length > 0) throw invalid(file, impossible);
  return config;
}

function yamlProblem(code: string, message: string): string {
  if (code === 'DUPLICATE_KEY') return 'this key stands twice in one map';
  if (code === 'MULTIPLE_DOCS') return 'a second YAML document begins here; the file may hold one';
  return `not YAML: ${sentence(message)}`;
}

function valueOf(source: Source, file: string): unknown {
  try {
    return source.document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw invalid(file, [{ line: 1, column: 1, said: `not YAML: ${sentence(messageOf(cause))}` }]);
  }
}

function sentence(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1).replace(/\.$/, '');
}

function invalid(file: string, found: readonly Problem[]): StillpointError {
  const problems = found.toSorted(byPlace);
  const listed = problems.map(({ line, column, said }) => `${file}:${line}:${column}: ${said}`);
  const message =
    listed.length === 1 ? listed.join('') : `${file} has ${listed.length} problems\n  ${listed.join('\n  ')}`;
  return new StillpointError('config-invalid', message, {
    hint: 'correct the file; docs/guide/configuration.md and `stillpoint config schema` list every key',
    details: { file, problems },
  });
}

function assemble(parsed: ParsedConfig, file: string): Config {
  const { store, passwordFile, passwordEnv, passwordCommand } = parsed.repository;
  const workloads = Object.entries(parsed.workloads).map(([name, workload]): [string, WorkloadConfig] => [
    name,
    {
      name,
      application: {
        ...chosen(workload.application),
        ...(workload.reach === undefined ? {} : { reach: chosen(workload.reach) }),
      },
      storage: workload.storage === 'auto' ? 'auto' : workload.storage.map(chosen),
      budgetMs: workload.hold.budget === undefined ? undefined : millisecondsOf(workload.hold.budget),
      method: workload.method,
      consistency: workload.consistency,
      changedBlocks: workload.changedBlocks,
      degradedStorage: workload.degradedStorage,
      drillDirectory: workload.drill.directory,
      cluster: clusterOf(workload),
      machines: workload.machines === undefined ? undefined : chosen(workload.machines),
      splitLimits: limitsOf(workload.mirrorSplit),
      fastRestore: workload.mirrorSplit.fastRestore,
    },
  ]);
  return {
    file,
    repository: { store: chosen(store), password: { file: passwordFile, env: passwordEnv, command: passwordCommand } },
    stateDirectory: parsed.stateDirectory ?? defaultStateDirectory(),
    notifyCommand: notifyCommandOf(parsed),
    workloads: new Map(workloads),
    groups: new Map(Object.entries(parsed.groups).map(([name, group]) => [name, groupOf(name, group)])),
  };
}

function groupOf(name: string, { parts, barrier }: ParsedConfig['groups'][string]): GroupConfig {
  return {
    name,
    parts: Object.entries(parts).map(([part, { reach, workload, config, command }]) => {
      const [program, ...rest] = command ?? [];
      return {
        name: part,
        reach: reach === undefined ? undefined : chosen(reach),
        workload,
        config,
        command: program === undefined ? undefined : [program, ...rest],
      };
    }),
    budgetMs: millisecondsOf(barrier.budget),
    skewMs: barrier.skew === undefined ? null : millisecondsOf(barrier.skew),
    readyMs: millisecondsOf(barrier.ready),
  };
}

/** A name means one thing, and a part of this file must be in it, once. */
function ofGroups(config: Config, source: Source): readonly Problem[] {
  return [...config.groups.values()].flatMap(({ name, parts }) => {
    const at = (said: string, ...path: readonly string[]): Problem => ({
      ...placeOf(['groups', name, ...path], source),
      said,
    });
    const here = parts.filter((part) => part.reach === undefined && part.config === undefined);
    return [
      ...(config.workloads.has(name) ? [at(`there is a workload ${name} too: give the group another name`)] : []),
      ...here.flatMap((part, index) => {
        if (!config.workloads.has(part.workload))
          return [at(`there is no workload ${part.workload} in this file: say where it is`, 'parts', part.name)];
        const other = here.slice(0, index).find(({ workload }) => workload === part.workload);
        return other === undefined
          ? []
          : [at(`${part.name} is the same workload as ${other.name}`, 'parts', part.name)];
      }),
    ];
  });
}

function limitsOf(texts: ParsedWorkload['mirrorSplit']): SplitLimits {
  return {
    answer: millisecondsOf(texts.answer),
    off: millisecondsOf(texts.off),
    boot: millisecondsOf(texts.boot),
    service: millisecondsOf(texts.service),
    group: millisecondsOf(texts.group),
    whole: millisecondsOf(texts.whole),
    fast: millisecondsOf(texts.fast),
    attach: millisecondsOf(texts.attach),
    act: millisecondsOf(texts.act),
    autoRecovery: millisecondsOf(texts.autoRecovery),
    snapshot: millisecondsOf(texts.snapshot),
    oneCopy: millisecondsOf(texts.oneCopy),
    poll: millisecondsOf(texts.poll),
  };
}

function notifyCommandOf({ notify }: ParsedConfig): Config['notifyCommand'] {
  const [program, ...rest] = notify?.command ?? [];
  return program === undefined ? undefined : [program, ...rest];
}

type ParsedWorkload = ParsedConfig['workloads'][string];

function clusterOf(workload: ParsedWorkload): ClusterConfig | undefined {
  if (workload.topology === undefined) return undefined;
  const common = chosen(workload.application);
  const members = Object.entries(workload.members ?? {}).map(([name, { application, reach }]) => {
    const at = reach ?? workload.reach;
    const config = { ...(common.config as Readonly<Record<string, unknown>>), ...application };
    return { name, application: { kind: common.kind, config, ...(at === undefined ? {} : { reach: chosen(at) }) } };
  });
  return {
    topology: chosen(workload.topology),
    members,
    policy: workload.member.from,
    maxLagMs: millisecondsOf(workload.member.maxLag),
    ...stunOf(workload.hold.stun),
    holdOff: workload.member.holdOffFailover,
  };
}

/** A cluster without a member to go to, members without a cluster, and settings that no engine of that kind has. */
function ofClusters(config: Config, parsed: ParsedConfig, source: Source): readonly Problem[] {
  return Object.entries(parsed.workloads).flatMap(([name, { topology, members }]) => {
    const at = (said: string, ...path: readonly string[]): Problem => ({
      ...placeOf(['workloads', name, ...path], source),
      said,
    });
    if (topology === undefined) {
      return members === undefined ? [] : [at('members are of a cluster: say which with `topology`', 'members')];
    }
    const found = config.workloads.get(name)?.cluster?.members ?? [];
    if (found.length === 0) {
      return [at('a topology needs `members`: at least the one that is backed up from here', 'topology')];
    }
    const module = topologies.find(({ kind }) => kind === config.workloads.get(name)?.cluster?.topology.kind);
    const strangers = module?.strangers?.(
      chosen(topology).config,
      found.map((each) => each.name),
    );
    const strange = (strangers ?? []).map(({ name: member, known }) => {
      const near = nearest(member, known);
      const meant = near === undefined ? `there is ${known.join(', ')}` : `did you mean ${near}?`;
      return at(`${member} is no member of the topology ${module?.kind ?? ''}: ${meant}`, 'members', member);
    });
    if (strange.length > 0) return strange;
    return found.flatMap(({ name: member, application }) => {
      const result = moduleOf(application)?.config.safeParse(application.config);
      return (result?.error?.issues ?? []).map((issue) =>
        at(`${issue.path.join('.')}: ${issue.message}`, 'members', member, 'application'),
      );
    });
  });
}

function stunOf(stun: ParsedWorkload['hold']['stun']): Pick<ClusterConfig, 'stunMs' | 'stunLogs'> {
  if (stun === undefined) return { stunMs: 0, stunLogs: [] };
  if (typeof stun === 'string') return { stunMs: millisecondsOf(stun), stunLogs: [] };
  const { bound, logs = [] } = stun;
  return { stunMs: bound === undefined ? undefined : millisecondsOf(bound), stunLogs: logs };
}

/** The schema has seen to it that it can be parsed. */
function millisecondsOf(duration: string): number {
  const parsed = parseDuration(duration);
  if ('value' in parsed) return parsed.value;
  throw new Error(`a duration ${parsed.problem}`);
}

/** The schema has seen to it that there is exactly one. */
function chosen(value: Readonly<Record<string, unknown>>): Chosen {
  for (const [kind, config] of Object.entries(value)) if (config !== undefined) return { kind, config };
  throw new Error('an adapter was chosen without a kind');
}

export function defaultStateDirectory(): string {
  return process.getuid?.() === 0 ? '/var/lib/stillpoint' : join(homedir(), '.local/state/stillpoint');
}

/** sun_path of unix(7) has 108 bytes with its end, and a guard's socket is `holds/<run id>.sock` below the state directory. */
const longestStateDirectory = 107 - '/holds/20260101-000000-abcdef.sock'.length;

function tooLong(config: Config, source: Source): readonly Problem[] {
  const bytes = Buffer.byteLength(config.stateDirectory);
  if (bytes <= longestStateDirectory) return [];
  const said = `stateDirectory has a path of ${bytes} bytes, and sockets below it allow ${longestStateDirectory}: give a shorter one`;
  return [{ ...placeOf(['stateDirectory'], source), said }];
}

/** An adapter that opens files itself would take those of this machine for the container's. */
function unreachable(config: Config, source: Source): readonly Problem[] {
  return [...config.workloads.values()].flatMap(({ name, application }) => {
    if (application.reach === undefined || moduleOf(application)?.reachable === true) return [];
    const said = `workload ${name} cannot have a reach: the adapter ${application.kind} works on this machine only`;
    return [{ ...placeOf(['workloads', name, 'reach'], source), said }];
  });
}

function moduleOf(application: Chosen): (typeof applications)[number] | undefined {
  return applications.find((each) => each.kind === application.kind);
}

/** Our own files among the live data would be frozen with it, and would be backed up into themselves. */
function misplaced(config: Config, source: Source): readonly Problem[] {
  const ours: { readonly what: string; readonly directory: string; readonly path: readonly string[] }[] = [
    { what: 'stateDirectory', directory: config.stateDirectory, path: ['stateDirectory'] },
  ];
  const { kind, config: settings } = config.repository.store;
  for (const directory of stores.find((store) => store.kind === kind)?.directories(settings) ?? []) {
    ours.push({ what: 'the repository', directory, path: ['repository', 'store', kind] });
  }
  for (const { name, drillDirectory } of config.workloads.values()) {
    const path = ['workloads', name, 'drill', 'directory'];
    if (drillDirectory !== undefined) ours.push({ what: path.join('.'), directory: drillDirectory, path });
  }
  return ours.flatMap(({ what, directory, path }) =>
    [...config.workloads.values()].flatMap((workload) => {
      const { application } = workload;
      // Paths of another place say nothing about ours.
      const live = application.reach === undefined ? (moduleOf(application)?.dataPaths(application.config) ?? []) : [];
      return live
        .filter((data) => isInside(directory, data))
        .map((data) => ({
          ...placeOf(path, source),
          said: `${what} (${directory}) lies inside ${data}, the live data of workload ${workload.name}`,
        }));
    }),
  );
}

function isInside(path: string, directory: string): boolean {
  const outer = withSlash(normalize(directory));
  return withSlash(normalize(path)).startsWith(outer);
}

function withSlash(path: string): string {
  return path.endsWith(sep) ? path : path + sep;
}
