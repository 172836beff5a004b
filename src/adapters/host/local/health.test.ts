import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Finding } from '../../../model/point.ts';
import {
  arrayFindings,
  btrfsFindings,
  cloneFindings,
  groupFindings,
  mapperFindings,
  physicalFindings,
  unasked,
  volumeFindings,
} from './health.ts';
import { parseLvs, parsePvs, parseVgs, type LvRow } from './parse-lvm.ts';
import { parseMapperStatus, parseSignatures, type ArrayState } from './parse-system.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const brief = (findings: readonly Finding[]): readonly string[] =>
  findings.map(({ severity, said }) => `${severity}: ${said}`);

describe('arrayFindings', () => {
  const member = (name: string, slot: string | undefined, ...states: string[]) => ({ name, slot, states });
  const well: ArrayState = {
    level: 'raid1',
    metadata: '1.2',
    uuid: 'x',
    disks: 2,
    state: 'clean',
    degraded: 0,
    action: 'idle',
    mismatches: 0,
    members: [member('sda', '0', 'in_sync'), member('sdb', '1', 'in_sync')],
  };
  const of = (change: Partial<ArrayState>): readonly string[] =>
    brief(arrayFindings('/dev/md0', { ...well, ...change }));

  it('has nothing to say of a healthy array, nor of one without redundancy', () => {
    for (const state of ['clean', 'active', 'active-idle', 'write-pending', 'readonly', 'read-auto']) {
      assert.deepEqual(of({ state }), []);
    }
    assert.deepEqual(of({ level: 'raid0', degraded: undefined, action: undefined, mismatches: undefined }), []);
  });

  it('takes everything that writes to members for an error', () => {
    for (const action of ['resync', 'recover', 'reshape', 'repair', 'something-new']) {
      assert.deepEqual(of({ action }), [`error: /dev/md0 writes to its members: ${action} is under way`]);
    }
    assert.match(of({ action: 'check' }).join(), /^warning: .*checked/);
    assert.match(of({ action: 'frozen' }).join(), /^warning: .*frozen/);
  });

  it('takes a degraded or broken array, or one of unknown state, for an error', () => {
    assert.deepEqual(of({ degraded: 1 }), ['error: /dev/md0 is degraded: 1 of its 2 members are missing']);
    assert.match(of({ degraded: 1, disks: undefined }).join(), /1 of its unknown members/);
    for (const state of ['clear', 'inactive', 'suspended', 'broken']) {
      assert.deepEqual(of({ state }), [`error: /dev/md0 is ${state}`]);
    }
    assert.match(of({ state: undefined }).join(), /^error: the health of \/dev\/md0 could not be asked/);
  });

  it('names members that are faulty or listed twice, and mismatches', () => {
    assert.deepEqual(of({ members: [member('sda', undefined, 'faulty', 'blocked')] }), [
      'error: sda of /dev/md0 is faulty',
    ]);
    assert.deepEqual(of({ members: [member('sda', '0'), member('sdb', '0'), member('sdc', undefined)] }), [
      'error: sda and sdb are both member 0 of /dev/md0',
    ]);
    assert.match(of({ mismatches: 128 }).join(), /^warning: .* 128 sectors/);
  });
});

