import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import { keeperLives } from './freeze.ts';
import { irisStandIn, whyNoIris, type InstanceOptions, type IrisStandIn } from './stand-in.ts';

const skip = whyNoIris() ?? false;
const one = (more: Partial<InstanceOptions> = {}): { instances: InstanceOptions[] } => ({
  instances: [{ name: 'IRIS', databases: [{ name: 'USER' }, { name: 'IRISLOCALDATA', journaled: false }], ...more }],
});

const call = async (standIn: IrisStandIn, method: string, args = '', timeoutMs = 20_000) =>
  await standIn.run('iris', ['session', 'IRIS', '-U%SYS', `##Class(Backup.General).${method}(${args})`], { timeoutMs });

const freezeArguments = (log: string, timeout: number, limit = ''): string => `"${log}",,,,,,${timeout},,,${limit}`;

const until = async (condition: () => boolean): Promise<void> => {
  for (let waited = 0; !condition(); waited += 50) {
    assert.ok(waited < 15_000, 'it did not happen within 15 s');
    await systemClock.sleep(50);
  }
};

const digest = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

/** The published log with the values of one run put in place of its own. */
function published(name: string, values: Readonly<Record<string, string>>): string {
  let text = readFileSync(new URL(`../../transcripts/${name}`, import.meta.url), 'utf8');
  for (const [from, to] of Object.entries(values)) text = text.replaceAll(from, to);
  return text.replaceAll(/^\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d/gm, 'TIME');
}

