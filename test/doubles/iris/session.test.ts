import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { describe, it } from 'node:test';
import { irisStandIn, whyNoIris, type InstanceOptions, type IrisStandIn } from './stand-in.ts';
import type { Mirror } from './state.ts';

const skip = whyNoIris() ?? false;
const user = [{ name: 'USER' }];
const transcript = (name: string): string =>
  readFileSync(new URL(`../../transcripts/${name}`, import.meta.url), 'utf8');

async function withOne(more: Partial<InstanceOptions> = {}): Promise<IrisStandIn> {
  return await irisStandIn({ instances: [{ name: 'IRIS', databases: user, ...more }] });
}

const script = async (standIn: IrisStandIn, ...lines: readonly string[]) =>
  await standIn.run('iris', ['session', 'IRIS', '-U%SYS'], { stdin: `${lines.join('\n')}\n`, timeoutMs: 20_000 });

/** What `write !,"SP:",expression,!` printed, for each expression. */
async function values(standIn: IrisStandIn, ...expressions: readonly string[]): Promise<readonly string[]> {
  const lines = expressions.map((expression) => `write !,"SP:",${expression},!`);
  const { stdout } = await script(standIn, ...lines, 'halt');
  return [...stdout.matchAll(/^SP:(.*)$/gm)].map((found) => found[1] ?? '');
}

const member: Mirror = {
  name: 'STAGE',
  memberType: 'Failover',
  status: 'BACKUP',
  memberStatus: 'Backup',
  failoverReady: { ready: false, reason: 'not caught up' },
  members: [
    ['DBSL1.EXAMPLE/STAGE', 'Primary', 'Active', 'N/A', 'N/A', 'N/A', 'N/A', 'Failover', 'Primary'],
    ['DBSL2.EXAMPLE/STAGE', 'Backup', 'Active', 'Active', 'Caught up', 'Active', 'Caught up', 'Failover', 'Backup'],
    [
      'DRSL.EXAMPLE/STAGE',
      'Async',
      'Async',
      'Caught up',
      'Caught up',
      'Caught up',
      'Caught up',
      'Disaster Recovery',
      'Connected',
    ],
  ],
  noFailover: false,
};

