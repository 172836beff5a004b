import { z } from 'zod';
import { StillpointError } from '../../../model/errors.ts';
import type { MongodbAnswer } from '../../../platform/mongodb-session.ts';

/** Relaxed extended JSON writes whole numbers plainly, but for those that are not exact in a double. */
const whole = z.union([
  z.number(),
  z.object({ $numberLong: z.string() }).transform((each) => Number(each.$numberLong)),
]);
const date = z.object({ $date: z.iso.datetime() }).transform((each) => Date.parse(each.$date));
const timestamp = z.object({ $timestamp: z.object({ t: z.number(), i: z.number() }) });

/** A place in the oplog. The term comes first: a later time of an older term is behind. */
export interface OpTime {
  readonly term: number;
  readonly seconds: number;
  readonly count: number;
}

const opTime = z
  .object({ ts: timestamp, t: whole })
  .transform(({ ts, t }): OpTime => ({ term: t, seconds: ts.$timestamp.t, count: ts.$timestamp.i }));

export interface Hello {
  /** Absent: the server is in no set, or its set was never initiated. */
  readonly set: string | undefined;
  /** host:port by which it knows itself. */
  readonly me: string | undefined;
  /** host:port of whom it takes for the primary. */
  readonly primary: string | undefined;
  /** It takes writes now: a primary that catches up or steps down does not. */
  readonly writable: boolean;
  readonly arbiter: boolean;
  /** A `mongos`. */
  readonly router: boolean;
  readonly uninitiated: boolean;
}

const hello = z
  .object({
    setName: z.string().optional(),
    me: z.string().optional(),
    primary: z.string().optional(),
    isWritablePrimary: z.boolean().default(false),
    arbiterOnly: z.boolean().default(false),
    msg: z.string().optional(),
    isreplicaset: z.boolean().default(false),
  })
  .transform((each): Hello => ({
    set: each.setName,
    me: each.me,
    primary: each.primary,
    writable: each.isWritablePrimary,
    arbiter: each.arbiterOnly,
    router: each.msg === 'isdbgrid',
    uninitiated: each.isreplicaset,
  }));

/** What one member says of a member, itself included. */
export interface Word {
  readonly id: number;
  readonly host: string;
  /** Heartbeats of it are answered. */
  readonly up: boolean;
  readonly state: number;
  readonly said: string;
  readonly applied: OpTime | undefined;
  readonly syncsFrom: string;
}

export interface Status {
  readonly set: string;
  readonly term: number;
  /** `_id` of the member that answers; absent when the set has removed it. */
  readonly self: number | undefined;
  readonly state: number;
  /** Votes that elect. */
  readonly majority: number;
  /** Fewer than in the configuration while somebody is new and not yet counted. */
  readonly voters: number;
  /** Voters with data that must have a write of `w: majority`, and how many there are. */
  readonly writeMajority: number;
  readonly writableVoters: number;
  readonly applied: OpTime;
  /** In the journal or, where the server tells that, in the oplog. */
  readonly received: OpTime;
  /** Wall-clock times of the primary that wrote the entry, in milliseconds since 1970. */
  readonly appliedAtMs: number;
  readonly receivedAtMs: number;
  readonly committedAtMs: number | undefined;
  /** It fell out of its source's oplog: only a new initial sync helps. */
  readonly tooStale: boolean;
  readonly words: readonly Word[];
}

const word = z
  .object({
    _id: whole,
    name: z.string(),
    health: whole,
    state: whole,
    stateStr: z.string(),
    self: z.boolean().default(false),
    optime: opTime.optional(),
    syncSourceHost: z.string().default(''),
  })
  .transform((each) => ({
    word: {
      id: each._id,
      host: each.name,
      up: each.health === 1,
      state: each.state,
      said: each.stateStr,
      applied: each.optime,
      syncsFrom: each.syncSourceHost,
    } satisfies Word,
    self: each.self,
  }));

