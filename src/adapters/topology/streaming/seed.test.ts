import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { StillpointError } from '../../../model/errors.ts';
import type { SeedRequest } from '../../../ports/topology.ts';
import { makeStandby, type SeedFrom } from './seed.ts';

const place = { host: "/run/o'pg", port: 5433, user: 'backup', database: 'postgres' };

async function copyOf(t: TestContext): Promise<SeedRequest & { readonly data: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-seed-'));
  t.after(async () => await rm(directory, { recursive: true }));
  const data = join(directory, 'srv/pg');
  await mkdir(data, { recursive: true });
  await writeFile(join(data, 'PG_VERSION'), '18\n');
  await writeFile(join(data, 'postgresql.auto.conf'), "work_mem = '8MB'\n");
  return {
    data,
    member: 'db2',
    at: (original) => directory + original,
    required: [{ path: '/srv/pg', role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [] }],
    facts: {},
    identity: '77',
    journal: { file: '000000010000000000000002', position: '0/2000100' },
  };
}

/** A primary that answers the two questions. */
function primary(answers: { identity?: string; wal?: boolean; slot?: boolean }, slot?: string): SeedFrom {
  const { identity = '77', wal = true, slot: slotThere = true } = answers;
  const query = (sql: string): Promise<readonly Record<string, unknown>[]> =>
    Promise.resolve([sql.includes('pg_replication_slots') ? { there: slotThere } : { identity, there: wal }]);
  return { name: 'db1', place, session: { query }, slot };
}

const codeIs = (code: string) => (error: unknown) => error instanceof StillpointError && error.code === code;

describe('a copy that becomes a standby', () => {
  it('gets its settings behind the others and the signal, and no password', async (t) => {
    const request = await copyOf(t);
    const { said, next } = await makeStandby(request, primary({}, 'db2'));
    const settings = await readFile(join(request.data, 'postgresql.auto.conf'), 'utf8');
    assert.equal(
      settings,
      [
        "work_mem = '8MB'",
        String.raw`primary_conninfo = 'host=''/run/o\''pg'' port=''5433'' user=''backup'' application_name=''db2'''`,
        "primary_slot_name = 'db2'",
        "cluster_name = 'db2'",
        '',
      ].join('\n'),
    );
    assert.equal(await readFile(join(request.data, 'standby.signal'), 'utf8'), '');
    assert.ok(next.includes(request.data));
    assert.ok(said.every((each) => !each.includes('no slot')));
  });

  it('is told that nothing keeps the WAL for it where it has no slot', async (t) => {
    const { said } = await makeStandby(await copyOf(t), primary({}));
    assert.match(said.join(), /no slot keeps the WAL/);
  });

  const refused = [
    ['of another cluster', { identity: '78' }, 'level-misfit'],
    ['whose WAL is gone on the primary', { wal: false }, 'journal-gap'],
    ['whose slot is missing', { slot: false }, 'role-unsuitable'],
  ] as const;
  for (const [what, answers, code] of refused) {
    it(`refuses one ${what}, and writes nothing`, async (t) => {
      const request = await copyOf(t);
      await assert.rejects(makeStandby(request, primary(answers, 'db2')), codeIs(code));
      await assert.rejects(readFile(join(request.data, 'standby.signal')), { code: 'ENOENT' });
    });
  }

  it('refuses a point that does not say to where it has the WAL', async (t) => {
    await assert.rejects(makeStandby({ ...(await copyOf(t)), journal: null }, primary({})), codeIs('journal-gap'));
  });
});
