import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseDirtyBytes, parseList, parseShow } from './parse.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');

describe('btrfs output', () => {
  it('lists nested subvolumes, also with a blank in the name', () => {
    assert.deepEqual(parseList(transcript('btrfs-6.2-subvolume-list-o.txt')), ['db/data/nested one']);
    assert.deepEqual(parseList(''), []);
  });

  it('shows where a subvolume lies in its file system', () => {
    assert.equal(parseShow(transcript('btrfs-6.2-subvolume-show.txt')), 'db');
    assert.equal(parseShow(transcript('btrfs-6.2-subvolume-show-top.txt')), '');
  });

  it('takes nothing for granted', () => {
    assert.throws(() => parseList('ID 257 gen 7 path x'), { code: 'command-failed', message: /btrfs subvolume list/ });
    for (const text of ['', 'ERROR: not a subvolume\n']) {
      assert.throws(() => parseShow(text), { code: 'command-failed', message: /btrfs subvolume show/ });
    }
  });

  it('sums what is not yet written', () => {
    assert.equal(
      parseDirtyBytes('MemTotal: 5 kB\nDirty:    300 kB\nWriteback:   32 kB\nWritebackTmp: 9 kB\n'),
      332 * 1024,
    );
    assert.ok(parseDirtyBytes(transcript('meminfo-6.18.txt')) > 0);
    assert.equal(parseDirtyBytes(''), 0);
  });
});
