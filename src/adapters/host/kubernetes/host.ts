import { StillpointError } from '../../../model/errors.ts';
import { environmentFor, execThrough } from '../../../platform/exec-through.ts';
import type { Host } from '../../../ports/host.ts';
import type { ReachModule } from '../../../ports/module.ts';
import { clientVariables, execIn } from './commands.ts';
import { config, type Config } from './config.ts';

/** A pod of a cluster, through kubectl. */
export const kubernetes: ReachModule<Config> = {
  kind: 'kubernetes',
  config,
  create: (settings, local) => host(settings, local),
};

function host(settings: Config, local: Host): Host {
  const outside = (path: string): StillpointError =>
    new StillpointError('path-outside-group', `${path} of pod ${settings.pod} lies on no volume of this machine`, {
      hint: 'the cluster cuts the volumes of its pods; use `stillpoint freeze` and `thaw` around its snapshots',
    });
  return {
    name: settings.pod,
    exec: execThrough(local.exec, {
      name: `pod ${settings.namespace}/${settings.pod}`,
      wrap: (argv, as) => execIn(settings, argv, as),
      clientEnv: environmentFor(clientVariables),
    }),
    // Even on the node itself: nothing here knows whether this machine is the node.
    pathHere: () => Promise.resolve(undefined),
    stackOf: (path) => Promise.reject(outside(path)),
    freeBytes: (path) => Promise.reject(outside(path)),
  };
}
