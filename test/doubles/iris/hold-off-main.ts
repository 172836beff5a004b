/** `hold-off-main.ts ROOT INSTANCES TOKEN`: holds off failover of the mirror STAGE in a process of its own, which a test kills. */
import { join } from 'node:path';
import { irisMirror } from '../../../src/adapters/topology/iris-mirror/topology.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import type { HoldOffToken } from '../../../src/ports/topology.ts';
import { realPlatform } from '../platform.ts';

const [root = '', instances = '', token = ''] = process.argv.slice(2);
const exec = { ...systemExec, which: (program: string) => Promise.resolve(join(root, 'bin', program)) };
const module = irisMirror([]);
const config = module.config.parse({ mirror: 'STAGE', instances: JSON.parse(instances) });
const topology = module.create(config, realPlatform('/nonexistent', { exec }), () => Promise.resolve(''));
await topology.holdOff?.(JSON.parse(token) as HoldOffToken, new AbortController().signal);
