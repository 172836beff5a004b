import assert from 'node:assert/strict';
import { copyFile, constants, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loopVolume } from '../../test/doubles/loop-volume.ts';
import { systemExec, type Command } from './exec.ts';
import { changedByFiemap, fileExtents } from './fiemap.ts';

const signal = new AbortController().signal;

describe('fileExtents', () => {
  it('maps files of xfs, also with blanks, and passes over pipes, links and newlines without waiting at them', async (t) => {
    const volume = await loopVolume('xfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const at = (name: string): string => join(volume.mountPoint, name);
    await writeFile(at('two words: 1'), new Uint8Array(9000).fill(1));
    await writeFile(at('new\nline'), 'x');
    await systemExec.check({ argv: ['mkfifo', at('pipe')], timeoutMs: 10_000 });
    const { maps, said } = await fileExtents(systemExec, ['two words: 1', 'new\nline', 'pipe', 'gone'].map(at), signal);
    assert.deepEqual([...maps.keys()], [at('two words: 1')]);
    const [extent] = maps.get(at('two words: 1')) ?? [];
    assert.equal(extent?.logical, 0);
    assert.ok(extent.length >= 9000 && extent.flags.has('last'));
    for (const about of ['newline', 'pipe is no regular file', 'ENOENT']) assert.ok(said.includes(about), said);
  });

  it('finds the one block that was written to after a reflink, not yet synced', async (t) => {
    const volume = await loopVolume('xfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const at = (name: string): string => join(volume.mountPoint, name);
    await writeFile(at('live'), new Uint8Array(1024 * 1024).fill(1));
    const cut = (to: string): Promise<void> => copyFile(at('live'), at(to), constants.COPYFILE_FICLONE_FORCE);
    await cut('one');
    const handle = await open(at('live'), 'r+');
    await handle.write(new Uint8Array(10), 0, 10, 5 * 4096 + 3);
    await handle.close();
    await cut('two');
    const file = (name: string): { path: string; size: number } => ({ path: at(name), size: 1024 * 1024 });
    const pairs = [
      { base: file('one'), now: file('two') },
      { base: file('gone'), now: file('two') },
      { base: file('two'), now: file('two') },
    ];
    const { changed } = await changedByFiemap(systemExec, pairs, signal);
    assert.deepEqual(changed, [[{ offset: 5 * 4096, length: 4096 }], undefined, []]);
  });

  it('tells nothing when the command was ended, and throws when it was called off', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-fiemap-'));
    t.after(() => rm(directory, { recursive: true }));
    const files = Array.from({ length: 450 }, (_, index) => join(directory, `file ${index}`));
    for (const file of files) await writeFile(file, 'x');
    const asked: string[][] = [];
    const scripted = (more: object) => ({
      ...systemExec,
      run: async (command: Command) => {
        asked.push(command.argv.slice(5));
        const stdout = command.argv
          .slice(5)
          .map((name) => `File size of ${name} is 0 (0 blocks of 1 bytes)\n${name}: 0 extents found\n`);
        const ended = { killedBy: null, timedOut: false, cancelled: false, stderr: 'said', startedMs: 0, endedMs: 0 };
        return { argv: command.argv, exitCode: 0, stdout: stdout.join(''), ...ended, ...more };
      },
    });
    const { maps } = await fileExtents(scripted({}), files, signal);
    assert.equal(maps.size, 450);
    assert.deepEqual(
      asked.map(({ length }) => length),
      [200, 200, 50],
    );
    const ended = await fileExtents(scripted({ exitCode: null }), files, signal);
    assert.deepEqual([ended.maps.size, ended.said], [0, 'said; said; said']);
    assert.equal((await fileExtents(scripted({ timedOut: true }), files, signal)).maps.size, 0);
    await assert.rejects(fileExtents(scripted({}), files, AbortSignal.abort()), { name: 'AbortError' });
  });
});
