import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseExamine, parsePartition, sameUuid } from './parse-array-clone.ts';

describe('what copies of array members say', () => {
  it('reads a superblock, and takes another device for no member', () => {
    const text = [
      'MD_LEVEL=raid10',
      'MD_DEVICES=4',
      'MD_NAME=lab:0',
      'MD_UUID=2d990c4b:e9ea4130:9c459fab:cb46a911',
      'MD_UPDATE_TIME=1792000000',
      'MD_EVENTS=17',
      '',
    ].join('\n');
    assert.deepEqual(parseExamine(text), {
      uuid: '2d990c4b:e9ea4130:9c459fab:cb46a911',
      level: 'raid10',
      devices: 4,
      events: '17',
    });
    assert.deepEqual(parseExamine('MD_UUID=1:2:3:4\nMD_DEVICES=2\n'), {
      uuid: '1:2:3:4',
      level: '',
      devices: 2,
      events: '',
    });
    for (const none of ['', 'MBR Magic : aa55\n', 'MD_UUID=1:2:3:4\n']) assert.equal(parseExamine(none), undefined);
  });

  it('compares UUIDs in both spellings', () => {
    assert.ok(sameUuid('2d990c4b:e9ea4130:9c459fab:cb46a911', '2D990C4B-e9ea-4130-9c45-9fabcb46a911'));
    assert.ok(!sameUuid('2d990c4b:e9ea4130:9c459fab:cb46a911', '2d990c4b:e9ea4130:9c459fab:cb46a912'));
  });

  it('finds a partition', () => {
    const text = '1 2048 204800\n12 206848 4096\n';
    assert.deepEqual(parsePartition(text, 12), { startSectors: 206_848, sectors: 4096 });
    assert.throws(() => parsePartition(text, 2), { code: 'cut-failed', message: /partition 2/ });
    assert.throws(() => parsePartition('', 1), { code: 'cut-failed' });
  });
});
