/** `node lone-call.ts docker|kubectl FILE`: one call through a client, which touches FILE and then hangs. To be killed. */
import { execThrough } from '../../../src/platform/exec-through.ts';
import { systemExec } from '../../../src/platform/exec.ts';

const [, , tool, file] = process.argv;
await execThrough(systemExec, {
  name: 'container iris',
  clientEnv: {},
  wrap: (argv) =>
    tool === 'docker'
      ? ['docker', 'exec', '-i', 'iris', ...argv]
      : ['kubectl', 'exec', '-i', '-n', 'db', 'iris-0', '-c', 'iris', '--', ...argv],
}).run({ argv: ['sh', '-c', `touch ${file}; sleep 600`], timeoutMs: 3_000 });
