import assert from 'node:assert/strict';
import type { Arbiter, Places, Refused, Seen, Told } from '../../../src/adapters/topology/mongodb/members.ts';
import type { Hello, OpTime, Seat, SetConfig, Status, Word } from '../../../src/adapters/topology/mongodb/parse.ts';
import { viewOf } from '../../../src/adapters/topology/mongodb/view.ts';
import type { ClusterView } from '../../../src/model/cluster.ts';
import { StillpointError } from '../../../src/model/errors.ts';
import { failoverMargin } from '../../../src/model/failover-margin.ts';

/** Made by hand: what members told of a set, for rules that no running set shows. */

export function seat(id: number, more: Partial<Seat> = {}): Seat {
  const usual = { arbiter: false, hidden: false, priority: 1, votes: 1, delayMs: 0, buildsIndexes: true };
  return { id, host: `m${id}:27017`, ...usual, ...more };
}

export function configOf(seats: readonly Seat[], more: Partial<SetConfig> = {}): SetConfig {
  return {
    set: 'rs0',
    identity: 'a1',
    version: 1,
    term: 1,
    electionTimeoutMs: 10_000,
    heartbeatMs: 2000,
    seats,
    ...more,
  };
}

export function opTime(count: number, term = 1): OpTime {
  return { term, seconds: 1000, count };
}

const stateWords: Readonly<Record<number, string>> = {
  1: 'PRIMARY',
  2: 'SECONDARY',
  3: 'RECOVERING',
  5: 'STARTUP2',
  7: 'ARBITER',
  9: 'ROLLBACK',
};

export function wordOf({ id, host }: Pick<Seat, 'id' | 'host'>, state: number, more: Partial<Word> = {}): Word {
  const said = stateWords[state] ?? '(not reachable/healthy)';
  return { id, host, up: state !== 8, state, said, applied: opTime(1), syncsFrom: '', ...more };
}

/** States that a member believes, one for each seat; 8 is somebody whom it does not hear. */
export interface Belief {
  readonly states: readonly number[];
  readonly term?: number;
  readonly status?: Partial<Status>;
  readonly hello?: Partial<Hello>;
  readonly told?: Partial<Pick<Told, 'transfer' | 'apply'>>;
}

export function told(id: number, config: SetConfig, { states, term = 1, status, hello, told: lags }: Belief): Told {
  const voters = config.seats.filter(({ votes }) => votes > 0);
  const writableVoters = voters.filter((each) => !each.arbiter).length;
  const majority = Math.floor(voters.length / 2) + 1;
  const state = states[id] ?? 2;
  const at = status?.applied ?? opTime(1);
  return {
    name: `db${id}`,
    hello: helloOf(config, id, { writable: state === 1, primary: config.seats[states.indexOf(1)]?.host, ...hello }),
    config,
    status: {
      ...{ set: config.set, term, self: id, state, majority, voters: voters.length },
      ...{ writeMajority: Math.min(majority, writableVoters), writableVoters, tooStale: false },
      ...{ applied: at, received: at, appliedAtMs: 1_000_000, receivedAtMs: 1_000_000, committedAtMs: 1_000_000 },
      words: config.seats.map((each, index) => wordOf(each, states[index] ?? 2)),
      ...status,
    },
    transfer: { ms: 0 },
    apply: { ms: 0 },
    ...lags,
  };
}

export function arbiter(id: number, config: SetConfig, primary: string | undefined): Arbiter {
  return { name: `db${id}`, hello: helloOf(config, id, { arbiter: true, primary }) };
}

export function refused(id: number, how: Refused['refused'] = 'silent'): Refused {
  return { name: `db${id}`, refused: how, said: 'no answer' };
}

export function placesOf(seen: readonly Seen[]): Places {
  return Object.fromEntries(seen.map(({ name }) => [name, { host: name.replace('db', 'm'), port: 27_017 }]));
}

function helloOf(config: SetConfig, id: number, more: Partial<Hello>): Hello {
  const usual = { writable: false, arbiter: false, router: false, uninitiated: false };
  return { set: config.set, me: config.seats[id]?.host, primary: undefined, ...usual, ...more };
}

export const three = configOf([seat(0), seat(1), seat(2)]);
/** The first one is primary of `three`. */
export const states = [1, 2, 2];

export function view(...seen: readonly Seen[]): ClusterView {
  return viewOf(seen, placesOf(seen));
}

/** Why there is no view. */
export function refusal(...seen: readonly Seen[]): StillpointError {
  try {
    view(...seen);
  } catch (cause) {
    assert.ok(cause instanceof StillpointError);
    return cause;
  }
  throw new Error('there is a view');
}

/** What stands against a second of silence. */
export function risksOf(seen: ClusterView, name: string): readonly string[] {
  return failoverMargin(seen, name, { stunMs: 1000, holdMs: 0 }).risks.map(({ code }) => code);
}

export function roles(seen: ClusterView): readonly string[] {
  return seen.members.map(({ role }) => role);
}
