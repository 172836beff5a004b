import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { blobStoreContract, type StoreUnderTest } from '../../../../test/contract/blob-store.ts';
import { smallDisk } from '../../../../test/doubles/small-disk.ts';
import { codeOf } from '../../../model/errors.ts';
import { localStore, LocalStore } from './store.ts';

async function temporary(): Promise<StoreUnderTest & { readonly directory: string }> {
  const above = await mkdtemp(join(tmpdir(), 'stillpoint-store-'));
  const directory = join(above, 'repo');
  return {
    directory,
    store: new LocalStore(directory),
    reopened: () => new LocalStore(directory),
    [Symbol.asyncDispose]: () => rm(above, { recursive: true }),
  };
}

blobStoreContract('local directory', temporary);

describe('local store', () => {
  it('does not list what an interrupted put left behind', async () => {
    await using test = await temporary();
    await test.store.put('data/ab/abcd', Buffer.from('x'));
    await writeFile(join(test.directory, 'data/ab/ef01-tmp-0123456789abcdef'), 'half');
    const names: string[] = [];
    for await (const { name } of test.store.list('')) names.push(name);
    assert.deepEqual(names, ['data/ab/abcd']);
  });

  it('makes directories 0700 and files 0400, as restic does', async () => {
    await using test = await temporary();
    await test.store.put('data/ab/abcd', Buffer.from('x'));
    const mode = async (name: string): Promise<number> => (await stat(join(test.directory, name))).mode & 0o777;
    assert.equal(await mode('.'), 0o700);
    assert.equal(await mode('data/ab'), 0o700);
    assert.equal(await mode('data/ab/abcd'), 0o400);
  });

  it('refuses names that lead out of the repository', async () => {
    await using test = await temporary();
    for (const name of ['../x', '/etc/passwd', 'data/../../x', '', 'a//b', './x']) {
      await assert.rejects(test.store.put(name, Buffer.from('x')), (error) => codeOf(error) === 'io');
      await assert.rejects(test.store.get(name), (error) => codeOf(error) === 'io');
    }
  });

  it('says io when the place is no directory', async () => {
    await using test = await temporary();
    await writeFile(test.directory, 'a file');
    await assert.rejects(test.store.put('config', Buffer.from('x')), (error) => codeOf(error) === 'io');
    assert.equal(await test.store.stat('config'), undefined);
  });

  it('reports a full disk, leaves no part, and goes on when there is space again', async (t) => {
    const disk = await smallDisk(256 * 1024);
    if (disk === undefined) {
      t.skip('needs root: a tmpfs of its own cannot be mounted');
      return;
    }
    await using held = disk;
    const store = new LocalStore(held.directory);
    await store.put('data/00/first', Buffer.alloc(100_000, 1));
    await assert.rejects(
      store.put('data/00/second', Buffer.alloc(300_000, 2)),
      (error) => codeOf(error) === 'repository-full',
    );
    assert.deepEqual(await readdir(join(held.directory, 'data/00')), ['first']);
    await store.delete('data/00/first');
    await store.put('data/00/second', Buffer.alloc(100_000, 2));
    assert.equal((await store.get('data/00/second')).length, 100_000);
  });

  it('takes an absolute directory as its configuration', () => {
    assert.equal(localStore.config.parse('/var/backups/stillpoint'), '/var/backups/stillpoint');
    assert.equal(localStore.config.safeParse('relative').success, false);
  });
});
