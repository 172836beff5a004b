import { z } from 'zod';

/** DNS label or subdomain, as names of namespaces, pods and containers are. */
const name = (what: string) =>
  z.string().regex(/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/, { error: `must be the name of ${what}` });

export const config = z
  .strictObject({
    namespace: name('a namespace').describe('Namespace of the pod.'),
    pod: name('a pod').describe('Name of the pod, one of a StatefulSet as a rule: that of others changes.'),
    container: name('a container').optional().describe('Container of the pod. Its default container if absent.'),
    context: z
      .string()
      .regex(/^[^-\p{Cc}]\P{Cc}*$/u, { error: 'must be the name of a context' })
      .optional()
      .describe('Context of the kubeconfig. The current one, or the service account of our own pod, if absent.'),
    program: z.literal('kubectl').default('kubectl').describe('Client program.'),
  })
  .meta({
    description: 'A pod of a Kubernetes cluster, through `kubectl exec`.',
    examples: [{ namespace: 'db', pod: 'iris-0', container: 'iris' }],
  });

export type Config = z.output<typeof config>;
