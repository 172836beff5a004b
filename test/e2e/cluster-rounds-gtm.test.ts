/** Backups under load of a replicated pair of GT.M instances, while instances, their servers and the tool are killed and stopped: the tool changes no role, no point is wrong. */
import { describe } from 'node:test';
import { whyNoGtm } from '../doubles/gtm.ts';
import { gtmSubject } from './rounds/gtm.ts';
import { roundsTest } from './rounds/rounds-test.ts';

describe('rounds of backups of a pair of GT.M instances', () => {
  roundsTest({ why: () => Promise.resolve(whyNoGtm()), subject: gtmSubject, seed: 44, sample: 3 });
});
