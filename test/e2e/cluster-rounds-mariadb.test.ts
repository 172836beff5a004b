/** Backups under load of a MariaDB server and its replica, while servers and the tool are killed and stopped, and roles are switched: the tool changes no role, no point is wrong. */
import { describe } from 'node:test';
import { mariadbSubject, whyNoMariadbRounds } from './rounds/mariadb.ts';
import { roundsTest } from './rounds/rounds-test.ts';

describe('rounds of backups of a MariaDB pair', () => {
  roundsTest({ why: whyNoMariadbRounds, subject: mariadbSubject, seed: 7158, sample: 4 });
});
