import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseDirtyBytes, parseList, parseShow, parseSnapshot } from './parse.ts';

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

  it('tells whose snapshot it is, and whether it may be written to', () => {
    assert.deepEqual(parseSnapshot(transcript('btrfs-6.2-subvolume-show-snapshot.txt')), {
      uuid: '2441544a-6463-9849-93a1-6951d05b5679',
      parent: '3364e433-ab68-8a46-979e-a009feedf5ec',
      readonly: true,
    });
    assert.deepEqual(parseSnapshot(transcript('btrfs-6.2-subvolume-show.txt')), {
      uuid: 'e88e562f-e0c6-2449-8fb5-e2ce7b7ceaa3',
      parent: undefined,
      readonly: false,
    });
    assert.throws(() => parseSnapshot('db\n\tUUID: \t1\n'), { code: 'command-failed', message: /no Parent UUID/ });
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
