import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deviceName } from './commands.ts';
import { labelIn, placeOf, readTags, refOf, tagOf, tagsFor, uuidsOf, volumeId } from './names.ts';

const volume = volumeId('lvm-thin', { vgUuid: 'kWw2sR-W6vG', uuid: '1xAZxO-O6pk' });
const label = 'stillpoint-20260102-030405-000001';

describe('names of LVM snapshots', () => {
  it('follow from label and volume, and tell the label again', () => {
    const ref = refOf('lvm-thin', 'vg0', volume, label);
    assert.ok(ref.at.startsWith(`/dev/vg0/${label}-`));
    const { vg, name } = placeOf(ref);
    assert.equal(vg, 'vg0');
    assert.equal(labelIn(name, 'lvm-thin', volume), label);
    assert.equal(labelIn(name, 'lvm-thin', `${volume}x`), undefined);
    assert.equal(labelIn(label, 'lvm-thin', volume), undefined);
    assert.equal(labelIn('daily-0123456789', 'lvm-thin', volume), undefined);
    assert.equal(labelIn(`stillpoint-a b-0123456789`, 'lvm-thin', volume), undefined);
    assert.deepEqual(uuidsOf(volume), { vg: 'kWw2sR-W6vG', lv: '1xAZxO-O6pk' });
    assert.throws(() => uuidsOf('btrfs:x:/y'), /no LVM volume/);
  });

  it('are names that LVM takes', () => {
    assert.throws(() => refOf('lvm-thin', 'vg0', volume, 'stillpoint-a b'), { code: 'usage' });
    assert.throws(() => refOf('lvm-thin', 'vg0', volume, 'daily'), { code: 'undo-failed' });
    assert.equal(deviceName('vg-a', 'lv_b-c'), 'vg--a-lv_b--c');
  });

  it('carry where the file system was mounted, whatever the path is called', () => {
    const mounts = [
      { at: '/srv/a b,"c"\\d', root: '/' },
      { at: '/mnt/日本', root: '/sub/x' },
    ];
    const tags = tagsFor(label, 'xfs', mounts);
    for (const tag of tags) assert.match(tag, /^[A-Za-z0-9_+.\-/=!:&#]{1,1024}$/);
    assert.deepEqual(readTags([...tags, 'of-somebody-else']), { fileSystem: 'xfs', mounts });
    assert.equal(tagOf({ at: `/${'x'.repeat(1000)}`, root: '/' }), undefined);
  });

  it('are not read from tags that somebody changed', () => {
    assert.equal(readTags([]), undefined);
    assert.equal(readTags(['stillpoint.fs=xfs']), undefined);
    assert.equal(readTags(['stillpoint.mount=WyIvIiwiLyJd']), undefined);
    for (const odd of ['WyIv', 'e30', 'WyIvIl0']) {
      const read = readTags(['stillpoint.fs=xfs', `stillpoint.mount=${odd}`]);
      assert.deepEqual(read, { fileSystem: 'xfs', mounts: [] }, odd);
    }
  });
});
