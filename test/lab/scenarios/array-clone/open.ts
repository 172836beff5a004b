/** A process that opens a clone of array members and is killed meanwhile. Argument: a file with the request. */
import { readFileSync } from 'node:fs';
import { openArrayClone, type ArrayCloneRequest } from '../../../../src/platform/array-clone.ts';
import { systemClock } from '../../../../src/platform/clock.ts';
import { systemExec } from '../../../../src/platform/exec.ts';

const request = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Omit<ArrayCloneRequest, 'exec'>;
process.stdout.write('opening\n');
await openArrayClone({ ...request, exec: systemExec });
await systemClock.sleep(10 * 60_000);