describe('iris stand-in: sessions', { skip }, () => {
  it('answers as the published session does', async () => {
    await using standIn = await withOne({ mirror: member });
    const { stdout, exitCode } = await script(standIn, 'write $list($SYSTEM.Mirror.GetMemberStatus(),1),! halt');
    assert.equal(exitCode, 0);
    assert.equal(
      stdout.replace(hostname(), 'mirrorB').replaceAll(/\n+/g, '\n'),
      transcript('iris-get-member-status.txt'),
    );
  });

  it('ends with the code of Process.Terminate, with 0 after halt or the end of input', async () => {
    await using standIn = await withOne();
    assert.equal((await script(standIn, 'do $SYSTEM.Process.Terminate(,42)', 'write "later"')).exitCode, 42);
    assert.equal((await script(standIn, 'halt', 'do $SYSTEM.Process.Terminate(,42)')).exitCode, 0);
    assert.equal((await script(standIn, 'write 1')).exitCode, 0);
  });

  it('hands out RequiredFile by reference, and freezes for the rest of the script', async () => {
    await using standIn = await withOne();
    const { stdout, exitCode } = await script(
      standIn,
      'set sc=##class(Backup.General).ExternalFreeze("",,,,,,600,,,300,.req) write !,"SP:",sc,"|",req,!',
      'write !,"SP:",##class(Backup.General).IsWDSuspended(),!',
      'if $system.Status.IsOK(sc) { do $SYSTEM.Process.Terminate(,5) } else { do $SYSTEM.Process.Terminate(,3) }',
    );
    assert.equal(exitCode, 5);
    const [first = '', second] = [...stdout.matchAll(/^SP:(.*)$/gm)].map((found) => found[1]);
    assert.match(first, /^1\|\/.*\/journal\/\d{8}\.002$/);
    assert.equal(second, '1');
    standIn.change('IRIS', (instance) => {
      instance.journal.openTransactionFile = '/older/20240425.002';
    });
    const again = await values(
      standIn,
      '##class(Backup.General).ExternalThaw()',
      '##class(Backup.General).IsWDSuspended()',
    );
    assert.deepEqual(again, ['1', '0']);
    const required = await script(
      standIn,
      'do ##class(%SYS.Journal.File).RequiredForRollback(.f,.n) write !,"SP:",f,!',
    );
    assert.match(required.stdout, /^SP:\/older\/20240425\.002$/m);
  });

  it('knows the journal: state, file, offset, switch, neighbours', async () => {
    await using standIn = await withOne();
    const names: readonly string[] = ['Normal', 'Disabled', 'Suspended', 'Frozen', 'Paused'];
    for (const [state, name] of names.entries()) {
      standIn.change('IRIS', (instance) => {
        instance.journal.state = state as 0;
      });
      const said = await values(
        standIn,
        '##class(%SYS.Journal.System).GetStateString()',
        '##class(%SYS.Journal.System).GetState()',
      );
      assert.deepEqual(said, [name, String(state)]);
    }
    const journal = (method: string): string => `##class(%SYS.Journal.System).${method}()`;
    const [before = '', count, offset, sc, after = '', previous, reason, primary] = await values(
      standIn,
      journal('GetCurrentFileName'),
      journal('GetCurrentFileCount'),
      journal('GetCurrentFileOffset'),
      journal('SwitchFile'),
      journal('GetCurrentFileName'),
      `##class(%SYS.Journal.File).GetPrev(${journal('GetCurrentFileName')})`,
      `##class(%SYS.Journal.File).GetReason(${journal('GetCurrentFileName')})`,
      journal('GetPrimaryDirectory'),
    );
    assert.match(before, /\.001$/);
    assert.match(after, /\.002$/);
    assert.deepEqual(
      [count, sc, previous, reason, primary],
      ['1', '1', before, 'by user', `${standIn.instance('IRIS').journal.directory}/`],
    );
    assert.ok(Number(offset) > 0);
  });

  it('knows the mirror from configured state', async () => {
    await using standIn = await withOne({ mirror: member });
    const system = ['IsMember', 'IsPrimary', 'IsBackup', 'IsAsyncMember', 'MirrorName', 'GetStatus', 'GetMemberType'];
    assert.deepEqual(await values(standIn, ...system.map((name) => `$SYSTEM.Mirror.${name}()`)), [
      '1',
      '0',
      '1',
      '0',
      'STAGE',
      'BACKUP',
      'Failover',
    ]);
    const ready = await values(standIn, '$listtostring(##class(SYS.Mirror).IsFailoverReady(60),"|")');
    assert.deepEqual(ready, ['0|not caught up']);
    const list = await script(standIn, 'do ##class(%ResultSet).RunQuery("SYS.Mirror","MemberStatusList")', 'halt');
    assert.ok(list.stdout.includes(transcript('iris-member-status-list.txt')), list.stdout);
    const each = await script(
      standIn,
      'set rs=##class(%ResultSet).%New("SYS.Mirror:MemberStatusList") do rs.Execute() while rs.Next() { write !,"SP:",rs.Get("DisplayType"),!}',
    );
    assert.deepEqual(
      [...each.stdout.matchAll(/^SP:(.*)$/gm)].map((found) => found[1]),
      ['Failover', 'Failover', 'Disaster Recovery'],
    );
    await script(standIn, 'do ##class(SYS.Mirror).SetNoFailover()');
    assert.equal(standIn.instance('IRIS').mirror?.noFailover, true);
    await script(standIn, 'do ##class(SYS.Mirror).ClearNoFailover()');
    assert.equal(standIn.instance('IRIS').mirror?.noFailover, false);
  });

  it('prints LocalMirrorStatus^MIRROR as published', async () => {
    await using standIn = await withOne({
      mirror: { ...member, name: 'MIRRORTEST', memberStatus: 'Primary', status: 'PRIMARY' },
    });
    await script(standIn, 'do ##class(%SYS.Journal.System).SwitchFile()');
    const { stdout } = await standIn.run('iris', ['session', 'IRIS', '-U', '%SYS', 'LocalMirrorStatus^MIRROR']);
    assert.equal(stdout.trimStart(), transcript('iris-local-mirror-status.txt'));
    assert.match(standIn.instance('IRIS').journal.files[1]?.name ?? '', /^MIRROR-MIRRORTEST-\d{8}\.\d{3}$/);
  });

  it('says nothing of a mirror outside of one', async () => {
    await using standIn = await withOne();
    const said = await values(
      standIn,
      '$SYSTEM.Mirror.IsMember()',
      '$SYSTEM.Mirror.GetStatus()',
      '$SYSTEM.Mirror.GetMemberType()',
    );
    assert.deepEqual(said, ['0', 'NOTINIT', 'Not Member']);
  });

  it('reads and writes globals of the real database', async () => {
    await using standIn = await withOne();
    const { stdout } = await script(
      standIn,
      'set $namespace="USER"',
      'set ^a(1,"x y")="it""s" write !,"SP:",^a(1,"x y"),!',
      'kill ^a write !,"SP:",$get(^a(1,"x y"),"none"),$data(^a),!',
      'write ^a',
    );
    assert.deepEqual(
      [...stdout.matchAll(/^SP:(.*)$/gm)].map((found) => found[1]),
      ['it"s', 'none0'],
    );
    assert.match(stdout, /<UNDEFINED> \*\^a/);
  });

  it('refuses what it does not know, and goes on', async () => {
    await using standIn = await withOne();
    const { stdout, exitCode } = await script(
      standIn,
      'this is nothing',
      'write foo',
      'write ##class(No.Such).Thing()',
      'write ##class(Backup.General).NoSuch()',
      'do ^NOSUCH',
      'write $$X^NOSUCH()',
      'if 1 { write 1',
      'set $namespace="%%SYS"',
      'write !,"SP:alive",!',
    );
    assert.equal(exitCode, 0);
    assert.deepEqual(
      [...stdout.matchAll(/^<[A-Z ]+>/gm)].map((found) => found[0]),
      [
        '<SYNTAX>',
        '<UNDEFINED>',
        '<CLASS DOES NOT EXIST>',
        '<METHOD DOES NOT EXIST>',
        '<SYNTAX>',
        '<NOROUTINE>',
        '<SYNTAX>',
        '<NAMESPACE>',
      ],
    );
    assert.match(stdout, /^SP:alive$/m);
  });

  it('reads from left to right, loops, branches and lists', async () => {
    await using standIn = await withOne();
    const { stdout } = await script(
      standIn,
      'write !,"SP:",1+2*3,!',
      'set l=$listbuild("a","b") for i=1:1:$listlength(l) { write !,"SP:",i,$list(l,i),! }',
      'if 0 { write "no" } elseif 1 { write !,"SP:elseif",! } else { write "no" }',
      'if 0 write "no"',
      'set i=0 while i<10 { set i=i+1 quit:i=3 } write !,"SP:",i,!',
      'write !,"SP:",$select(0:"x",1:"y"),$piece("a^b","^",2),\'0,"a"["b",!',
      'write:0 "no"',
    );
    assert.deepEqual(
      [...stdout.matchAll(/^SP:(.*)$/gm)].map((found) => found[1]),
      ['9', '1a', '2b', 'elseif', '3', 'yb10'],
    );
  });

  it('gives -U no effect for an account with a startup namespace, and knows no doubled %', async () => {
    await using standIn = await withOne({ startupNamespace: 'USER' });
    const refused = await standIn.run('iris', [
      'session',
      'IRIS',
      '-U%SYS',
      '##class(Backup.General).ExternalFreeze()',
    ]);
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stdout, /<CLASS DOES NOT EXIST> \*Backup\.General/);
    await using other = await withOne();
    const doubled = await other.run('iris', ['session', 'IRIS', '-U%%SYS', '##class(Backup.General).ExternalFreeze()']);
    assert.match(doubled.stdout, /<NAMESPACE>/);
    assert.equal(other.instance('IRIS').freeze, undefined);
  });

  it('refuses logins as the published texts do', async () => {
    await using standIn = await withOne();
    for (const [faults, text] of [
      [{ licenceExceeded: true }, /<LICENSE LIMIT EXCEEDED>/],
      [{ accessDenied: true }, /<ACCESS DENIED>/],
    ] as const) {
      standIn.faults('IRIS', faults);
      const { stdout, exitCode } = await script(standIn, 'write 1');
      assert.match(stdout, text);
      assert.equal(exitCode, 1);
    }
    standIn.faults('IRIS', { asksForUser: true });
    const asked = await standIn.run('iris', ['session', 'IRIS', '-U%SYS', '##class(Backup.General).ExternalFreeze()'], {
      timeoutMs: 700,
    });
    assert.equal(asked.timedOut, true);
    assert.match(asked.stdout, /Username:/);
    // The thaw does not log in.
    const thaw = await standIn.run('iris', ['session', 'IRIS', '-U%SYS', '##class(Backup.General).ExternalThaw()']);
    assert.equal(thaw.exitCode, 5);
  });

  it('takes name and password from stdin where there is no login by the operating system', async () => {
    await using standIn = await withOne({ login: { user: 'backup', password: 'geheim' } });
    const inside = await script(standIn, 'backup', 'geheim', 'write !,"SP:in",!');
    assert.match(inside.stdout, /^SP:in$/m);
    const outside = await script(standIn, 'backup', 'falsch', 'write !,"SP:in",!');
    assert.doesNotMatch(outside.stdout, /SP:in/);
    assert.equal(outside.exitCode, 1);
    assert.match(outside.stdout, /Access Denied/);
  });
});
