import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { irisStandIn, whyNoIris, type IrisStandIn } from './stand-in.ts';

const skip = whyNoIris() ?? false;

async function made(): Promise<IrisStandIn> {
  return await irisStandIn({
    instances: [{ name: 'IRIS', databases: [{ name: 'USER' }] }],
    containers: [
      { name: 'iris', running: true, mounts: [{ source: '/srv/iris', destination: '/durable' }] },
      { name: 'stopped', running: false, mounts: [] },
    ],
    pods: [
      {
        namespace: 'prod',
        name: 'iris-0',
        containers: ['iris', 'sidecar'],
        running: true,
        claims: [{ volume: 'data', claim: 'iris-data-iris-0', mountPath: '/irissys/data' }],
      },
    ],
  });
}

const freeze = ['iris', 'session', 'IRIS', '-U%SYS', '##Class(Backup.General).ExternalFreeze()'];
const thaw = ['iris', 'session', 'IRIS', '-U%SYS', '##Class(Backup.General).ExternalThaw()'];

describe('iris stand-in: containers and pods', { skip }, () => {
  it('passes commands, stdin and exit codes through docker', async () => {
    await using standIn = await made();
    assert.equal((await standIn.run('docker', ['exec', '-u', 'irisowner', 'iris', ...freeze])).exitCode, 5);
    assert.notEqual(standIn.instance('IRIS').freeze, undefined);
    assert.equal((await standIn.run('docker', ['exec', 'iris', ...thaw])).exitCode, 5);
    const stdin = 'write !,"SP:fed",!\n';
    const fed = await standIn.run('docker', ['exec', '-i', 'iris', 'iris', 'session', 'IRIS', '-U%SYS'], { stdin });
    assert.match(fed.stdout, /^SP:fed$/m);
    // Without -i the command sees an empty stdin.
    const starved = await standIn.run('docker', ['exec', 'iris', 'iris', 'session', 'IRIS', '-U%SYS'], { stdin });
    assert.doesNotMatch(starved.stdout, /SP:fed/);
  });

  it('refuses what docker refuses', async () => {
    await using standIn = await made();
    const cases = [
      [['exec', '-it', 'iris', ...freeze], 1, /the input device is not a TTY/],
      [['exec', 'nobody', ...freeze], 1, /No such container: nobody/],
      [['exec', 'stopped', ...freeze], 1, /is not running/],
      [['exec', 'iris', 'nothing'], 127, /executable file not found/],
      [['exec', 'iris'], 1, /requires at least 2 arguments/],
    ] as const;
    for (const [args, code, text] of cases) {
      const { exitCode, stderr } = await standIn.run('docker', args);
      assert.equal(exitCode, code, args.join(' '));
      assert.match(stderr, text);
    }
    assert.equal(standIn.instance('IRIS').freeze, undefined);
  });

  it('inspects a container: state and mounts', async () => {
    await using standIn = await made();
    const { stdout, exitCode } = await standIn.run('docker', ['inspect', 'iris']);
    assert.equal(exitCode, 0);
    const [found] = JSON.parse(stdout) as {
      State: { Running: boolean };
      Mounts: { Source: string; Destination: string }[];
    }[];
    assert.equal(found?.State.Running, true);
    assert.deepEqual(
      found?.Mounts.map(({ Source, Destination }) => [Source, Destination]),
      [['/srv/iris', '/durable']],
    );
    const missing = await standIn.run('docker', ['inspect', 'nobody']);
    assert.deepEqual([missing.exitCode, missing.stdout.trim()], [1, '[]']);
  });

  it('passes commands, stdin and exit codes through kubectl, and says the code', async () => {
    await using standIn = await made();
    const pod = ['exec', '-n', 'prod', 'iris-0', '-c', 'iris'];
    const frozen = await standIn.run('kubectl', [...pod, '--', ...freeze]);
    assert.equal(frozen.exitCode, 5);
    assert.match(frozen.stderr, /^command terminated with exit code 5$/m);
    const fed = await standIn.run('kubectl', [...pod, '-i', '--', 'iris', 'session', 'IRIS', '-U%SYS'], {
      stdin: 'write !,"SP:fed",!\n',
    });
    assert.match(fed.stdout, /^SP:fed$/m);
    const tty = await standIn.run('kubectl', [...pod, '-it', '--', ...thaw]);
    assert.match(tty.stderr, /Unable to use a TTY/);
    assert.equal(standIn.instance('IRIS').freeze, undefined);
  });

  it('refuses what kubectl refuses', async () => {
    await using standIn = await made();
    const cases = [
      [['exec', 'iris-0', '--', ...freeze], /pods "iris-0" not found/],
      [['exec', '-n', 'prod', 'iris-0', '-c', 'other', '--', ...freeze], /container other is not valid for pod iris-0/],
      [['exec', '-n', 'prod', 'iris-0', ...freeze], /must specify at least one command/],
      [['get', 'pod', 'none', '-n', 'prod', '-o', 'json'], /pods "none" not found/],
    ] as const;
    for (const [args, text] of cases) {
      const { exitCode, stderr } = await standIn.run('kubectl', args);
      assert.equal(exitCode, 1);
      assert.match(stderr, text);
    }
    assert.equal(standIn.instance('IRIS').freeze, undefined);
  });

  it('shows a pod with its claims', async () => {
    await using standIn = await made();
    const { stdout } = await standIn.run('kubectl', ['-n', 'prod', 'get', 'pod', 'iris-0', '-o', 'json']);
    const pod = JSON.parse(stdout) as {
      spec: {
        containers: { name: string; volumeMounts: { mountPath: string }[] }[];
        volumes: { persistentVolumeClaim: { claimName: string } }[];
      };
      status: { phase: string };
    };
    assert.equal(pod.status.phase, 'Running');
    assert.deepEqual(
      pod.spec.containers.map((one) => one.name),
      ['iris', 'sidecar'],
    );
    assert.equal(pod.spec.volumes[0]?.persistentVolumeClaim.claimName, 'iris-data-iris-0');
    assert.equal(pod.spec.containers[0]?.volumeMounts[0]?.mountPath, '/irissys/data');
  });
});
