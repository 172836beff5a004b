import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { lone, ReplicaSet, type Seating, type SetOptions } from '../../../../test/doubles/mongodb/replica-set.ts';
import { ScramAccount } from '../../../../test/doubles/mongodb/scram.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { allWell, checks, member, viewWhen } from '../../../../test/doubles/topology-view.ts';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import { systemExec } from '../../../platform/exec.ts';
import { readSecret } from '../../../platform/secrets.ts';
import type { Topology } from '../../../ports/topology.ts';
import { mongodb } from './topology.ts';

const never = new AbortController().signal;
const three = { db1: {}, db2: {}, db3: {} };

function topologyOf(ports: Readonly<Record<string, number>>, more: Readonly<Record<string, unknown>> = {}): Topology {
  const members = Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, { host: 'localhost', port }]));
  return mongodb.create(mongodb.config.parse({ members, ...more }), realPlatform('/nonexistent'), (source) =>
    readSecret(source, systemExec),
  );
}

function portsOf(set: ReplicaSet): Record<string, number> {
  return Object.fromEntries(set.members.map(({ seat }) => [seat.name, set.port(seat.name)]));
}

async function start(
  t: TestContext,
  seats: Readonly<Record<string, Seating>>,
  options: SetOptions = {},
): Promise<ReplicaSet> {
  const set = await ReplicaSet.start(seats, options);
  t.after(() => set[Symbol.asyncDispose]());
  return set;
}

async function refusalOf(topology: Topology): Promise<StillpointError> {
  const cause = await topology.view(never).then(
    () => undefined,
    (why: unknown) => why,
  );
  assert.ok(cause instanceof StillpointError, String(cause));
  return cause;
}

async function directory(t: TestContext): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'sp-mongodb-'));
  t.after(async () => rm(made, { recursive: true, force: true }));
  return made;
}

describe('a replica set behind a login', () => {
  const accounts = [new ScramAccount('watcher', 'open sesame'), new ScramAccount('guest', 'open sesame', true)];

  it('is asked with SCRAM-SHA-256, and its arbiter without an account', async (t) => {
    const password = join(await directory(t), 'password');
    await writeFile(password, 'open sesame\n', { mode: 0o600 });
    const set = await start(t, { db1: {}, db2: {}, witness: { arbiter: true } }, { accounts });
    const login = { user: 'watcher', password: { file: password } };
    const view = await viewWhen(topologyOf(portsOf(set), login), 'all are well', allWell);
    assert.deepEqual(
      view.members.map(({ role }) => role),
      ['primary', 'replica', 'arbiter'],
    );
    // The arbiter's word makes a majority with the one that is left.
    await set.kill('db2');
    const left = await topologyOf(portsOf(set), login).view(never);
    assert.equal(member(left, 'db1').role, 'primary');
  });

  it('says who may not log in, and who may not ask, without the password', async (t) => {
    const set = await start(t, three, { accounts });
    const password = join(await directory(t), 'password');
    await writeFile(password, 'close sesame\n', { mode: 0o600 });
    const wrong = await refusalOf(topologyOf(portsOf(set), { user: 'watcher', password: { file: password } }));
    assert.equal(codeOf(wrong), 'database-login');
    assert.match(wrong.message, /db1: Authentication failed/);
    assert.match(wrong.hint ?? '', /clusterMonitor/);
    assert.ok(!JSON.stringify([wrong.message, wrong.stack, wrong.details]).includes('close sesame'));
    await writeFile(password, 'open sesame\n');
    const powerless = await refusalOf(topologyOf(portsOf(set), { user: 'guest', password: { file: password } }));
    assert.deepEqual([codeOf(powerless), /not authorized on admin/.test(powerless.message)], ['database-login', true]);
    const nobody = await refusalOf(topologyOf(portsOf(set)));
    assert.deepEqual([codeOf(nobody), /requires authentication/.test(nobody.message)], ['database-login', true]);
    const missing = await refusalOf(topologyOf(portsOf(set), { user: 'watcher', password: { file: '/nonexistent' } }));
    assert.equal(codeOf(missing), 'secret-unreadable');
  });
});

