import { basename } from 'node:path';
import type { Discovered } from '../../../ports/module.ts';
import { mumpsEnvironments } from './processes.ts';

/** Variables of the process that every process of ours gets anew, or that are nobody's business. */
const ours = /^(gtm_dist|gtmgbldir|gtmroutines|gtm_repl_instance|gtm_etrap|gtm_tmp|gtm_log)$/;

/** Databases of running mumps processes, by the global directory in their environment. */
export function discover(): readonly Discovered[] {
  const found = new Map<string, Discovered>();
  for (const { pid, variables } of mumpsEnvironments()) {
    const globalDirectory = variables['gtmgbldir'];
    if (globalDirectory === undefined || !globalDirectory.startsWith('/') || found.has(globalDirectory)) continue;
    found.set(globalDirectory, {
      name: basename(globalDirectory).replace(/\.gld$/, ''),
      config: {
        globalDirectory,
        ...(variables['gtm_dist'] === undefined ? {} : { distribution: variables['gtm_dist'] }),
        environment: Object.fromEntries(
          Object.entries(variables).filter(([name]) => /^gtm_/.test(name) && !ours.test(name)),
        ),
        ...(variables['gtm_repl_instance'] === undefined
          ? {}
          : { replicationInstance: variables['gtm_repl_instance'] }),
      },
      said: `mumps process ${pid} uses it; add variables that stand in its file names to \`environment\``,
    });
  }
  return [...found.values()];
}