describe('volumeFindings', () => {
  const rows = (name: string): readonly LvRow[] => parseLvs(transcript(`lvs-2.03.16-${name}.json`), 'lvs');
  const of = (name: string, measured = true): readonly string[] =>
    rows(name).flatMap((row) => brief(volumeFindings(row, measured)));

  it('has nothing to say of healthy volumes', () => {
    assert.deepEqual(of('healthy'), []);
    assert.deepEqual(of('healthy', false), []);
  });

  it('names an invalid snapshot and a pool that fills', () => {
    assert.deepEqual(of('worn', false), [
      'error: vg0/d1_s is an invalid snapshot: its space was full',
      'error: the snapshot vg0/d1_s takes 100 % of its space',
      'warning: the data of thin pool vg0/pool takes 81.74 % of its space',
    ]);
    assert.deepEqual(of('full').slice(2), ['error: vg0/pool is out of data space']);
  });

  it('names volumes that are moved, merged or copied', () => {
    assert.deepEqual(of('moving'), [
      'error: vg2/o has a snapshot that is being merged into it',
      'error: vg2/o_s is a snapshot that is being merged into its origin',
      'error: vg2/pvmove0 is being moved to another physical volume (pvmove)',
      'error: vg2/r is not in sync: resync is under way',
    ]);
  });

  it('names what is partial or has failed', () => {
    assert.deepEqual(of('partial'), [
      'error: vg1/r is partial: a physical volume is missing',
      'error: vg1/r_rimage_1 is partial: a physical volume is missing',
      'error: vg1/r_rmeta_1 is partial: a physical volume is missing',
    ]);
    const failed = of('failed');
    assert.ok(failed.includes('error: vg2/tp has failed'));
    assert.ok(failed.includes('error: vg2/tp_tmeta is in an unknown state'));
    assert.ok(failed.includes('error: vg2/tp_tmeta is of unknown health'));
  });

  it('knows every letter of the manual that is bad news', () => {
    const [row] = rows('healthy').filter(({ name }) => name === 'd1_s');
    assert.ok(row !== undefined);
    const with_ = (attr: string, more: Partial<LvRow> = {}): readonly string[] =>
      brief(volumeFindings({ ...row, dataPercent: undefined, ...more, attr }, true));
    for (const state of 'sSImMdicCX') assert.equal(with_(`-wi-${state}-----`).length, 1, state);
    for (const health of 'pXrFDME') assert.match(with_(`-wi-a---${health}-`).join(), /^error/, health);
    assert.match(with_('rwi-a-r-m-').join(), /^warning: .*mismatches/);
    assert.match(with_('rwi-a-r---', { syncAction: 'check' }).join(), /^warning: .*checked/);
    assert.deepEqual(with_('rwi-a-r---', { syncAction: 'idle' }), []);
    assert.deepEqual(with_('mwi-a-m---', { segtype: 'mirror', copyPercent: 40 }), [
      'error: vg0/d1_s is a mirror that is copied to 40 %',
    ]);
    assert.deepEqual(with_('mwi-a-m---', { segtype: 'mirror', copyPercent: 100 }), []);
  });
});

describe('groupFindings and physicalFindings', () => {
  it('name what is missing and what is there twice', () => {
    assert.deepEqual(groupFindings(parseVgs(transcript('vgs-2.03.16-healthy.json'), 'vgs')), []);
    assert.deepEqual(brief(groupFindings(parseVgs(transcript('vgs-2.03.16-partial.json'), 'vgs'))), [
      'error: volume group vg1 lacks 1 of its physical volumes',
    ]);
    assert.deepEqual(physicalFindings(parsePvs(transcript('pvs-2.03.16-healthy.json'), 'pvs')), []);
    assert.deepEqual(brief(physicalFindings(parsePvs(transcript('pvs-2.03.16-duplicate.json'), 'pvs'))), [
      'warning: /dev/loop0 is a duplicate of physical volume iziLGk-xCOi-eUhF-idKo-dwyM-anDK-DiyAvu: a clone stands beside the original',
    ]);
  });
});

