/** The script of a seeded member, run on the stand-in. It is no proof for a real mirror. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, rm, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { both, mirrorName, never, topologyFor } from '../../../../test/doubles/iris/mirror-bench.ts';
import { irisStandIn, type IrisStandIn, whyNoIris } from '../../../../test/doubles/iris/stand-in.ts';
import { systemExec, type CommandResult } from '../../../platform/exec.ts';
import type { Seeded, SeedRequest, Topology } from '../../../ports/topology.ts';

interface Bench {
  readonly standIn: IrisStandIn;
  readonly topology: Topology;
  readonly target: string;
  seed(change?: Partial<SeedRequest>): Promise<Seeded>;
  run(seeded: Seeded): Promise<CommandResult>;
  session(instance: string, ...lines: readonly string[]): Promise<string>;
  /** A copy of the database of A as a restore leaves it. */
  copy(): Promise<void>;
}

const databases = [{ name: 'IRISSYS' }, { name: 'APP' }];

async function bench(t: TestContext): Promise<Bench> {
  const standIn = await irisStandIn({
    instances: ['A', 'B'].map((name) => ({ name, databases })),
    mirrors: [
      {
        name: mirrorName,
        members: [
          { member: 'NODEA/A', instance: 'A' },
          { member: 'NODEB/B', instance: 'B' },
        ],
      },
    ],
  });
  t.after(() => standIn[Symbol.asyncDispose]());
  const target = await mkdtemp(join(tmpdir(), 'sp-iris-seed-'));
  t.after(() => rm(target, { recursive: true, force: true }));
  const topology = topologyFor(standIn, both);
  const at = (original: string): string => (original === '/' ? target : target + original);
  const session: Bench['session'] = async (instance, ...lines) => {
    const stdin = `${[...lines, 'halt'].join('\n')}\n`;
    return (await standIn.run('iris', ['session', instance, '-U%SYS'], { stdin })).stdout;
  };
  return {
    ...{ standIn, topology, target, session },
    async seed(change) {
      const request = { member: 'db2', at, required: [], facts: {}, identity: '', journal: null, ...change };
      const seeded = await topology.seed?.(request, never);
      assert.ok(seeded);
      return seeded;
    },
    run: ({ next }) =>
      systemExec.run({
        argv: ['sh', '-c', next],
        timeoutMs: 120_000,
        env: { PATH: `${standIn.bin}:${process.env['PATH']}` },
      }),
    async copy() {
      const { directory } = standIn.database('A', 'APP');
      await session('A', 'set sc=##class(Backup.General).ExternalFreeze()');
      await cp(directory, at(directory), { recursive: true });
      await session('A', 'set sc=##class(Backup.General).ExternalThaw()');
      await rm(join(at(directory), 'iris.lck'), { force: true });
    },
  };
}

const global = ({ standIn }: Bench, instance: string): string =>
  `^|"^^${standIn.database(instance, 'APP').directory}/"|seed`;

describe('a member of an IRIS mirror from a copy', { skip: whyNoIris() ?? false, timeout: 300_000 }, () => {
  it('has the copy mounted, activated and caught up, by a script that a person starts', async (t) => {
    const at = await bench(t);
    await at.session('A', `set ${global(at, 'A')}="from the primary"`);
    await at.copy();
    await at.standIn.run('iris', ['stop', 'B', 'quietly']);
    const seeded = await at.seed();
    assert.match(seeded.said.join('\n'), /APP of STAGE.*not yet tried on a real mirror/s);
    assert.equal(at.standIn.instance('B').status, 'down', 'nothing was begun');
    const done = await at.run(seeded);
    assert.equal(done.exitCode, 0, done.stderr + done.stdout);
    assert.match(await at.session('B', `write ${global(at, 'B')}`), /from the primary/);
    const [, member] = at.standIn.mirror(mirrorName).members;
    assert.deepEqual([member?.state, member?.databases], ['BACKUP', [{ name: 'APP' }]]);
    const view = await at.topology.view(never);
    assert.deepEqual(
      view.members.map(({ name, role, health }) => [name, role, health].join(' ')),
      ['db1 primary healthy', 'db2 backup healthy'],
    );
    // Once more, over what is there.
    assert.equal((await at.run(seeded)).exitCode, 0);
  });

  it('stops at the step that does not go well, and can be run again', async (t) => {
    const at = await bench(t);
    await at.copy();
    await at.standIn.run('iris', ['stop', 'B', 'quietly']);
    const seeded = await at.seed();
    const { directory } = at.standIn.database('A', 'APP');
    const copy = join(at.target + directory, 'IRIS.DAT');
    await rename(copy, `${copy}.away`);
    const stopped = await at.run(seeded);
    assert.notEqual(stopped.exitCode, 0);
    assert.equal(at.standIn.mirror(mirrorName).members[1]?.state, 'STOPPED', 'it stays out of the mirror');
    await rename(`${copy}.away`, copy);
    at.standIn.faults('B', { accessDenied: true });
    const refused = await at.run(seeded);
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stderr, /ACCESS DENIED.*failed: db2 leaves the mirror/s);
    at.standIn.faults('B', {});
    // What makes a mount fail makes the second half fail.
    const lock = join(at.standIn.database('B', 'APP').directory, 'iris.lck');
    await at.session(
      'B',
      `set sc=##class(SYS.Database).DismountDatabase("${at.standIn.database('B', 'APP').directory}")`,
    );
    await writeFile(lock, 'C /elsewhere/\n');
    const unmounted = await at.run(seeded);
    assert.equal(unmounted.exitCode, 1);
    assert.match(unmounted.stderr, /cannot be mounted.*failed: db2 mounts/s);
    await rm(lock);
    const done = await at.run(seeded);
    assert.equal(done.exitCode, 0, done.stderr);
  });

  it('is refused without the files, the journal or a primary, and writes nothing then', async (t) => {
    const at = await bench(t);
    await assert.rejects(at.seed(), { code: 'point-incomplete', message: /no database file of APP/ });
    await at.copy();
    const journal = { file: '/any/MIRROR-STAGE-20260101.001', position: '1' };
    await assert.rejects(at.seed({ journal }), { code: 'journal-gap', message: /MIRROR-STAGE-20260101\.001/ });
    await writeFile(join(at.standIn.instance('A').journal.directory, 'MIRROR-STAGE-20260101.001'), '');
    assert.match((await at.seed({ journal })).said.join(), /db1 still has MIRROR-STAGE/);
    await rm(join(at.target, 'member-db2'), { recursive: true });
    await assert.rejects(at.seed({ member: 'db9' }), { code: 'config-invalid' });
    at.standIn.changeMirror(mirrorName, ({ members }) => {
      for (const member of members) Object.assign(member, { databases: [] });
    });
    await assert.rejects(at.seed(), { code: 'role-unsuitable', message: /no mirrored database/ });
    at.standIn.faults('A', { accessDenied: true });
    await assert.rejects(at.seed(), { code: 'cluster-unknown' });
    assert.equal(existsSync(join(at.target, 'member-db2')), false);
  });
});
