import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { codeOf } from '../../src/model/errors.ts';
import type { BlobStore, StoredFile } from '../../src/ports/blob-store.ts';

/** An empty store, and what removes it. `reopened` gives a second instance over the same files, as another process would have. */
export interface StoreUnderTest extends AsyncDisposable {
  readonly store: BlobStore;
  readonly reopened: () => BlobStore;
}

async function listed(store: BlobStore, prefix: string): Promise<StoredFile[]> {
  const files: StoredFile[] = [];
  for await (const file of store.list(prefix)) files.push(file);
  return files.toSorted((left, right) => (left.name < right.name ? -1 : 1));
}

function throwsCode(code: string): (error: unknown) => boolean {
  return (error) => {
    assert.equal(codeOf(error), code);
    return true;
  };
}

/** What every BlobStore must keep. Registers its cases under `name`. */
export function blobStoreContract(name: string, make: () => Promise<StoreUnderTest>): void {
  describe(`blob store contract: ${name}`, () => {
    it('gives back what was put, in another instance too', async () => {
      await using test = await make();
      const content = randomBytes(3_000_000);
      await test.store.put('data/ab/abcd', content);
      assert.deepEqual(Buffer.from(await test.store.get('data/ab/abcd')), content);
      assert.deepEqual(Buffer.from(await test.reopened().get('data/ab/abcd')), content);
      assert.deepEqual(await test.reopened().stat('data/ab/abcd'), { name: 'data/ab/abcd', bytes: 3_000_000 });
    });

    it('keeps an empty file', async () => {
      await using test = await make();
      await test.store.put('config', Buffer.alloc(0));
      assert.equal((await test.store.get('config')).length, 0);
      assert.deepEqual(await listed(test.store, ''), [{ name: 'config', bytes: 0 }]);
    });

    it('is not changed through the buffer that was put', async () => {
      await using test = await make();
      const content = Buffer.from('before');
      await test.store.put('config', content);
      content.fill('x');
      assert.equal(Buffer.from(await test.store.get('config')).toString(), 'before');
    });

    it('takes the same name with the same content again', async () => {
      await using test = await make();
      await test.store.put('keys/k', Buffer.from('key'));
      await test.store.put('keys/k', Buffer.from('key'));
      assert.deepEqual(await listed(test.store, 'keys/'), [{ name: 'keys/k', bytes: 3 }]);
    });

    it('gives ranges, and calls a short one damage', async () => {
      await using test = await make();
      await test.store.put('data/00/p', Buffer.from('0123456789'));
      const range = async (offset: number, length: number): Promise<string> =>
        Buffer.from(await test.store.get('data/00/p', { offset, length })).toString();
      assert.equal(await range(0, 3), '012');
      assert.equal(await range(7, 3), '789');
      assert.equal(await range(4, 0), '');
      await assert.rejects(range(8, 3), throwsCode('repository-damaged'));
      await assert.rejects(range(20, 1), throwsCode('repository-damaged'));
    });

    it('calls a missing file damage when read, and undefined when asked for', async () => {
      await using test = await make();
      await assert.rejects(test.store.get('data/00/none'), throwsCode('repository-damaged'));
      assert.equal(await test.store.stat('data/00/none'), undefined);
      await test.store.put('data/00/there', Buffer.from('x'));
      await assert.rejects(test.store.get('data/00/none'), throwsCode('repository-damaged'));
      assert.equal(await test.store.stat('data/00'), undefined);
      assert.equal(await test.store.stat('data/00/there/below'), undefined);
    });

    it('lists by prefix, each file once, and nothing where nothing is', async () => {
      await using test = await make();
      const names = ['config', 'data/ab/1', 'data/ab/2', 'data/cd/3', 'index/x', 'snapshots/s'];
      await Promise.all(names.map((file) => test.store.put(file, Buffer.from(file))));
      const namesOf = async (prefix: string): Promise<string[]> =>
        (await listed(test.store, prefix)).map((file) => file.name);
      assert.deepEqual(await namesOf(''), names);
      assert.deepEqual(await namesOf('data/'), ['data/ab/1', 'data/ab/2', 'data/cd/3']);
      assert.deepEqual(await namesOf('data/ab/'), ['data/ab/1', 'data/ab/2']);
      assert.deepEqual(await namesOf('data/a'), ['data/ab/1', 'data/ab/2']);
      assert.deepEqual(await namesOf('data/ab/2'), ['data/ab/2']);
      assert.deepEqual(await namesOf('locks/'), []);
      assert.deepEqual(await namesOf('dat'), ['data/ab/1', 'data/ab/2', 'data/cd/3']);
    });

    it('deletes, and a missing file is deleted already', async () => {
      await using test = await make();
      await test.store.put('locks/l', Buffer.from('lock'));
      await test.store.delete('locks/l');
      await test.store.delete('locks/l');
      await test.store.delete('never/there');
      assert.equal(await test.store.stat('locks/l'), undefined);
      assert.deepEqual(await listed(test.store, ''), []);
    });

    it('stands many calls at once, also for one name', async () => {
      await using test = await make();
      const contents = Array.from({ length: 24 }, () => randomBytes(20_000));
      await Promise.all(contents.map((content, at) => test.store.put(`data/0${at % 4}/${at}`, content)));
      await Promise.all(contents.map(() => test.store.put('index/same', Buffer.from('same'))));
      const read = await Promise.all(contents.map((_, at) => test.store.get(`data/0${at % 4}/${at}`)));
      assert.deepEqual(
        read.map((bytes) => Buffer.from(bytes)),
        contents,
      );
      assert.equal((await listed(test.store, '')).length, 25);
    });

    it('puts nothing once it is cancelled', async () => {
      await using test = await make();
      await assert.rejects(test.store.put('index/x', Buffer.from('x'), AbortSignal.abort()), throwsCode('cancelled'));
      assert.deepEqual(await listed(test.store, ''), []);
    });

    it('says where it is', async () => {
      await using test = await make();
      assert.notEqual(test.store.location, '');
    });
  });
}