const status = z
  .object({
    set: z.string(),
    term: whole,
    myState: whole,
    majorityVoteCount: whole,
    votingMembersCount: whole,
    writeMajorityCount: whole,
    writableVotingMembersCount: whole,
    tooStale: z.boolean().default(false),
    optimes: z.object({
      appliedOpTime: opTime,
      durableOpTime: opTime,
      writtenOpTime: opTime.optional(),
      lastAppliedWallTime: date,
      lastDurableWallTime: date,
      lastWrittenWallTime: date.optional(),
      lastCommittedWallTime: date.optional(),
    }),
    members: z.array(word),
  })
  .transform((each): Status => ({
    set: each.set,
    term: each.term,
    self: each.members.find(({ self }) => self)?.word.id,
    state: each.myState,
    majority: each.majorityVoteCount,
    voters: each.votingMembersCount,
    writeMajority: each.writeMajorityCount,
    writableVoters: each.writableVotingMembersCount,
    applied: each.optimes.appliedOpTime,
    received: each.optimes.writtenOpTime ?? each.optimes.durableOpTime,
    appliedAtMs: each.optimes.lastAppliedWallTime,
    receivedAtMs: each.optimes.lastWrittenWallTime ?? each.optimes.lastDurableWallTime,
    committedAtMs: each.optimes.lastCommittedWallTime,
    tooStale: each.tooStale,
    words: each.members.map((member) => member.word),
  }));

export interface Seat {
  readonly id: number;
  readonly host: string;
  readonly arbiter: boolean;
  readonly hidden: boolean;
  readonly priority: number;
  readonly votes: number;
  /** Milliseconds by which it stays behind on purpose. */
  readonly delayMs: number;
  readonly buildsIndexes: boolean;
}

export interface SetConfig {
  readonly set: string;
  /** Another one for each set that was ever initiated. */
  readonly identity: string;
  readonly version: number;
  readonly term: number;
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly seats: readonly Seat[];
}

const seat = z
  .object({
    _id: whole,
    host: z.string(),
    arbiterOnly: z.boolean(),
    hidden: z.boolean(),
    priority: z.number(),
    votes: whole,
    // Before 5.0 it was `slaveDelay`. A delay that neither of them tells would make an old copy look like one that lags.
    secondaryDelaySecs: whole.optional(),
    slaveDelay: whole.optional(),
    buildIndexes: z.boolean().default(true),
  })
  .refine((each) => each.secondaryDelaySecs !== undefined || each.slaveDelay !== undefined, {
    error: 'has neither secondaryDelaySecs nor slaveDelay',
  })
  .transform((each): Seat => ({
    id: each._id,
    host: each.host,
    arbiter: each.arbiterOnly,
    hidden: each.hidden,
    priority: each.priority,
    votes: each.votes,
    delayMs: Number(each.secondaryDelaySecs ?? each.slaveDelay) * 1000,
    buildsIndexes: each.buildIndexes,
  }));

const setConfig = z
  .object({
    config: z.object({
      _id: z.string(),
      version: whole,
      term: whole.default(-1),
      members: z.array(seat),
      settings: z.object({
        electionTimeoutMillis: whole,
        heartbeatIntervalMillis: whole,
        replicaSetId: z.object({ $oid: z.string() }).optional(),
      }),
    }),
  })
  .transform(({ config }): SetConfig => ({
    set: config._id,
    identity: config.settings.replicaSetId?.$oid ?? config._id,
    version: config.version,
    term: config.term,
    electionTimeoutMs: config.settings.electionTimeoutMillis,
    heartbeatMs: config.settings.heartbeatIntervalMillis,
    seats: config.members,
  }));

export function parseHello(answer: MongodbAnswer): Hello {
  return parse(hello, answer, 'hello');
}

export function parseStatus(answer: MongodbAnswer): Status {
  return parse(status, answer, 'replSetGetStatus');
}

export function parseSetConfig(answer: MongodbAnswer): SetConfig {
  return parse(setConfig, answer, 'replSetGetConfig');
}

export function compareOpTimes(one: OpTime, other: OpTime): number {
  return one.term - other.term || one.seconds - other.seconds || one.count - other.count;
}

function parse<T>(schema: z.ZodType<T>, answer: MongodbAnswer, what: string): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  const why = z.prettifyError(parsed.error).replaceAll('\n', ' ').slice(0, 300);
  throw new StillpointError('command-failed', `the answer of a server to ${what} is not understood: ${why}`, {
    hint: 'MongoDB 4.4.2 or later is needed',
  });
}
