/** MariaDB through the command line: a real server under load on a real btrfs. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Point } from '../../src/model/point.ts';
import type { CommandResult } from '../../src/platform/exec.ts';
import type { MariadbServer } from '../doubles/mariadb-server.ts';
import { rowsOf } from '../doubles/mariadb-subject.ts';
import { eventually, openStage, type Stage } from './stage.ts';

function pointOf(result: CommandResult): Point {
  assert.equal(result.exitCode, 0, `${result.argv.slice(2).join(' ')}: ${result.stderr}${result.stdout}`);
  return (JSON.parse(result.stdout) as { readonly point: Point }).point;
}

/** Numbers in a restored copy, whose data directory lies in `directory`. */
async function restoredRows(directory: string, scratch: string): Promise<readonly number[]> {
  await mkdir(scratch);
  const original = { dataDirectory: directory } as MariadbServer;
  return await rowsOf(
    {
      at: (path) => path,
      required: [{ path: directory, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [] }],
      facts: {},
      scratch,
    },
    original,
    'app.written',
  );
}

async function owedAt(stage: Stage): Promise<readonly number[]> {
  return (await stage.acknowledged()).map(({ row }) => row);
}

describe('the command line on MariaDB', () => {
  it('backs up under load, drills, restores: every row acknowledged before the backup is there', async (t) => {
    const opened = await openStage('mariadb', 'btrfs', { budget: '5s', canary: true });
    if (typeof opened === 'string') return t.skip(opened);
    await using stage = opened;
    await eventually(async () => (await stage.acknowledged()).length > 50, 30_000);
    const checked = await stage.run(['check', 'orders']);
    assert.equal(checked.exitCode, 0, checked.stdout + checked.stderr);
    const plan = await stage.run(['plan', 'orders']);
    assert.match(plan.stdout, /one-instant/);
    assert.match(plan.stdout, /mariadb stops commits/);

    const owed = await owedAt(stage);
    const first = pointOf(await stage.run(['backup', 'orders', '--json']));
    assert.deepEqual([first.verdict, first.level, first.role], ['application-consistent', 'full', 'primary']);
    assert.match(first.journal?.file ?? '', /^bin\.\d+$/);
    assert.deepEqual(await stage.leftovers(), []);

    const owedLater = await owedAt(stage);
    const second = pointOf(await stage.run(['backup', 'orders', '--drill', '--json']));
    assert.deepEqual([second.level, second.parent], ['incremental', first.id]);
    assert.equal(second.drill.outcome, 'passed', JSON.stringify(second.drill));
    assert.ok(second.drill.findings.some(({ check, said }) => check === 'canary' && said.startsWith('prefix 1..')));
    assert.deepEqual(await stage.leftovers(), []);
    const status = await stage.run(['status', 'orders', '--json']);
    assert.match(status.stdout, /"state": ?"thawed"/);

    for (const [point, rows] of [
      [first, owed],
      [second, owedLater],
    ] as const) {
      const target = join(stage.directory, `restored-${point.level}`);
      const restored = await stage.run(['restore', point.id, '--target', target, '--yes', '--json']);
      assert.equal(restored.exitCode, 0, restored.stdout + restored.stderr);
      const { volumes } = point;
      const original = volumes[0]?.paths[0] ?? '';
      const directory = [join(target, original), join(target, 'data'), target].find((each) =>
        existsSync(join(each, 'ibdata1')),
      );
      assert.ok(directory !== undefined, `nothing of MariaDB is in ${target}`);
      const found = new Set(await restoredRows(directory, join(stage.directory, `s-${point.level}`)));
      assert.deepEqual(
        rows.filter((row) => !found.has(row)),
        [],
        `${point.level}: no acknowledged row is lost`,
      );
      assert.equal(Math.max(...found), found.size, 'and none is missing in between');
    }
    return undefined;
  });

  it('refuses to copy the files one after the other', async (t) => {
    const opened = await openStage('mariadb', 'copy', { budget: '5s' });
    if (typeof opened === 'string') return t.skip(opened);
    await using stage = opened;
    const refused = await stage.run(['backup', 'orders', '--json']);
    assert.equal(refused.exitCode, 4, refused.stdout);
    assert.match(refused.stdout, /"code": ?"(?:path-outside-group|hold-not-covering)"/);
    assert.deepEqual(await stage.leftovers(), []);
    return undefined;
  });

  it('is thawed when flow and guard are killed in the hold, and recover finds nothing left', async (t) => {
    const opened = await openStage('mariadb', 'btrfs', { budget: '20s' });
    if (typeof opened === 'string') return t.skip(opened);
    await using stage = opened;
    const held = await stage.run(['freeze', 'orders', '--json']);
    assert.equal(held.exitCode, 0, held.stdout + held.stderr);
    const before = (await stage.acknowledged()).length;
    for (const { pid } of await stage.processes()) process.kill(pid, 'SIGKILL');
    assert.ok(await eventually(async () => (await stage.acknowledged()).length > before + 20, 20_000), 'writers go on');
    const recovered = await stage.run(['recover']);
    assert.equal(recovered.exitCode, 0, recovered.stdout + recovered.stderr);
    assert.match((await stage.run(['status', 'orders', '--json'])).stdout, /"state": ?"thawed"/);
    assert.deepEqual(await stage.leftovers(), []);
    return undefined;
  });
});
