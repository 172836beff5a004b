import { BSON } from 'mongodb';
import { systemClock } from '../../../src/platform/clock.ts';
import type { Timing } from './election.ts';
import { type Entry, type Mongod, states } from './member.ts';
import type { Document } from './wire.ts';

/** What all members of a set have in common. */
export interface SetFacts {
  readonly set: string;
  readonly identity: BSON.ObjectId;
  readonly members: readonly Mongod[];
  readonly majority: number;
  readonly timing: Timing;
  /** 9 is MongoDB 4.4, 21 is 7.0. */
  readonly wireVersion: number;
}

/** After the fields of MongoDB 4.4 to 8.0, as the manual and the server's source give them. */
export function helloOf(self: Mongod, facts: SetFacts): Document {
  const { seat } = self;
  const primary =
    self.state === 1
      ? self
      : facts.members.find((each) => self.heard.get(each.seat.id)?.state === 1 && self.hears(each).up);
  const visible = facts.members.filter((each) => !each.seat.hidden && each.seat.delaySecs === 0);
  return {
    ...common(facts.wireVersion),
    hosts: visible.filter((each) => each.seat.priority > 0).map(({ host }) => host),
    passives: visible.filter((each) => each.seat.priority === 0 && !each.seat.arbiter).map(({ host }) => host),
    arbiters: visible.filter((each) => each.seat.arbiter).map(({ host }) => host),
    setName: facts.set,
    setVersion: 1,
    isWritablePrimary: self.state === 1 && !self.catchingUp,
    ismaster: self.state === 1 && !self.catchingUp,
    secondary: self.state === 2 || (self.state === 1 && self.catchingUp),
    ...(primary === undefined ? {} : { primary: primary.host }),
    ...(seat.arbiter ? { arbiterOnly: true } : {}),
    ...(seat.hidden ? { hidden: true } : {}),
    ...(seat.priority === 0 ? { passive: true } : {}),
    me: self.host,
  };
}

export function common(wireVersion: number): Document {
  return {
    ok: 1,
    helloOk: true,
    maxBsonObjectSize: 16_777_216,
    maxMessageSizeBytes: 48_000_000,
    maxWriteBatchSize: 100_000,
    localTime: new Date(systemClock.wallMs()),
    minWireVersion: 0,
    maxWireVersion: wireVersion,
    readOnly: false,
  };
}

export function configOf(facts: SetFacts): Document {
  // The key of MongoDB 5.0 and later, and the one before.
  const delay = facts.wireVersion >= 13 ? 'secondaryDelaySecs' : 'slaveDelay';
  return {
    ok: 1,
    config: {
      _id: facts.set,
      version: 1,
      term: 1,
      members: facts.members.map(({ seat, host }) => ({
        _id: seat.id,
        host,
        arbiterOnly: seat.arbiter,
        buildIndexes: true,
        hidden: seat.hidden,
        priority: seat.priority,
        tags: {},
        [delay]: BSON.Long.fromNumber(seat.delaySecs),
        votes: seat.votes,
      })),
      protocolVersion: BSON.Long.fromNumber(1),
      writeConcernMajorityJournalDefault: true,
      settings: {
        chainingAllowed: true,
        heartbeatIntervalMillis: facts.timing.heartbeatMs,
        heartbeatTimeoutSecs: 10,
        electionTimeoutMillis: facts.timing.electionTimeoutMs,
        catchUpTimeoutMillis: -1,
        getLastErrorModes: {},
        replicaSetId: facts.identity,
      },
    },
  };
}

export function statusOf(self: Mongod, facts: SetFacts): Document {
  const voters = facts.members.filter(({ seat }) => seat.votes > 0);
  const writable = voters.filter(({ seat }) => !seat.arbiter).length;
  const wall = new Date(self.last?.wallMs ?? 0);
  return {
    ok: 1,
    set: facts.set,
    date: new Date(systemClock.wallMs()),
    myState: self.state,
    term: BSON.Long.fromNumber(self.term),
    syncSourceHost: '',
    syncSourceId: -1,
    heartbeatIntervalMillis: BSON.Long.fromNumber(facts.timing.heartbeatMs),
    majorityVoteCount: facts.majority,
    writeMajorityCount: Math.min(facts.majority, writable),
    votingMembersCount: voters.length,
    writableVotingMembersCount: writable,
    optimes: {
      lastCommittedOpTime: opTime(self.committed),
      lastCommittedWallTime: new Date(self.committed?.wallMs ?? 0),
      appliedOpTime: opTime(self.last),
      durableOpTime: opTime(self.last),
      lastAppliedWallTime: wall,
      lastDurableWallTime: wall,
    },
    members: facts.members.map((each) => (each === self ? selfWord(self) : word(self, each))),
  };
}

function selfWord({ seat, host, state, last }: Mongod): Document {
  return {
    ...{ _id: seat.id, name: host, health: 1, state, stateStr: states[state], uptime: 60 },
    ...(seat.arbiter ? {} : { optime: opTime(last), optimeDate: new Date((last?.seconds ?? 0) * 1000) }),
    ...{
      syncSourceHost: '',
      syncSourceId: -1,
      infoMessage: '',
      configVersion: 1,
      configTerm: 1,
      self: true,
      lastHeartbeatMessage: '',
    },
  };
}

function word(self: Mongod, { seat, host }: Mongod): Document {
  const heard = self.heard.get(seat.id);
  const up = heard?.up === true;
  return {
    ...{ _id: seat.id, name: host, health: up ? 1 : 0, state: up ? heard.state : 8 },
    stateStr: up ? states[heard.state] : '(not reachable/healthy)',
    uptime: up ? 60 : 0,
    ...(seat.arbiter ? {} : { optime: opTime(up ? heard.applied : undefined) }),
    pingMs: BSON.Long.fromNumber(0),
    lastHeartbeatMessage: up ? '' : 'no response within election timeout period',
    ...{
      syncSourceHost: up ? heard.syncsFrom : '',
      syncSourceId: -1,
      infoMessage: '',
      configVersion: 1,
      configTerm: 1,
    },
  };
}

function opTime(entry: Entry | undefined): Document {
  return {
    ts: new BSON.Timestamp({ t: entry?.seconds ?? 0, i: entry?.count ?? 0 }),
    t: BSON.Long.fromNumber(entry?.term ?? -1),
  };
}
