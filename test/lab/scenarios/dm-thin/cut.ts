/** A process that cuts the pair and is killed meanwhile. Arguments: label, limit, and the group as JSON. Prints `cut` if it comes so far. */
import { dmThin } from '../../../../src/adapters/snapshot/dm-thin/provider.ts';
import type { Volume } from '../../../../src/model/storage.ts';
import { realPlatform } from '../../../doubles/platform.ts';
import { faultyExec, noteNode } from './faults.ts';

const [label = '', limit = '', group = '[]'] = process.argv.slice(2);
await noteNode();
const provider = dmThin.create({ limit, atLeast: 2 }, realPlatform('/tmp/stillpoint-state', { exec: faultyExec }));
await provider.cut(JSON.parse(group) as readonly Volume[], label, new AbortController().signal);
process.stdout.write('cut\n');
