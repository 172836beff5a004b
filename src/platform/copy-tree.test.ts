import assert from 'node:assert/strict';
import { mkdir, mkdtemp, open, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { RequiredPath } from '../model/storage.ts';
import { copyTree, openTree, plainFile, walkTree, type FileCopier } from './copy-tree.ts';
import { systemExec } from './exec.ts';

const signal = new AbortController().signal;

async function places(t: TestContext): Promise<{ readonly data: string; readonly at: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-tree-'));
  t.after(() => rm(directory, { recursive: true }));
  await mkdir(join(directory, 'data'));
  await mkdir(join(directory, 'copy'));
  return { data: join(directory, 'data'), at: join(directory, 'copy') };
}

function required(path: string, more: Partial<RequiredPath> = {}): RequiredPath {
  return { path, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [], ...more };
}

describe('copyTree', () => {
  it('notes files that vanish on the way, and takes the size of what was copied', async (t) => {
    const { data, at } = await places(t);
    for (const name of ['kept', 'vanishing', 'growing']) await writeFile(join(data, name), 'four');
    // What a live engine does between our look and our copy, at a point that the test can hit every time.
    const copyFile: FileCopier = async (from, to, stat, stop) => {
      if (from.endsWith('vanishing')) await rm(from);
      if (from.endsWith('growing')) await writeFile(from, 'much longer');
      return await plainFile(from, to, stat, stop);
    };
    await copyTree({ required: required(data), at, without: [], copyFile, width: 2, signal });
    const tree = await openTree(at);
    assert.deepEqual(tree.manifest.vanished, [join(data, 'vanishing')]);
    assert.equal(tree.at(join(data, 'vanishing')), undefined);
    assert.equal(tree.statOf(join(data, 'vanishing')), undefined);
    assert.equal(tree.statOf(join(data, 'growing'))?.size, 11n);
    assert.equal(tree.statOf(join(data, 'kept'))?.size, 4n);
  });

  it('copies a database file before its companions, and looks for those only then', async (t) => {
    const { data, at } = await places(t);
    const file = join(data, 'main.db');
    await writeFile(file, 'pages');
    const order: string[] = [];
    const copyFile: FileCopier = async (from, to, stat, stop) => {
      order.push(from);
      // Made while the database is copied: it must be in the copy.
      if (from === file) await writeFile(`${file}-wal`, 'frames');
      return await plainFile(from, to, stat, stop);
    };
    const path = required(file, { kind: 'file', companions: [`${file}-wal`, `${file}-journal`] });
    await copyTree({ required: path, at, without: [], copyFile, width: 4, signal });
    assert.deepEqual(order, [file, `${file}-wal`]);
    const tree = await openTree(at);
    assert.equal(await readFile(tree.at(`${file}-wal`) ?? '', 'utf8'), 'frames');
    assert.equal(tree.at(`${file}-journal`), undefined);
  });

  it('fails when the path itself is gone, and on an error that is no vanishing', async (t) => {
    const { data, at } = await places(t);
    const gone = required(join(data, 'none'));
    const request = { at, without: [], copyFile: plainFile, width: 2, signal };
    await assert.rejects(copyTree({ ...request, required: gone }), { code: 'io' });
    await rm(at, { recursive: true });
    await mkdir(at);
    await writeFile(join(data, 'a'), 'x');
    const copyFile: FileCopier = async () => {
      throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
    };
    await assert.rejects(copyTree({ ...request, required: required(data), copyFile }), { code: 'ENOSPC' });
    await assert.rejects(openTree(at), { code: 'io', message: /never finished/ });
  });

  it('passes over pipes and sockets, and says so', async (t) => {
    const { data, at } = await places(t);
    await systemExec.check({ argv: ['mkfifo', join(data, 'pipe')], timeoutMs: 10_000 });
    await symlink('pipe', join(data, 'link'));
    const copied = await copyTree({ required: required(data), at, without: [], copyFile: plainFile, width: 2, signal });
    assert.deepEqual(copied.skipped, [join(data, 'pipe')]);
    assert.deepEqual([...copied.entries.keys()].toSorted(), [data, join(data, 'link')]);
  });

  it('does not take a torn manifest for a finished copy', async (t) => {
    const { data, at } = await places(t);
    await writeFile(join(data, 'a'), 'x');
    await copyTree({ required: required(data), at, without: [], copyFile: plainFile, width: 2, signal });
    const manifest = join(at, 'manifest.jsonl');
    const whole = await readFile(manifest);
    const withoutEnd = whole.subarray(0, whole.lastIndexOf('\n', whole.length - 2) + 1);
    for (const length of [0, 10, withoutEnd.length, whole.length - 3]) {
      await truncate(manifest, length);
      await assert.rejects(openTree(at), { code: 'io' }, `${length} bytes`);
      await writeFile(manifest, whole);
    }
    assert.equal((await openTree(at)).manifest.entries.size, 2);
  });

  it('ends at the size that a file had when it was opened', async (t) => {
    const { data, at } = await places(t);
    // A file of /proc gives more bytes than its size of 0 says, as one does that grows while it is read.
    const source = '/proc/version';
    assert.notEqual(await readFile(source, 'utf8'), '');
    await writeFile(join(data, 'any'), '');
    const copyFile: FileCopier = (_, to, stat, stop) => plainFile(source, to, stat, stop);
    await copyTree({ required: required(data), at, without: [], copyFile, width: 2, signal });
    const tree = await openTree(at);
    assert.equal(tree.statOf(join(data, 'any'))?.size, 0n);
    assert.equal(await readFile(tree.at(join(data, 'any')) ?? '', 'utf8'), '');
  });

  it('stops walking when the signal fires', async (t) => {
    const { data } = await places(t);
    const handle = await open(join(data, 'a'), 'w');
    await handle.close();
    const walk = walkTree(required(data), [], AbortSignal.abort());
    await assert.rejects(async () => {
      for await (const entry of walk) assert.equal(entry.path, data);
    });
  });
});