describe('a replica set behind certificates', () => {
  async function certificate(folder: string, name: string): Promise<{ certificate: string; key: string }> {
    const files = { certificate: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
    await systemExec.check({
      argv: [
        ...(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'] as const),
        ...['-keyout', files.key, '-out', files.certificate, '-days', '2', '-subj', `/CN=${name}`],
        ...['-addext', `subjectAltName=DNS:${name}`],
      ],
      timeoutMs: 60_000,
    });
    return files;
  }

  it('is believed only by its certificate and name, and by whoever encrypts', async (t) => {
    if ((await systemExec.which('openssl')) === undefined) return t.skip('needs openssl');
    const folder = await directory(t);
    const [ours, strange] = [await certificate(folder, 'localhost'), await certificate(folder, 'stranger')];
    const tlsOf = async (files: { certificate: string; key: string }): Promise<{ cert: Buffer; key: Buffer }> => ({
      cert: await readFile(files.certificate),
      key: await readFile(files.key),
    });
    const set = await start(t, three, { tls: await tlsOf(ours) });
    const ports = portsOf(set);
    const view = await viewWhen(topologyOf(ports, { tls: { ca: ours.certificate } }), 'all are well', allWell);
    assert.equal(view.failover.detectionMs, 1500);

    const other = await refusalOf(topologyOf(ports, { tls: { ca: strange.certificate } }));
    assert.equal(codeOf(other), 'cluster-unknown');
    assert.match(other.hint ?? '', /topology\.mongodb\.tls\.ca/);
    const misnamed = await start(t, three, { tls: await tlsOf(strange) });
    const wrongName = await refusalOf(topologyOf(portsOf(misnamed), { tls: { ca: strange.certificate } }));
    assert.match(wrongName.message, /localhost/);
    assert.match(wrongName.hint ?? '', /names that stand in them/);
    assert.match((await refusalOf(topologyOf(ports))).hint ?? '', /topology\.mongodb\.tls/);
    const absent = await refusalOf(topologyOf(ports, { tls: { ca: join(folder, 'absent.pem') } }));
    assert.deepEqual([codeOf(absent), /absent\.pem cannot be read/.test(absent.message)], ['config-invalid', true]);
  });
});

describe('servers that are no members', () => {
  it('are told apart: by itself, router, never initiated', async () => {
    const cases = [
      [{}, /runs by itself, as a member of no replica set/, /initiated replica set/],
      [{ msg: 'isdbgrid' }, /db1 is a mongos/, /mongods of one shard/],
      [{ isreplicaset: true }, /never initiated/, /initiated replica set/],
      ['old', /no such command/, /4\.4\.2 or later/],
    ] as const;
    for (const [said, message, hint] of cases) {
      await using server = await lone(said);
      const cause = await refusalOf(topologyOf({ db1: server.port }));
      assert.equal(codeOf(cause), 'cluster-unknown');
      assert.match(cause.message, message);
      assert.match(cause.hint ?? '', hint);
    }
  });

  it('leave the others their view, with an error', async (t) => {
    const set = await start(t, three);
    await viewWhen(topologyOf(portsOf(set)), 'all are well', allWell);
    await set.kill('db3');
    await using server = await lone({});
    const gone = `localhost:${set.port('db3')}`;
    const topology = topologyOf({ ...portsOf(set), db3: server.port });
    const view = await viewWhen(topology, 'the others miss it', (each) => member(each, gone).health === 'down');
    assert.deepEqual(checks(view), ['error stranger']);
    assert.equal(member(view, 'db3').health, 'trouble');
  });

  it('may be of another set, or one member twice', async (t) => {
    const set = await start(t, three);
    const other = await start(t, three, { set: 'rs1' });
    await viewWhen(topologyOf(portsOf(set), { replicaSet: 'rs0' }), 'all are well', allWell);
    const misnamed = await refusalOf(topologyOf(portsOf(set), { replicaSet: 'rs1' }));
    assert.match(misnamed.message, /db\d is a member of the replica set rs0, and rs1 is configured/);
    const mixed = await refusalOf(topologyOf({ ...portsOf(set), db3: other.port('db3') }));
    assert.match(mixed.message, /db1 is a member of rs0, and db3 one of rs1/);
    const twice = await refusalOf(topologyOf({ ...portsOf(set), again: set.port('db2') }));
    assert.match(twice.message, /db2 and again are one and the same member/);
    for (const cause of [misnamed, mixed, twice]) assert.equal(codeOf(cause), 'cluster-unknown');
  });
});
