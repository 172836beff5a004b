import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { environmentOf, freezeArguments, isolatedArgv, segmentCommands, unfreezeArguments } from './commands.ts';
import { gtmConfig } from './config.ts';
import { chooseKind, whyNotOnline } from './hold.ts';
import type { RegionState } from './parse.ts';
import { describeFreeze, type FreezeRecord, whose } from './record.ts';

const place = {
  distribution: '/opt/gtm',
  globalDirectory: '/srv/g.gld',
  variables: { W: '/srv', gtmgbldir: '/elsewhere.gld' },
  replicationInstance: undefined,
};

describe('commands', () => {
  it('never says -override on a living database, and never -online without -noautorelease', () => {
    assert.deepEqual(freezeArguments('plain'), ['freeze', '-on', '*']);
    assert.deepEqual(freezeArguments('online'), ['freeze', '-on', '-online', '-noautorelease', '*']);
    assert.deepEqual(unfreezeArguments(['A', 'B']), ['freeze', '-off', 'A,B']);
  });

  it('gives an environment of its own, in which the application cannot replace what we set', () => {
    assert.deepEqual(environmentOf(place), {
      W: '/srv',
      gtm_dist: '/opt/gtm',
      gtmgbldir: '/srv/g.gld',
      gtmroutines: '/opt/gtm/libgtmutil.so',
      gtm_etrap: 'write $zstatus,! zhalt 1',
    });
    const more = environmentOf({
      ...place,
      variables: { gtm_chset: 'utf-8' },
      replicationInstance: '/srv/r.repl',
      routines: '/o*(/r)',
      temporary: '/t',
    });
    assert.equal(more['gtmroutines'], '/o(/r) /opt/gtm/utf8/libgtmutil.so');
    assert.deepEqual([more['gtm_repl_instance'], more['gtm_tmp'], more['gtm_log']], ['/srv/r.repl', '/t', '/t']);
  });

  it('puts every command on a copy into namespaces of its own', () => {
    const root = isolatedArgv(['mupip', 'integ'], true, { uid: 7, gid: 8 });
    for (const option of ['--ipc', '--mount', '--pid', '--mount-proc']) assert.ok(root.includes(option));
    assert.deepEqual(root.slice(-6), ['setpriv', '--reuid=7', '--regid=8', '--clear-groups', 'mupip', 'integ']);
    assert.deepEqual(isolatedArgv(['mupip'], false).slice(0, 3), ['unshare', '--user', '--map-current-user']);
  });

  it('doubles quotation marks for GDE', () => {
    assert.deepEqual(segmentCommands(new Map([['S', '/a"b.dat']])), ['change -segment S -file_name="/a""b.dat"']);
  });
});

describe('configuration', () => {
  const wrong = (more: Readonly<Record<string, unknown>>): boolean =>
    !gtmConfig.safeParse({ globalDirectory: '/srv/g.gld', ...more }).success;

  it('has defaults, and accepts what it puts out', () => {
    const parsed = gtmConfig.parse({ globalDirectory: '/srv/g.gld' });
    assert.deepEqual(parsed, { globalDirectory: '/srv/g.gld', environment: {}, verify: { integ: 'full' } });
    assert.deepEqual(gtmConfig.parse(parsed), parsed);
  });

  it('refuses relative places, unknown keys, impossible routines and an answer without a question', () => {
    assert.ok(wrong({ globalDirectory: 'g.gld' }));
    assert.ok(wrong({ freze: 'plain' }));
    assert.ok(wrong({ verify: { routine: 'a b' } }));
    assert.ok(wrong({ verify: { routine: '-run' } }));
    assert.ok(wrong({ verify: { expect: 'OK' } }));
    assert.ok(wrong({ environment: { 'a-b': '1' } }));
    assert.ok(!wrong({ verify: { routine: 'inv^app', expect: 'OK' } }));
  });
});

const free: RegionState = {
  region: 'DEFAULT',
  file: '/srv/g.dat',
  frozen: undefined,
  online: false,
  autorelease: false,
  transaction: '0x1',
  journal: 'on',
  beforeImages: true,
  journalFile: '/srv/g.mjl',
  accessMethod: 'BG',
  replication: 'OFF',
  sequence: '0x1',
  blockBytes: 4096,
  globalBuffers: 1024,
  killsInProgress: 0,
  encrypted: false,
};

describe('kind of freeze', () => {
  const version = 'GT.M V7.0-005 Linux x86_64';

  it('is online where the journal allows it, and plain elsewhere', () => {
    assert.equal(chooseKind(undefined, [free, free], version), 'online');
    assert.equal(chooseKind('plain', [free], version), 'plain');
    assert.equal(chooseKind(undefined, [free, { ...free, journal: 'off' }], version), 'plain');
    assert.equal(chooseKind(undefined, [{ ...free, beforeImages: false }], version), 'plain');
    assert.equal(chooseKind(undefined, [{ ...free, accessMethod: 'MM' }], version), 'plain');
    assert.equal(chooseKind(undefined, [free, free], 'GT.M V6.3-014 Linux x86_64'), 'plain');
    assert.equal(whyNotOnline([free], 'GT.M V6.3-014 Linux x86_64'), undefined);
    assert.throws(() => chooseKind('online', [{ ...free, journal: 'disabled' }], version), /no journaling/);
  });
});

describe('whose freeze it is', () => {
  const record: FreezeRecord = { run: 'r', kind: 'plain', uid: 5, regions: ['DEFAULT'], journaled: [], freezers: {} };
  const by = (uid: number, pid: number): RegionState => ({ ...free, frozen: { uid, pid } });
  const confirmed = { ...record, freezers: { DEFAULT: 77 } };

  it('is ours by uid until it was confirmed, and by uid and pid after that', () => {
    assert.equal(whose(free, confirmed), 'nobody');
    assert.equal(whose(by(5, 1), record), 'ours');
    assert.equal(whose(by(0, 1), record), 'foreign');
    assert.equal(whose(by(5, 77), confirmed), 'ours');
    assert.equal(whose(by(5, 78), confirmed), 'foreign');
    assert.equal(whose(by(6, 77), confirmed), 'foreign');
  });

  it('is never ours without a record of that region', () => {
    assert.equal(whose(by(5, 77), undefined), 'foreign');
    assert.equal(whose({ ...by(5, 77), region: 'OTHER' }, confirmed), 'foreign');
  });

  it('says who has frozen it', () => {
    assert.match(describeFreeze(by(5, 77)), /frozen \(plain\) by uid 5, mupip 77/);
    assert.match(describeFreeze({ ...by(5, 77), online: true }), /online/);
    assert.match(describeFreeze({ ...free, online: true }), /released by the engine/);
    assert.match(describeFreeze(free), /not frozen$/);
  });
});
