import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseDisks, parseUnit } from './parse-split.ts';

const unit = (active: string, file: string, load = 'loaded'): string =>
  `LoadState=${load}\nActiveState=${active}\nUnitFileState=${file}\n`;

describe('parseUnit', () => {
  it('tells whether the services run and whether they start at a boot', () => {
    assert.deepEqual(parseUnit(unit('active', 'enabled')), { active: 'yes', startup: 'automatic' });
    assert.deepEqual(parseUnit(unit('inactive', 'disabled')), { active: 'no', startup: 'manual' });
    assert.deepEqual(parseUnit(unit('failed', 'static')), { active: 'no', startup: 'unknown' });
    assert.deepEqual(parseUnit(unit('activating', 'enabled')), { active: 'yes', startup: 'automatic' });
  });

  it('tells nothing of a unit that is not there', () => {
    assert.deepEqual(parseUnit(unit('inactive', '', 'not-found')), { active: 'unknown', startup: 'unknown' });
  });
});

describe('parseDisks', () => {
  it('gives disks with their partitions and serials', () => {
    const part = (name: string): object => ({ name, type: 'part', serial: null });
    const text = JSON.stringify({
      blockdevices: [
        { name: '/dev/loop0', type: 'loop', serial: null },
        { name: '/dev/xvda', type: 'disk' },
        {
          name: '/dev/nvme1n1',
          type: 'disk',
          serial: 'vol01',
          children: [part('/dev/nvme1n1p1'), { name: 'x', type: 'lvm' }],
        },
      ],
    });
    assert.deepEqual(parseDisks(text), [
      { path: '/dev/xvda', serial: undefined, partitions: [] },
      { path: '/dev/nvme1n1', serial: 'vol01', partitions: ['/dev/nvme1n1p1'] },
    ]);
    assert.deepEqual(parseDisks('{}'), []);
  });

  it('refuses what is no JSON', () => assert.throws(() => parseDisks('NAME'), { code: 'command-failed' }));
});
