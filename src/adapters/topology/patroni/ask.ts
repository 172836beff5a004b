import { messageOf } from '../../../model/errors.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { Config } from './config.ts';
import { askDcs, type Dcs } from './etcd.ts';
import type { Measured } from '../../../platform/measure-lag.ts';
import { measure } from './lag.ts';
import {
  type Cluster,
  type Dynamic,
  engineRole,
  isPrimary,
  parseCluster,
  parseDynamic,
  parseStatus,
  type Status,
} from './parse.ts';
import { ask, readTls, type TlsFiles } from './rest.ts';

/** For one question. Three rounds of them follow each other at most. */
export const limitMs = 3000;

/** What one member's REST interface said. Without `status`: nothing that is understood, and `said` says why. */
export interface MemberAnswer {
  readonly name: string;
  readonly url: string;
  readonly status: Status | undefined;
  /** How long ago its Patroni heard of the DCS, by its own clock. Undefined: it does not say (older ones). */
  readonly dcsAgeMs: number | undefined;
  /** That machine's clock, in whole seconds. */
  readonly dateMs: number | undefined;
  /** When the question went out. */
  readonly sinceMs: number;
  readonly said: string;
}

interface Source {
  readonly answer: MemberAnswer;
  readonly cluster: Cluster | undefined;
  readonly dynamic: Dynamic | undefined;
}

/** All that a view is made of. */
export interface Gathered {
  readonly members: readonly MemberAnswer[];
  /** The list and the configuration by the member that heard of the DCS last. */
  readonly cluster: Cluster | undefined;
  readonly dynamic: Dynamic | undefined;
  readonly measured: ReadonlyMap<string, Measured>;
  readonly dcs: Dcs;
}

export async function gather(config: Config, clock: Clock, signal: AbortSignal): Promise<Gathered> {
  const tls = await readTls(config.tls);
  const [dcs, sources] = await Promise.all([
    askDcs(config.dcs, clock, signal),
    Promise.all(Object.entries(config.members).map(async ([name, url]) => askAll(name, url, tls, clock, signal))),
  ]);
  const source = freshest(sources);
  const members = [
    ...sources.map(({ answer }) => answer),
    ...(await askOthers(config, source?.cluster, tls, clock, signal)),
  ];
  const measured = await measureAll(members, tls, clock, signal);
  signal.throwIfAborted();
  return { members, cluster: source?.cluster, dynamic: source?.dynamic, measured, dcs };
}

/** A member that is cut off from the DCS goes on telling what it knew. */
function freshest(sources: readonly Source[]): Source | undefined {
  return sources
    .filter(({ cluster, dynamic }) => cluster !== undefined && dynamic !== undefined)
    .toSorted((one, other) => (one.answer.dcsAgeMs ?? 0) - (other.answer.dcsAgeMs ?? 0))[0];
}

async function askAll(name: string, url: string, tls: TlsFiles, clock: Clock, signal?: AbortSignal): Promise<Source> {
  const json = async (path: string): Promise<unknown> => {
    try {
      const question = { url: new URL(path, url).href, limitMs, ...(signal === undefined ? {} : { signal }) };
      const answer = await ask(question, tls, clock);
      return answer.status === 200 ? answer.json : undefined;
    } catch {
      // What there is to say about it, the answer to /patroni says.
      return undefined;
    }
  };
  const [answer, cluster, dynamic] = await Promise.all([
    askStatus(name, url, tls, clock, signal),
    json('/cluster'),
    json('/config'),
  ]);
  return { answer, cluster: parseCluster(cluster), dynamic: parseDynamic(dynamic) };
}

export async function askStatus(
  name: string,
  url: string,
  tls: TlsFiles,
  clock: Clock,
  signal?: AbortSignal,
): Promise<MemberAnswer> {
  const sinceMs = clock.monoMs();
  const nothing = (said: string): MemberAnswer => ({
    ...{ name, url, sinceMs, said },
    ...{ status: undefined, dateMs: undefined, dcsAgeMs: undefined },
  });
  try {
    const question = { url: new URL('/patroni', url).href, limitMs, ...(signal === undefined ? {} : { signal }) };
    const { status: code, json, dateMs } = await ask(question, tls, clock);
    const status = parseStatus(json);
    if (status === undefined) return nothing(`${url} answers with HTTP status ${code}, and not as Patroni does`);
    const seen = status.dcs_last_seen;
    const dcsAgeMs = seen === undefined || dateMs === undefined ? undefined : Math.max(0, dateMs - seen * 1000);
    return { name, url, status, dcsAgeMs, dateMs, sinceMs, said: `${status.role}, ${status.state}` };
  } catch (cause) {
    return nothing(messageOf(cause));
  }
}

/** Members that only the cluster's own list names. */
async function askOthers(
  config: Config,
  cluster: Cluster | undefined,
  tls: TlsFiles,
  clock: Clock,
  signal?: AbortSignal,
): Promise<readonly MemberAnswer[]> {
  const others = (cluster?.members ?? []).filter(({ name }) => !Object.hasOwn(config.members, name));
  return await Promise.all(
    others.map(async ({ name, api_url: url }) =>
      url === undefined || !URL.canParse(url) || !/^https?:/.test(url)
        ? {
            ...{ name, url: '', status: undefined, dcsAgeMs: undefined, dateMs: undefined, sinceMs: clock.monoMs() },
            said: 'the cluster names no REST interface of it',
          }
        : askStatus(name, url, tls, clock, signal),
    ),
  );
}

/** Every member that is configured or in the list of the cluster, asked for its own state only. */
export async function askEverybody(config: Config, tls: TlsFiles, clock: Clock): Promise<readonly MemberAnswer[]> {
  const sources = await Promise.all(
    Object.entries(config.members).map(async ([name, url]) => askAll(name, url, tls, clock)),
  );
  const others = await askOthers(config, freshest(sources)?.cluster, tls, clock);
  return [...sources.map(({ answer }) => answer), ...others];
}

async function measureAll(
  members: readonly MemberAnswer[],
  tls: TlsFiles,
  clock: Clock,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Measured>> {
  const primary = members.find(({ status }) => isPrimary(status));
  const target = primary?.status?.xlog?.location;
  if (primary === undefined || target === undefined) return new Map();
  const found = await Promise.all(
    members.map(async (member): Promise<readonly (readonly [string, Measured])[]> => {
      if (member.status?.xlog === undefined || engineRole(member.status.role) !== 'replica') return [];
      const again = async (): Promise<MemberAnswer> => askStatus(member.name, member.url, tls, clock, signal);
      return [[member.name, await measure(member, again, target, primary.sinceMs, clock, signal)]];
    }),
  );
  return new Map(found.flat());
}
