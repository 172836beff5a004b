import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { lvmIdentity, mapperName, parseLvs, parsePvs, parseVgs, volumeOfMapper } from './parse-lvm.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const command = 'lvs';

describe('parseLvs', () => {
  const rows = parseLvs(transcript('lvs-2.03.16-healthy.json'), command);
  const row = (name: string) => rows.find((each) => each.name === name) ?? assert.fail(name);

  it('reads thin volumes and their pool, with hidden names bared', () => {
    assert.deepEqual(row('t1_x'), {
      group: 'vg0',
      name: 't1_x',
      uuid: 'VWBdta-cVx2-8dcj-22Zp-NZMZ-tjb9-5PrcTY',
      attr: 'Vwi-a-tz--',
      size: '419430400',
      segtype: 'thin',
      pool: 'pool',
      origin: 't1',
      dataPercent: 2.3,
      metadataPercent: undefined,
      chunkBytes: undefined,
      health: undefined,
      copyPercent: undefined,
      syncAction: undefined,
      mismatches: undefined,
      cacheMode: undefined,
      devices: [],
    });
    const { chunkBytes, dataPercent, metadataPercent, devices } = row('pool');
    assert.deepEqual([chunkBytes, dataPercent, metadataPercent, devices], ['65536', 7.18, 10.94, ['pool_tdata(0)']]);
    assert.equal(row('c1').pool, 'cpool_cpool');
    assert.equal(row('c1').origin, 'c1_corig');
    assert.equal(row('c1').cacheMode, 'writeback');
    assert.deepEqual(row('st').devices, ['/dev/ubde(0)', '/dev/ubdf(0)']);
    assert.deepEqual([row('r1').syncAction, row('r1').mismatches, row('r1').copyPercent], ['idle', 0, 100]);
  });

  it('makes one volume of several segments', () => {
    assert.deepEqual(row('lvol0_pmspare').devices, ['/dev/md0(80)', '/dev/ubde(21)']);
  });

  it('reads what is wrong', () => {
    const full = parseLvs(transcript('lvs-2.03.16-full.json'), command);
    assert.equal(full.find(({ name }) => name === 'pool')?.health, 'out_of_data');
  });

  it('names the command when anything is missing', () => {
    for (const output of ['', '{}', '{"report":[{}]}', '{"report":[{"lv":[{"lv_uuid":"a"}]}]}']) {
      assert.throws(() => parseLvs(output, command), { code: 'command-failed', message: /`lvs`/ });
    }
  });
});

describe('parseVgs and parsePvs', () => {
  it('read a group, and one that lacks a volume', () => {
    assert.deepEqual(parseVgs(transcript('vgs-2.03.16-healthy.json'), command), {
      name: 'vg0',
      uuid: '2wkDro-c55H-qk6A-Oq17-fmJX-Dlww-XpHT0P',
      attr: 'wz--n-',
      extentBytes: '4194304',
      freeBytes: '1702887424',
      size: '2499805184',
      missing: 0,
    });
    assert.equal(parseVgs(transcript('vgs-2.03.16-partial.json'), command).missing, 1);
    assert.deepEqual(
      parsePvs(transcript('pvs-2.03.16-partial.json'), command).map(({ device, missing }) => [device, missing]),
      [
        ['/dev/ubdg', false],
        ['[unknown]', true],
      ],
    );
  });

  it('say when there is no group, and take a missing count for none missing', () => {
    assert.throws(() => parseVgs('{"report":[{"vg":[]}]}', command), { code: 'command-failed' });
    const vg = { vg_name: 'a', vg_uuid: 'b', vg_attr: 'c', vg_extent_size: '1', vg_free: '2', vg_size: '3' };
    assert.equal(parseVgs(JSON.stringify({ report: [{ vg: [vg] }] }), command).missing, 0);
  });
});

describe('names and UUIDs of device-mapper', () => {
  it('hold those of LVM', () => {
    const lines = transcript('sysfs-6.1-dm-healthy.txt').split('\n');
    const uuids = lines.flatMap((line) => line.split('/dm/uuid:')[1] ?? []);
    const identities = uuids.map((uuid) => lvmIdentity(uuid) ?? assert.fail(uuid));
    assert.equal(identities.length, 26);
    const known = new Set(parseLvs(transcript('lvs-2.03.16-healthy.json'), command).map(({ uuid }) => uuid));
    for (const { group, volume } of identities) {
      assert.equal(group, '2wkDro-c55H-qk6A-Oq17-fmJX-Dlww-XpHT0P');
      assert.ok(known.has(volume), volume);
    }
    assert.deepEqual([...new Set(identities.map(({ suffix }) => suffix))].sort(), [
      '',
      'cdata',
      'cmeta',
      'cow',
      'cvol',
      'pool',
      'real',
      'tdata',
      'tmeta',
      'tpool',
    ]);
    assert.equal(lvmIdentity('CRYPT-LUKS2-abc'), undefined);
  });

  it('double the dashes of a name', () => {
    assert.equal(mapperName('my-vg', 'a--b'), 'my--vg-a----b');
    assert.deepEqual(volumeOfMapper('my--vg-a----b'), { group: 'my-vg', volume: 'a--b' });
    assert.deepEqual(volumeOfMapper('vg0-pool_tmeta'), { group: 'vg0', volume: 'pool_tmeta' });
    assert.equal(volumeOfMapper('mpatha'), undefined);
  });
});
