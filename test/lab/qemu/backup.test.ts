/** The whole program on disks that are cut from below: guard and sentinel freeze their file systems, QEMU cuts, changed blocks are read. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { systemExec, type CommandResult } from '../../../src/platform/exec.ts';
import { qemuScene, type QemuScene } from './scene.ts';

const main = join(import.meta.dirname, '../../../src/main.ts');
const full = process.env['STILLPOINT_TEST_FULL'] === '1';

interface Point {
  readonly id: string;
  readonly verdict: string;
  readonly level: string;
  readonly volumes: readonly unknown[];
  readonly changedBlocks?: { readonly maps: readonly { readonly source: string }[] };
  readonly bytes: { readonly logical: number; readonly read: number };
}

function fill(files: readonly string[]): void {
  for (const file of files) {
    using database = new DatabaseSync(file);
    database.exec('pragma journal_mode = wal; create table rows (text)');
    database.exec(
      'with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000) insert into rows select i || hex(randomblob(40)) from n',
    );
  }
}

/** Fails when the file system is still frozen: in another process, which then hangs in place of this one. */
async function change(files: readonly string[], from: number): Promise<void> {
  const program = `
    const { DatabaseSync } = require('node:sqlite');
    for (const file of process.argv.slice(2)) {
      // The guard of a killed flow needs a moment to see that, and holds its lock until then.
      const database = new DatabaseSync(file, { timeout: 15000 });
      database.exec('update rows set text = random() where rowid between ' + Number(process.argv[1]) + ' and ' + (Number(process.argv[1]) + 50));
      database.close();
    }`;
  const argv = [process.execPath, '-e', program, String(from), ...files] as const;
  await systemExec.check({ argv, timeoutMs: 30_000 });
}

async function configure(scene: QemuScene, directory: string, files: readonly string[]): Promise<string> {
  await writeFile(join(directory, 'key'), 'password\n', { mode: 0o600 });
  const file = join(directory, 'stillpoint.yaml');
  // YAML takes JSON.
  const config = {
    repository: { store: { local: join(directory, 'repository') }, passwordFile: join(directory, 'key') },
    stateDirectory: join(directory, 'state'),
    workloads: {
      shop: { application: { sqlite: { files } }, storage: [{ qemu: scene.config }], hold: { budget: '20s' } },
    },
  };
  await writeFile(file, JSON.stringify(config));
  return file;
}

describe('a backup of disks that QEMU cuts', () => {
  it('freezes both file systems, reads what changed, passes a drill, and recovers from kills', async (t) => {
    const scene = await qemuScene({ disks: 2 });
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-qemu-backup-'));
    t.after(() => rm(directory, { recursive: true }));
    const files = [0, 1].map((index) => join(scene.disk(index).mountPoint, 'shop.db'));
    fill(files);
    const config = await configure(scene, directory, files);
    const run = (args: readonly string[], fault = ''): Promise<CommandResult> =>
      systemExec.run({
        argv: [process.execPath, main, ...args, '--json', '--config', config],
        env: fault === '' ? {} : { STILLPOINT_FAULT: fault },
        timeoutMs: 5 * 60_000,
      });
    const backup = async (): Promise<Point> => {
      const done = await run(['backup', 'shop']);
      assert.equal(done.exitCode, 0, done.stderr.slice(-3000));
      return (JSON.parse(done.stdout) as { readonly point: Point }).point;
    };
    const overlays = async (): Promise<readonly string[]> =>
      (await readdir(join(directory, 'state/qemu'))).filter((name) => !name.endsWith('.sock'));

    assert.equal((await run(['repo', 'init'])).exitCode, 0);
    const first = await backup();
    assert.deepEqual([first.verdict, first.volumes.length], ['application-consistent', 2]);

    await change(files, 1000);
    const second = await backup();
    assert.deepEqual([second.verdict, second.level], ['application-consistent', 'incremental']);
    assert.deepEqual(
      second.changedBlocks?.maps.map(({ source }) => source),
      ['QEMU dirty bitmap and FIEMAP', 'QEMU dirty bitmap and FIEMAP'],
    );
    assert.ok(second.bytes.read < second.bytes.logical / 4, JSON.stringify(second.bytes));
    const drill = await run(['drill', 'shop']);
    assert.equal(drill.exitCode, 0, drill.stderr.slice(-3000));

    const steps = full ? ['prepare', 'freeze', 'cut', 'thaw', 'copy', 'record'] : ['freeze', 'cut'];
    for (const [index, step] of steps.entries()) {
      const killed = await run(['backup', 'shop'], `exit:after:${step}`);
      assert.equal(killed.killedBy, 'SIGKILL', `after ${step}: ${killed.stderr.slice(-2000)}`);
      await change(files, 2000 + index * 100);
      const recovered = await run(['recover']);
      assert.equal(recovered.exitCode, 0, recovered.stderr.slice(-3000));
      for (const name of await overlays()) {
        assert.ok(!name.startsWith('ready-'), `${name} is left after a kill after ${step}`);
      }
      assert.ok((await overlays()).length <= 4, (await overlays()).join());
    }
    const last = await backup();
    assert.equal(last.verdict, 'application-consistent');
    const kept = await overlays();
    assert.ok(kept.length === 2 && kept.every((name) => name.startsWith(`stillpoint-${last.id}-`)), kept.join());
  });
});
