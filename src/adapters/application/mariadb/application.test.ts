import { applicationContract } from '../../../../test/contract/application.ts';
import { whyNoMariadb } from '../../../../test/doubles/mariadb-server.ts';
import { mariadbSubject } from '../../../../test/doubles/mariadb-subject.ts';

applicationContract('MariaDB', async () => (await whyNoMariadb()) ?? mariadbSubject());

applicationContract(
  'MariaDB with files in many places',
  async () => (await whyNoMariadb()) ?? mariadbSubject({ scattered: true }),
);
