import { localHost } from '../../src/adapters/host/local/host.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec } from '../../src/platform/exec.ts';
import { silent } from '../../src/platform/logger.ts';
import type { Platform } from '../../src/ports/module.ts';

/** The real machine, with a state directory of the test's own and no log. */
export function realPlatform(stateDirectory: string, more: Partial<Platform> = {}): Platform {
  return {
    exec: systemExec,
    clock: systemClock,
    log: silent,
    host: localHost(systemExec),
    stateDirectory,
    ...more,
  };
}
