import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { textLines } from './text-lines.ts';

describe('textLines', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'stillpoint-lines-'));
  });
  after(() => rm(directory, { recursive: true }));

  const linesOf = async (content: Buffer | string): Promise<readonly string[]> => {
    const file = join(directory, 'file');
    await writeFile(file, content);
    const all: string[] = [];
    for await (const lines of textLines(file)) all.push(...lines);
    return all;
  };

  it('gives the lines of a file, whose last one needs no end', async () => {
    assert.deepEqual(await linesOf('one\n\nthree\nfour'), ['one', '', 'three', 'four']);
    assert.deepEqual(await linesOf('one\n'), ['one']);
    assert.deepEqual(await linesOf(''), []);
  });

  it('puts characters and lines together that lie over the ends of portions', async () => {
    const lines = Array.from(
      { length: 30_000 },
      (_, index) => `Zeile ${index} für größere Dateien ${'é'.repeat(index % 50)}`,
    );
    assert.deepEqual(await linesOf(lines.join('\n')), lines);
  });

  it('unpacks what is packed, several members too', async () => {
    const packed = Buffer.concat([gzipSync('one\ntw'), gzipSync('o\nthree\n')]);
    assert.deepEqual(await linesOf(packed), ['one', 'two', 'three']);
  });

  it('throws for an archive that is cut off', async () => {
    const packed = gzipSync(Array.from({ length: 5000 }, (_, index) => `line ${index * 7919}`).join('\n'));
    await assert.rejects(linesOf(packed.subarray(0, packed.length - 20)), /unexpected end of file/);
  });

  it('does not keep a line without an end', async () => {
    const [first = '', ...more] = await linesOf(`${'x'.repeat(3_000_000)}\nnext`);
    assert.ok(first.length <= (1 << 16) + (1 << 18), `${first.length} characters were kept`);
    assert.deepEqual(more, ['next']);
  });

  it('ends with the signal, and tells the bytes that were read', async () => {
    const file = join(directory, 'long');
    await writeFile(file, 'a line\n'.repeat(400_000));
    const abort = new AbortController();
    let count = 0;
    const read = async (): Promise<void> => {
      for await (const lines of textLines(file, { signal: abort.signal, onBytes: (more) => (count += more) }))
        if (lines.length > 0) abort.abort();
    };
    await assert.rejects(read(), { name: 'AbortError' });
    assert.ok(count > 0 && count < 2_800_000, `${count} bytes`);
  });

  it('throws what the system says of a file that is not there', async () => {
    const read = async (): Promise<void> => {
      for await (const lines of textLines(join(directory, 'none'))) assert.fail(`${lines.length} lines of nothing`);
    };
    await assert.rejects(read(), { code: 'ENOENT' });
  });
});
