/** Inside a guest: runs the scenario that the job names and writes its result to the share. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type { Scenario } from '../scenario.ts';
import type { Job } from '../uml.ts';
import { guest, share, writeSynced } from './guest.ts';

const job = JSON.parse(readFileSync(join(share, 'job.json'), 'utf8')) as Job;
try {
  const { scenario } = (await import(`../scenarios/${job.scenario}.ts`)) as { readonly scenario: Scenario };
  const result = await scenario.run(guest, job.parameters);
  await writeSynced(join(share, 'result.json'), JSON.stringify({ result }));
} catch (error) {
  guest.log(inspect(error, { depth: 6 }));
  await writeSynced(join(share, 'result.json'), JSON.stringify({ error: inspect(error, { depth: 6 }) }));
}
// oxlint-disable-next-line unicorn/no-process-exit -- a writer that a failed scenario left behind must not keep the guest up
process.exit(0);
