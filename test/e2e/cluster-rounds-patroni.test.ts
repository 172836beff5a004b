/** Backups under load of a pair under Patroni, while members, Patroni, etcd and the tool are killed and stopped: the tool changes no role, no point is wrong. */
import { describe } from 'node:test';
import { whyNoPatroni } from '../doubles/patroni/cluster.ts';
import { patroniSubject } from './rounds/patroni.ts';
import { roundsTest } from './rounds/rounds-test.ts';

describe('rounds of backups of a pair under Patroni', () => {
  roundsTest({ why: whyNoPatroni, subject: patroniSubject, seed: 39, sample: 3 });
});