describe('mapperFindings', () => {
  const all = (name: string): readonly string[] =>
    [...parseMapperStatus(transcript(`dmsetup-1.02.185-status-${name}.txt`))].flatMap(([device, targets]) =>
      brief(mapperFindings(device, targets)),
    );
  const of = (line: string): readonly string[] =>
    [...parseMapperStatus(`x: 0 8 ${line}`)].flatMap(([device, targets]) => brief(mapperFindings(device, targets)));

  it('speaks of a healthy group only for its write cache, which holds data', () => {
    assert.deepEqual(all('healthy'), [
      'error: the write cache of vg0-w1 holds blocks that are not on its origin: 986 of 2040 are free',
    ]);
  });

  it('names overflowed snapshots, dirty caches and full pools', () => {
    assert.deepEqual(all('worn').slice(0, 3), [
      'error: the cache of vg0-c1 holds 21 blocks that are not on its origin (writeback)',
      'error: the snapshot vg0-d1_s is no longer good: Invalid',
      'warning: the data of thin pool vg0-pool-tpool takes 81.74 % of its space',
    ]);
    assert.ok(all('full').includes('error: the thin pool vg0-pool-tpool is in mode out_of_data_space'));
    assert.ok(all('full').includes('error: the data of thin pool vg0-pool-tpool takes 100 % of its space'));
  });

  it('names mirrors and raid volumes that are copied or degraded, and missing disks', () => {
    assert.deepEqual(all('moving'), [
      'error: the mirror vg2-pvmove0 has copied 194/200 regions',
      'error: vg2-r is not in sync: its members are aa',
      'error: vg2-r writes to its members: resync',
    ]);
    assert.deepEqual(
      all('partial').filter((said) => said.includes('vg1')),
      [
        'error: vg1-r is degraded: its members are AD',
        'error: a part of vg1-r_rimage_1-missing_0_0 is replaced by errors: its disk is missing',
        'error: a part of vg1-r_rmeta_1-missing_0_0 is replaced by errors: its disk is missing',
      ],
    );
  });

  it('names pools that failed', () => {
    const failed = all('failed');
    assert.ok(failed.includes('error: the thin pool vg2-tp-tpool has failed (Fail)'));
    assert.ok(failed.includes('error: the thin pool of vg2-tv has failed'));
  });

  it('reads forms that the kernel documents', () => {
    const pool = '2 10/100 20/100 - rw no_discard_passdown queue_if_no_space';
    assert.deepEqual(of(`thin-pool ${pool} - 1024`), []);
    assert.deepEqual(of(`thin-pool ${pool} needs_check 1024`), ['error: the thin pool x needs a check']);
    assert.deepEqual(of('thin-pool 2 96/100 odd - ro'), [
      'error: the thin pool x is in mode ro',
      'error: the metadata of thin pool x takes 96 % of its space',
    ]);
    assert.deepEqual(of('thin 1024 2047'), []);
    assert.deepEqual(of('snapshot Merge failed'), ['error: the snapshot x is no longer good: Merge failed']);
    assert.deepEqual(of('mirror 2 8:1 8:2 64/64 1 AD 1 core'), ['error: a side of the mirror x has failed (AD)']);
    assert.deepEqual(of('cache Fail'), ['error: the cache of x has failed (Fail)']);
    const cache = (dirty: number, mode: string, end = 'rw -') =>
      of(
        `cache 8 9/2048 128 98/192 254 220 190 0 0 98 ${dirty} 2 metadata2 ${mode} 2 migration_threshold 2048 smq 0 ${end}`,
      );
    assert.deepEqual(cache(0, 'writeback'), []);
    assert.match(cache(3, 'writethrough').join(), /^warning: .* 3 blocks/);
    assert.deepEqual(cache(0, 'writethrough', 'rw needs_check'), ['error: the cache of x needs a check']);
    assert.deepEqual(of('writecache 0 2040 2040 0'), []);
    assert.match(of('writecache 1 2040 2040 0').join(), /has had errors \(1\)/);
    assert.deepEqual(of('raid raid1 2 AA 8/8 idle 0 0 -'), []);
    assert.deepEqual(of('raid raid1 2 AA 8/8'), []);
    assert.deepEqual(of('crypt'), []);
  });

  it('counts the paths of a multipath device', () => {
    const paths = (...states: string[]): string =>
      `multipath 2 0 0 0 2 1 ${states.map((state, index) => `A 0 1 2 8:${index * 16} ${state} 0 0 1`).join(' ')}`;
    assert.deepEqual(of(paths('A', 'A')), []);
    assert.deepEqual(of(paths('A', 'F')), ['warning: 1 of the 2 paths of x have failed']);
    assert.deepEqual(of(paths('F', 'F')), ['error: no path of x works']);
    assert.deepEqual(of('multipath 2 0 0 0 0 0'), ['error: no path of x works']);
  });
});

describe('btrfsFindings', () => {
  it('names missing devices and errors', () => {
    assert.deepEqual(btrfsFindings('/srv', { missing: [], errors: 0 }), []);
    assert.deepEqual(brief(btrfsFindings('/srv', { missing: ['2', '3'], errors: 5 })), [
      'error: device 2, 3 of the btrfs at /srv is missing',
      'warning: the devices of the btrfs at /srv have had 5 errors (`btrfs device stats`)',
    ]);
  });
});

describe('cloneFindings', () => {
  it('tells a clone from a fellow member and from our own names', () => {
    const all = parseSignatures(transcript('blkid-2.38-export-duplicate.txt'));
    const own = all.find(({ device }) => device === '/dev/ubda') ?? assert.fail();
    assert.deepEqual(brief(cloneFindings('/dev/ubda', own, all, new Set(['/dev/ubda']))), [
      'warning: /dev/loop0 has the same identity as /dev/ubda: a clone stands beside the original',
    ]);
    const array = parseSignatures(transcript('blkid-2.38-export.txt'));
    const member = array.find(({ device }) => device === '/dev/ubda') ?? assert.fail();
    assert.deepEqual(cloneFindings('/dev/ubda', member, array, new Set(['/dev/ubda'])), []);
  });
});

describe('unasked', () => {
  it('is a warning, or an error where being unwell loses data', () => {
    assert.equal(unasked('lvm', 'vg0/a', 'x').severity, 'warning');
    assert.equal(unasked('md', '/dev/md0', 'x', true).severity, 'error');
  });
});
