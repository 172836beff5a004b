import { StillpointError } from '../../../model/errors.ts';
import type { Config } from './config.ts';

export type Argv = readonly [string, ...string[]];

/**
 * `-i` passes standard input on. Never `-t`: it needs a terminal, mixes both streams into one and rewrites line ends. Throws
 * `command-failed` for another user: the exec call of a kubelet has no such parameter.
 */
export function execIn(config: Config, argv: Argv, as: { readonly uid?: number; readonly gid?: number }): Argv {
  if (as.uid !== undefined || as.gid !== undefined) {
    throw new StillpointError('command-failed', `a pod takes no user to run ${argv[0]} as (${as.uid ?? as.gid})`, {
      hint: 'run the container as the owner of the engine (securityContext.runAsUser), or let the adapter change the user in it',
    });
  }
  const { program, namespace, pod, container, context } = config;
  return [
    program,
    'exec',
    '-i',
    ...(context === undefined ? [] : ['--context', context]),
    '-n',
    namespace,
    pod,
    ...(container === undefined ? [] : ['-c', container]),
    '--',
    ...argv,
  ];
}

/** Variables by which the client finds its cluster and its credentials, those of the clouds' plugins included. */
export const clientVariables =
  /^(?:HOME|SSH_AUTH_SOCK|SSL_CERT_\w+|(?:HTTPS?|NO|ALL)_PROXY|(?:https?|no|all)_proxy|KUBE\w*|AWS_\w+|AZURE_\w+|GOOGLE_\w+|CLOUDSDK_\w+|USE_GKE_\w+)$/;
