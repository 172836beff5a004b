/** A process of its own that opens a snapshot and waits to be killed. Its argument is the reference as JSON. */
import type { SnapshotRef } from '../../../../src/model/storage.ts';
import { systemClock } from '../../../../src/platform/clock.ts';
import { thick, thin } from './common.ts';

const ref = JSON.parse(process.argv[2] ?? '') as SnapshotRef;
await (ref.provider === 'lvm-thin' ? thin() : thick()).open(ref);
process.stdout.write('open\n');
await systemClock.sleep(600_000);
