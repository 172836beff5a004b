/** The guard's main module with the gate beside the real engines. */
import { fileURLToPath } from 'node:url';
import { applications, type RegisteredApplication } from '../../../src/adapters/registry.ts';
import { guardProcess } from '../../../src/guard/process.ts';
import { gate } from './gate.ts';

const registered: RegisteredApplication = {
  kind: gate.kind,
  config: gate.config,
  reachable: gate.reachable === true,
  create: (config, ...rest) => gate.create(gate.config.parse(config), ...rest),
  dataPaths: () => [],
};

process.exit(await guardProcess([...applications, registered], fileURLToPath(import.meta.url)));
