import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseMetadataNumber, parsePoolStatus, parseThinDelta } from './parse-thin-delta.ts';

const transcripts = join(import.meta.dirname, '../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const kib64 = 64 * 1024;

describe('thin pool', () => {
  it('says whether its metadata is held', () => {
    const free = parsePoolStatus(transcript('dmsetup-1.02.185-status-pool.txt'));
    assert.deepEqual(free, { transaction: '3', heldRoot: undefined });
    const held = parsePoolStatus(transcript('dmsetup-1.02.185-status-pool-held.txt'));
    assert.deepEqual(held, { transaction: '3', heldRoot: '106' });
    for (const text of ['', '0 1048576 thin-pool Fail\n', '0 8 linear \n', '0 8 thin-pool 3 1/2 3/4\n']) {
      assert.throws(() => parsePoolStatus(text), { code: 'command-failed' });
    }
  });

  it('names the device of its metadata', () => {
    assert.equal(parseMetadataNumber(transcript('dmsetup-1.02.185-table-pool.txt')), '254:1');
    assert.throws(() => parseMetadataNumber('0 8 linear 98:0 2048'), { code: 'command-failed' });
  });
});

describe('thin_delta', () => {
  it('gives what differs in bytes of the volume', () => {
    const { changed, blockBytes } = parseThinDelta(transcript('thin-delta-0.9.xml'), 2, 3);
    assert.equal(blockBytes, kib64);
    assert.deepEqual(
      changed.map(({ offset, length }) => [offset / kib64, length / kib64]),
      [
        [0, 2],
        [11, 2],
        [51, 3],
        [121, 2],
        [3200, 1],
      ],
    );
  });

  it('counts what only one of them has as changed', () => {
    const xml = [
      '<superblock uuid="" time="2" transaction="3" data_block_size="256" nr_data_blocks="0">',
      '<diff left="2" right="3">',
      '<left_only begin="4" length="1"/>',
      '<right_only begin="5" length="2"/>',
      '<same begin="9" length="9"/>',
      '</diff>',
      '</superblock>',
    ].join('\n');
    const { changed } = parseThinDelta(xml, 2, 3);
    assert.deepEqual(changed, [{ offset: 4 * 128 * 1024, length: 3 * 128 * 1024 }]);
  });

  it('refuses what is cut short, of other volumes, or holds a line that is not understood', () => {
    const whole = transcript('thin-delta-0.9.xml');
    const lines = whole.split('\n');
    for (const text of [
      '',
      '<superblock data_block_size="128">',
      lines.slice(0, 2).join('\n'),
      lines.slice(0, 8).join('\n'),
      whole.replace('</diff>', ''),
      whole.replace('</superblock>', ''),
      whole.replace('data_block_size="128"', 'data_block_size="0"'),
      whole.replace('data_block_size="128"', ''),
      whole.replace('<superblock', '<other'),
      whole.replace('<diff', '<other'),
      whole.replace('<different begin="11"', '<moved begin="11"'),
      whole.replace('begin="51"', 'begin="-1"'),
    ]) {
      assert.throws(() => parseThinDelta(text, 2, 3), { code: 'command-failed' }, text.slice(0, 300));
    }
    assert.throws(() => parseThinDelta(whole, 3, 2), { code: 'command-failed' });
    assert.throws(() => parseThinDelta(whole, 2, 4), { code: 'command-failed' });
  });
});
