/** Backups under load of a pair of PostgreSQL servers, while members and the tool are killed and stopped: no role changes, no point is wrong. */
import { describe } from 'node:test';
import { whyNoPostgres } from '../doubles/embedded-postgres.ts';
import { roundsTest } from './rounds/rounds-test.ts';
import { streamingSubject } from './rounds/streaming.ts';

describe('rounds of backups of a streaming pair', () => {
  roundsTest({ why: whyNoPostgres, subject: streamingSubject, seed: 99, sample: 4 });
});
