import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  clearScript,
  externalScript,
  flagScript,
  labelScript,
  listScript,
  memoryScript,
  onlineScript,
  restoreScript,
} from './commands-online.ts';

describe('iris: commands of the own backup', () => {
  it('calls as the manual writes it', () => {
    assert.deepEqual(externalScript('copy "x"'), [
      'set spx=$$BACKUP^DBACK("","E","copy ""x""","","","")',
      'write !,"SP:external=",spx,!',
    ]);
    assert.equal(clearScript()[0], 'set spx=$$CLRINC^DBACK("QUIET")');
    assert.deepEqual(listScript('/b/list'), ['do LISTDIRS^DBACK("/b/list","QUIET")']);
    const call = {
      level: 'cumulative',
      description: 'd',
      output: '/b/x.cbk',
      log: '/b/x.log',
      switchJournal: true,
    } as const;
    const args = onlineScript(call)[0]
      ?.replace(/^[^(]*\(|\)$/g, '')
      .split(',');
    // argfile, TYPE, DESC, OUTDEV, kiljrn, LOGFILE, MODE, clrjrn, swjrn
    assert.deepEqual(args, ['""', '"C"', '"d"', '"/b/x.cbk"', '"Y"', '"/b/x.log"', '"NOINPUT"', '"N"', '"Y"']);
    assert.match(flagScript(['/d'])[0] ?? '', /GetDBNoBackupFlag\("\/d\/",\.spf\)/);
  });

  it('restores to other directories without journals, and mounts first only what is there', () => {
    const call = { file: '/s/x.cbk', list: '/s/list', targets: ['/t/a', '/t/b'], mount: true };
    const script = restoreScript(call);
    assert.equal(script[0], 'set spsc=##class(SYS.Database).MountDatabase("/t/a/",0)');
    assert.ok(script.includes('set spx=$$EXTSELCT^DBREST(1,0,"/s/x.cbk","/s/list",4,"","")'));
    assert.equal(script.filter((line) => line.includes('DismountDatabase')).length, 2);
    assert.ok(!restoreScript({ ...call, mount: false }).some((line) => line.includes('.MountDatabase(')));
  });

  it('takes no path that would begin a command of its own', () => {
    assert.throws(() => labelScript('/x\nhalt'), /control character/);
    assert.throws(
      () => restoreScript({ file: '/x', list: '/y', targets: ['/t\r'], mount: false }),
      /control character/,
    );
  });

  it('lets a list that ended early be told from a whole one', () => {
    const loop = memoryScript().find((line) => line.includes('BUHISTORY')) ?? '';
    assert.ok(
      loop.indexOf('SP:walked') > loop.lastIndexOf('}'),
      'its last words come behind the loop, on the same line',
    );
  });
});
