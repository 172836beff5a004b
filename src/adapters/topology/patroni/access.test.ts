import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import {
  type PatroniCluster,
  type PatroniOptions,
  startPatroni,
  whyNoPatroni,
} from '../../../../test/doubles/patroni/cluster.ts';
import { tokenFor, topologyOf } from '../../../../test/doubles/patroni/scene.ts';
import { allWell, viewWhen } from '../../../../test/doubles/topology-view.ts';
import { codeOf } from '../../../model/errors.ts';
import { systemExec } from '../../../platform/exec.ts';

const never = new AbortController().signal;

describe('Patroni behind certificates and a password', () => {
  async function certificate(directory: string, name: string): Promise<{ certificate: string; key: string }> {
    const files = { certificate: join(directory, `${name}.crt`), key: join(directory, `${name}.key`) };
    await systemExec.check({
      argv: [
        ...(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'] as const),
        ...['-keyout', files.key, '-out', files.certificate, '-days', '2', '-subj', `/CN=${name}`],
        ...['-addext', 'subjectAltName=IP:127.0.0.1'],
      ],
      timeoutMs: 60_000,
    });
    // Of a server that runs as somebody else, for the length of a test.
    await chmod(files.key, 0o644);
    return files;
  }

  async function start(t: TestContext, options: PatroniOptions): Promise<PatroniCluster> {
    const cluster = await startPatroni(options);
    t.after(() => cluster[Symbol.asyncDispose]());
    return cluster;
  }

  it('is asked with both, and changes nothing for whoever lacks the password', async (t) => {
    const why =
      (await whyNoPatroni()) ?? ((await systemExec.which('openssl')) === undefined ? 'needs openssl' : undefined);
    if (why !== undefined) return t.skip(why);
    const directory = await mkdtemp(join(tmpdir(), 'sp-tls-'));
    t.after(async () => rm(directory, { recursive: true, force: true }));
    await chmod(directory, 0o755);
    const tls = await certificate(directory, 'patroni');
    const stranger = await certificate(directory, 'stranger');
    const password = join(directory, 'password');
    await writeFile(password, 'open sesame\n', { mode: 0o600 });
    const cluster = await start(t, {
      members: 2,
      tls,
      restapi: { authentication: { username: 'backup', password: 'open sesame' } },
    });
    const ours = { ca: tls.certificate, ...tls };
    const view = await viewWhen(topologyOf(cluster, { tls: ours }), 'all are well', allWell);
    assert.equal(view.members.length, 2);

    for (const wrong of [undefined, { ...ours, ca: stranger.certificate }, { ca: tls.certificate }]) {
      await assert.rejects(
        topologyOf(cluster, { tls: wrong }).view(never),
        (cause) => codeOf(cause) === 'cluster-unknown',
      );
    }
    const without = topologyOf(cluster, { tls: ours });
    const token = await tokenFor(without, 'run');
    await assert.rejects(
      async () => without.holdOff?.(token, never),
      (cause) => codeOf(cause) === 'database-login',
    );
    await assert.rejects(
      async () => without.letGo?.(token),
      (cause) => codeOf(cause) === 'undo-failed',
    );
    const allowed = topologyOf(cluster, { tls: ours, login: { user: 'backup', password: { file: password } } });
    await allowed.holdOff?.(token, never);
    assert.equal((await without.view(never)).failover.heldOff, true);
    await allowed.letGo?.(token);
    assert.equal((await without.view(never)).failover.heldOff, false);
  });
});
