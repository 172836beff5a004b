import assert from 'node:assert/strict';
import { lstat, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { snapshotProviderContract } from '../../../../test/contract/snapshot-provider.ts';
import { loopVolume } from '../../../../test/doubles/loop-volume.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import type { RequiredPath } from '../../../model/storage.ts';
import { parseRate } from './config.ts';
import { copy } from './provider.ts';

snapshotProviderContract('copy', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-copy-'));
  const settings = copy.config.parse({});
  const platform = realPlatform(join(directory, 'state'));
  return {
    directory,
    create: () => copy.create(settings, platform),
    atomicity: 'sequential',
    dispose: () => rm(directory, { recursive: true }),
  };
});

function directoryPath(path: string, leftOut: RequiredPath['leftOut'] = []): RequiredPath {
  return { path, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut };
}

const signal = new AbortController().signal;

describe('copy', () => {
  it('leaves out what recovery does not need, and nothing of the same name elsewhere', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-copy-'));
    t.after(() => rm(directory, { recursive: true }));
    const data = join(directory, 'data');
    await mkdir(join(data, 'pg_replslot', 'slot'), { recursive: true });
    await mkdir(join(data, 'base', 'pg_replslot'), { recursive: true });
    await writeFile(join(data, 'pg_replslot', 'slot', 'state'), 'x');
    await writeFile(join(data, 'base', 'pg_replslot', 'kept'), 'x');
    await writeFile(join(data, 'postmaster.pid'), '1');
    const provider = copy.create(copy.config.parse({}), realPlatform(join(data, 'state')));
    const group = await provider.locate(
      [
        directoryPath(data, [
          { relative: 'pg_replslot', match: 'contents', why: 'made anew' },
          { relative: 'postmaster.pid', match: 'entry', why: 'of the live server' },
        ]),
      ],
      signal,
    );
    await provider.prepare(group, signal);
    const cut = await provider.cut(group, 'stillpoint-x', signal);
    for (const { snapshot: ref } of cut.cuts) {
      await using snapshot = await provider.open(ref);
      assert.equal(snapshot.at(join(data, 'postmaster.pid')), undefined);
      assert.equal(snapshot.at(join(data, 'pg_replslot', 'slot')), undefined);
      assert.ok((await lstat(snapshot.at(join(data, 'pg_replslot')) ?? '')).isDirectory());
      assert.equal(await readFile(snapshot.at(join(data, 'base', 'pg_replslot', 'kept')) ?? '', 'utf8'), 'x');
      assert.equal(snapshot.at(join(data, 'state', 'staging')), undefined, 'the copies themselves are no data');
    }
  });

  it('keeps holes', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-copy-'));
    t.after(() => rm(directory, { recursive: true }));
    const data = join(directory, 'data');
    await mkdir(data);
    const file = join(data, 'sparse');
    const handle = await open(file, 'w');
    await handle.write('begin', 0);
    await handle.write('middle', 40 * 1024 * 1024 + 3);
    await handle.truncate(64 * 1024 * 1024 + 1);
    await handle.close();
    const provider = copy.create(copy.config.parse({}), realPlatform(join(directory, 'state')));
    const group = await provider.locate([directoryPath(data)], signal);
    await provider.prepare(group, signal);
    const cut = await provider.cut(group, 'stillpoint-x', signal);
    for (const { snapshot: ref } of cut.cuts) {
      await using snapshot = await provider.open(ref);
      const at = snapshot.at(file) ?? '';
      const { blocks, size } = await lstat(at);
      assert.equal(size, 64 * 1024 * 1024 + 1);
      assert.ok(blocks * 512 < 1024 * 1024, `takes ${blocks * 512} bytes`);
      assert.ok((await readFile(at)).equals(await readFile(file)));
    }
  });

  it('stops in the middle of a large file and removes what it made', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-copy-'));
    t.after(() => rm(directory, { recursive: true }));
    const data = join(directory, 'data');
    await mkdir(data);
    // Far more than can be copied before the signal, but a hole: it takes no room and the walk through it can be stopped.
    const handle = await open(join(data, 'huge'), 'w');
    await handle.truncate(1024 ** 4);
    await handle.close();
    const provider = copy.create(copy.config.parse({}), realPlatform(join(directory, 'state')));
    const group = await provider.locate([directoryPath(data)], signal);
    await provider.prepare(group, signal);
    const stop = new AbortController();
    const running = provider.cut(group, 'stillpoint-x', stop.signal);
    setImmediate(() => stop.abort());
    await assert.rejects(running, { code: 'cut-failed' });
    for await (const ref of provider.list(group)) assert.fail(`left ${ref.at}`);
  });

  it('says what a full staging disk needs and leaves nothing there', async (t) => {
    const volume = await loopVolume('ext4');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-copy-'));
    t.after(() => rm(directory, { recursive: true }));
    await writeFile(join(directory, 'big'), new Uint8Array(96 * 1024 * 1024).fill(1));
    const staging = join(volume.mountPoint, 'staging');
    const provider = copy.create(copy.config.parse({ staging }), realPlatform('/nonexistent'));
    const group = await provider.locate([directoryPath(directory)], signal);
    const { spaceBytes } = await provider.predict(group, 'writes-stopped', signal);
    assert.equal(spaceBytes[0]?.directory, staging);
    assert.ok((spaceBytes[0]?.bytes ?? 0) >= 96 * 1024 * 1024);
    await provider.prepare(group, signal);
    await assert.rejects(provider.cut(group, 'stillpoint-x', signal), (error: unknown) => {
      assert.ok(error instanceof Error && 'code' in error && 'hint' in error);
      assert.equal(error.code, 'cut-failed');
      assert.match(String(error.hint), /staging/);
      return true;
    });
    for await (const ref of provider.list(group)) assert.fail(`left ${ref.at}`);
  });

  it('claims no path that is missing', async () => {
    const provider = copy.create(copy.config.parse({}), realPlatform('/nonexistent'));
    assert.deepEqual(await provider.locate([directoryPath('/nonexistent/data')], signal), []);
  });

  it('reads rates with their units', () => {
    assert.equal(parseRate('200MB/s'), 200_000_000);
    assert.equal(parseRate('1GiB/s'), 1024 ** 3);
    assert.throws(() => parseRate('200'), { code: 'config-invalid' });
    assert.throws(() => copy.config.parse({ rate: '200' }));
    assert.throws(() => copy.config.parse({ stagng: '/x' }));
  });
});