describe('iris stand-in: freeze and thaw', { skip }, () => {
  it('writes the log of the published sample, word for word', async () => {
    await using standIn = await irisStandIn(one());
    const log = join(standIn.root, 'freeze.log');
    assert.equal((await call(standIn, 'ExternalFreeze', `"${log}"`)).exitCode, 5);
    assert.equal((await call(standIn, 'ExternalThaw', `"${log}"`)).exitCode, 5);
    const { manager, journal } = standIn.instance('IRIS');
    const text = readFileSync(log, 'utf8');
    const offset = /offset (\d+) of/.exec(text)?.[1] ?? '';
    assert.ok(Number(offset) > 0);
    assert.equal(
      text.replaceAll(/^\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d/gm, 'TIME'),
      published('iris-2021.1-freeze-thaw.txt', {
        '/usr/irissys/mgr': manager,
        '/iris/journal1/20210811.003': join(journal.directory, journal.files[1]?.name ?? ''),
        '262272': offset,
      }),
    );
  });

  it('puts the same lines into messages.log, but not the marker', async () => {
    await using standIn = await irisStandIn(one());
    await call(standIn, 'ExternalFreeze');
    await call(standIn, 'ExternalThaw');
    const text = readFileSync(join(standIn.instance('IRIS').manager, 'messages.log'), 'utf8');
    const line = /^\d\d\/\d\d\/\d\d-\d\d:\d\d:\d\d:\d{3} \(\d+\) ([0-3]) \[Utility\.Event\] Backup\.General\.(.*)$/gm;
    const found = [...text.matchAll(line)].map((match) => `${match[1]} ${(match[2] ?? '').replace(/\/\S+/, 'X')}`);
    assert.deepEqual(found, [
      '0 ExternalFreeze: Suspending system',
      '1 ExternalFreeze: Warning, X is not being journalled',
      '1 ExternalFreeze: Warning, 1 databases are not journalled, data will be lost in them if system crashes while suspended',
      '0 ExternalFreeze: Start a journal restore for this backup with journal file: X',
      '0 ExternalFreeze: System suspended',
      '0 ExternalThaw: Resuming system',
      '0 ExternalThaw: System resumed',
    ]);
    assert.match(text, /INTERSYSTEMS IRIS JOURNALING SYSTEM MESSAGE\nJournaling switched to: \S+\.002\n/);
    assert.doesNotMatch(text, /Journal marker/);
  });

  it('stops the database files and not the writers', async () => {
    await using standIn = await irisStandIn(one());
    const writer = await standIn.startWriter('IRIS');
    assert.equal((await call(standIn, 'ExternalFreeze')).exitCode, 5);
    const file = join(standIn.database('IRIS', 'USER').directory, 'IRIS.DAT');
    const [before, row] = [digest(file), writer.acknowledged()];
    await until(() => writer.acknowledged() > row + 50);
    assert.equal(digest(file), before);
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 5);
    assert.equal((await call(standIn, 'ExternalThaw')).exitCode, 5);
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 3);
    const last = await writer.stop();
    const rows = standIn.rows(standIn.database('IRIS', 'USER').directory);
    assert.ok(rows.gapless && rows.last >= last, `${rows.last} rows of ${last} acknowledged`);
  });

  it('blocks writers and logins after ExternalFreezeTimeOut, and lets only a thaw through', async () => {
    await using standIn = await irisStandIn(one({ secondMs: 50 }));
    const log = join(standIn.root, 'freeze.log');
    // So slow that it never runs out of buffers: only the limit can stop it.
    const writer = await standIn.startWriter('IRIS', 'USER', 0.02);
    assert.equal((await call(standIn, 'ExternalFreeze', freezeArguments(log, 10))).exitCode, 5);
    await until(() => standIn.instance('IRIS').freeze?.blocked === true);
    await systemClock.sleep(300);
    const stuck = writer.acknowledged();
    await systemClock.sleep(700);
    assert.equal(writer.acknowledged(), stuck);
    const hanging = await call(standIn, 'IsWDSuspendedExt', '', 1500);
    assert.equal(hanging.timedOut, true);
    assert.equal(writer.acknowledged(), stuck);
    assert.equal((await call(standIn, 'ExternalThaw', `"${log}"`)).exitCode, 5);
    assert.match(readFileSync(log, 'utf8'), /ExternalThaw: System resumed\n$/);
    await until(() => writer.acknowledged() > stuck + 5);
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 3);
  });

  it('blocks a writer that runs out of buffers, and stays frozen', async () => {
    await using standIn = await irisStandIn(one());
    const writer = await standIn.startWriter('IRIS', 'USER', 0);
    assert.equal((await call(standIn, 'ExternalFreeze')).exitCode, 5);
    const file = join(standIn.database('IRIS', 'USER').directory, 'IRIS.DAT');
    const [before, first] = [digest(file), writer.acknowledged()];
    let last = -1;
    for (let turns = 0; writer.acknowledged() !== last; turns += 1) {
      // A limit against a hang only: on a busy machine each row takes its time.
      assert.ok(turns < 400, 'it is still writing');
      last = writer.acknowledged();
      await systemClock.sleep(500);
    }
    assert.ok(last > first);
    assert.equal(digest(file), before);
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 5);
    assert.equal((await call(standIn, 'ExternalThaw')).exitCode, 5);
    await until(() => writer.acknowledged() > last + 20);
  });

  it('resumes by itself at WDSuspendLimit, and a later thaw finds it so', async () => {
    await using standIn = await irisStandIn(one({ secondMs: 50 }));
    const log = join(standIn.root, 'freeze.log');
    const writer = await standIn.startWriter('IRIS');
    await call(standIn, 'ExternalFreeze', freezeArguments(log, 5, '20'));
    // Blocked first, then resumed: no command of ours takes part.
    await until(() => standIn.instance('IRIS').freeze?.blocked === true);
    await until(() => standIn.instance('IRIS').freeze === undefined);
    const row = writer.acknowledged();
    await until(() => writer.acknowledged() > row + 20);
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 3);
    assert.equal((await call(standIn, 'ExternalThaw', `"${log}"`)).exitCode, 5);
    const text = readFileSync(log, 'utf8');
    assert.match(text, /ExternalThaw: Already resumed\n$/);
    assert.doesNotMatch(text, /System resumed/);
  });

  it('thaws after its own limits process was killed', async () => {
    await using standIn = await irisStandIn(one({ secondMs: 50 }));
    const writer = await standIn.startWriter('IRIS');
    await call(standIn, 'ExternalFreeze', freezeArguments('', 5).replace('""', ''));
    await until(() => standIn.instance('IRIS').freeze?.blocked === true);
    const { freeze } = standIn.instance('IRIS');
    assert.ok(freeze !== undefined);
    await systemExec.run({ argv: ['kill', '-9', String(freeze.keeper)], timeoutMs: 5000 });
    await until(() => !keeperLives(freeze));
    assert.equal((await call(standIn, 'ExternalThaw')).exitCode, 5);
    const row = writer.acknowledged();
    await until(() => writer.acknowledged() > row + 20);
  });

  it('stays frozen when the caller is gone, and takes the thaw of any process', async () => {
    await using standIn = await irisStandIn(one());
    standIn.faults('IRIS', { freezeHangs: true });
    // Long enough for a busy machine to have frozen by then; the answer never comes.
    const killed = await call(standIn, 'ExternalFreeze', '', 15_000);
    assert.equal(killed.timedOut, true);
    standIn.faults('IRIS', {});
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 5);
    assert.equal(
      (await standIn.run('irissession', ['IRIS', '-U', '%SYS', '##class(Backup.General).ExternalThaw()'])).exitCode,
      5,
    );
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 3);
  });

  it('refuses a second freeze by default, and forgets nothing of the first', async () => {
    await using standIn = await irisStandIn(one());
    await call(standIn, 'ExternalFreeze');
    const token = standIn.instance('IRIS').freeze?.token;
    assert.equal((await call(standIn, 'ExternalFreeze')).exitCode, 3);
    assert.equal(standIn.instance('IRIS').freeze?.token, token);
  });

  it('checks the credentials that the freeze was given', async () => {
    await using standIn = await irisStandIn(one());
    await call(standIn, 'ExternalFreeze', '"",,,,,,,"u","p"');
    assert.equal((await call(standIn, 'ExternalThaw')).exitCode, 3);
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 5);
    assert.equal((await call(standIn, 'ExternalThaw', '"","u","p"')).exitCode, 5);
  });

  it('answers 3 and freezes nothing when a log cannot be written or the freeze fails', async () => {
    await using standIn = await irisStandIn({
      instances: [
        { name: 'IRIS', databases: [{ name: 'USER' }] },
        { name: 'SECOND', databases: [{ name: 'USER' }] },
      ],
    });
    const directory = join(standIn.root, 'directory');
    mkdirSync(directory);
    assert.equal((await call(standIn, 'ExternalFreeze', `"${directory}"`)).exitCode, 3);
    standIn.faults('SECOND', { freezeFails: true });
    assert.equal((await call(standIn, 'ExternalFreeze')).exitCode, 5);
    const second = await standIn.run('iris', [
      'session',
      'SECOND',
      '-U%SYS',
      '##class(Backup.General).ExternalFreeze()',
    ]);
    assert.equal(second.exitCode, 3);
    assert.equal(standIn.instance('SECOND').freeze, undefined);
    assert.notEqual(standIn.instance('IRIS').freeze, undefined);
  });

  it('fails so many thaws, hangs in one, lies about its state', async () => {
    await using standIn = await irisStandIn(one());
    await call(standIn, 'ExternalFreeze');
    standIn.faults('IRIS', { thawFails: 2 });
    assert.deepEqual(
      [
        (await call(standIn, 'ExternalThaw')).exitCode,
        (await call(standIn, 'ExternalThaw')).exitCode,
        (await call(standIn, 'IsWDSuspendedExt')).exitCode,
      ],
      [3, 3, 5],
    );
    standIn.faults('IRIS', { thawHangs: true });
    assert.equal((await call(standIn, 'ExternalThaw', '', 700)).timedOut, true);
    standIn.faults('IRIS', { statusSays: 'running' });
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 3);
    assert.equal((await call(standIn, 'ExternalThaw')).exitCode, 5);
  });

  it('gives any exit code instead of its own, before or after it acted', async () => {
    await using standIn = await irisStandIn(one());
    for (const code of [0, 1, 2, 126, 127, 137]) {
      standIn.faults('IRIS', { exits: [{ call: 'freeze', code, acts: false }] });
      assert.equal((await call(standIn, 'ExternalFreeze')).exitCode, code);
      assert.equal(standIn.instance('IRIS').freeze, undefined);
    }
    standIn.faults('IRIS', { exits: [{ call: 'freeze', code: 137, acts: true }] });
    assert.equal((await call(standIn, 'ExternalFreeze')).exitCode, 137);
    assert.notEqual(standIn.instance('IRIS').freeze, undefined);
  });

  it('remembers ExternalSetHistory and when it was called', async () => {
    await using standIn = await irisStandIn(one());
    await call(standIn, 'ExternalFreeze');
    await call(standIn, 'ExternalThaw');
    assert.equal((await call(standIn, 'ExternalSetHistory', '"/log","nightly"')).exitCode, 0);
    const { history, calls } = standIn.instance('IRIS');
    assert.deepEqual(
      history.map(({ type, description, device }) => ({ type, description, device })),
      [{ type: 'E', description: 'nightly', device: '/log' }],
    );
    assert.deepEqual(
      calls.map(({ what, exit }) => `${/\.(\w+)\(/.exec(what)?.[1] ?? ''} ${exit}`),
      ['ExternalFreeze 5', 'ExternalThaw 5', 'ExternalSetHistory 0'],
    );
  });

  it('has the verbs of newer releases, with 0 and 1', async () => {
    await using standIn = await irisStandIn(one());
    assert.equal((await standIn.run('iris', ['freeze', 'IRIS', 'timeout=30'])).exitCode, 0);
    assert.equal((await standIn.run('iris', ['freeze', 'IRIS'])).exitCode, 1);
    assert.equal((await standIn.run('iris', ['thaw', 'IRIS'])).exitCode, 0);
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 3);
  });

  it('tells by irisstat that it is suspended, and resumes by -W although logins hang', async () => {
    await using standIn = await irisStandIn(one());
    standIn.faults('IRIS', { loginHangs: true });
    assert.equal((await call(standIn, 'ExternalFreeze', '', 700)).timedOut, true);
    standIn.faults('IRIS', {});
    await call(standIn, 'ExternalFreeze');
    standIn.faults('IRIS', { loginHangs: true });
    assert.match((await standIn.run('iris', ['stat', 'IRIS'])).stdout, /WDSUSPD/);
    assert.equal((await standIn.run('iris', ['stat', 'IRIS', '-W'])).exitCode, 0);
    assert.doesNotMatch((await standIn.run('iris', ['stat', 'IRIS'])).stdout, /WDSUSPD/);
    assert.match(readFileSync(join(standIn.instance('IRIS').manager, 'messages.log'), 'utf8'), /irisstat -W/);
  });

  it('takes nine arguments only where there is no WDSuspendLimit', async () => {
    await using standIn = await irisStandIn({
      instances: [{ name: 'OLD', version: '2015.2.2.805.0.16216', databases: [{ name: 'USER' }] }],
    });
    const old = async (args: string) =>
      await standIn.run('csession', ['OLD', '-U%SYS', `##class(Backup.General).ExternalFreeze(${args})`]);
    const refused = await old('"",,,,,,600,,,300');
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stdout, /<PARAMETER>/);
    assert.equal((await old('"",,,,,,600')).exitCode, 5);
    assert.equal(
      (await standIn.run('ccontrol', ['session', 'OLD', '-U%SYS', '##class(Backup.General).ExternalThaw()'])).exitCode,
      5,
    );
    assert.match(
      readFileSync(join(standIn.instance('OLD').manager, 'cconsole.log'), 'utf8'),
      /\(\d+\) 0 Backup\.General/,
    );
  });

  it('loses in a crash only what the freeze warned of: updates of databases that are not journaled', async () => {
    await using standIn = await irisStandIn(one());
    const [user, local] = [
      await standIn.startWriter('IRIS', 'USER'),
      await standIn.startWriter('IRIS', 'IRISLOCALDATA'),
    ];
    await call(standIn, 'ExternalFreeze');
    const frozen = local.acknowledged();
    await until(() => local.acknowledged() > frozen + 100 && user.acknowledged() > 200);
    const [kept, lost] = [user.acknowledged(), local.acknowledged()];
    standIn.crash('IRIS');
    assert.match((await standIn.run('iris', ['qlist'])).stdout, /\^crashed\^/);
    assert.equal((await standIn.run('iris', ['start', 'IRIS'])).exitCode, 0);
    const rows = standIn.rows(standIn.database('IRIS', 'USER').directory);
    assert.ok(rows.gapless && rows.last >= kept, `${rows.last} rows of ${kept} acknowledged`);
    const left = standIn.rows(standIn.database('IRIS', 'IRISLOCALDATA').directory);
    assert.ok(
      left.last <= frozen + 1 && left.last < lost,
      `${left.last} rows, ${frozen} at the freeze, ${lost} at the crash`,
    );
    assert.equal((await call(standIn, 'IsWDSuspendedExt')).exitCode, 3);
  });
});
