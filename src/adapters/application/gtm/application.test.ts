import { applicationContract } from '../../../../test/contract/application.ts';
import { gtmSubject } from '../../../../test/doubles/gtm.ts';

applicationContract('gtm, plain freeze, one region', () => gtmSubject({ regions: 1, freeze: 'plain' }));
applicationContract('gtm, online freeze, two regions', () => gtmSubject({ regions: 2, freeze: 'online' }));
applicationContract('gtm, plain freeze, two regions without a journal', () =>
  gtmSubject({ regions: 2, journal: false }),
);
