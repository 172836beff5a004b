import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  freezeExpression,
  historyScript,
  instanceName,
  integrityScript,
  listArgv,
  methodArgv,
  qlistArgv,
  questions,
  quoted,
  scriptArgv,
  statArgv,
  suspendedExpression,
  switchScript,
  thawExpression,
  type Tool,
  verbArgv,
  windowsExitLines,
  windowsLine,
} from './commands.ts';
import { onlineScript, sizeScript } from './commands-online.ts';

const iris: Tool = { kind: 'iris', program: '/usr/bin/iris', session: '/usr/bin/iris', user: undefined };
const cache: Tool = { kind: 'ccontrol', program: '/usr/bin/ccontrol', session: '/usr/bin/csession', user: 'cacheusr' };
const request = { log: '/l/a.log', text: 'run', switchJournal: true, freezeTimeoutS: 600, wdSuspendLimitS: 300 };

describe('iris: commands', () => {
  it('builds the documented positions of ExternalFreeze', () => {
    assert.equal(freezeExpression(request), '##class(Backup.General).ExternalFreeze("/l/a.log","run",1,,,,600,,,300)');
    // 1 LogFile, 2 Text, 3 SwitchJournalFile, 7 ExternalFreezeTimeOut, 10 WDSuspendLimit
    const args = freezeExpression({ ...request, switchJournal: false })
      .replace(/^.*?\(.*?\)\.\w+\(|\)$/g, '')
      .split(',');
    assert.deepEqual([args.length, args[2], args[6], args[9]], [10, '0', '600', '300']);
    assert.equal(
      freezeExpression({ ...request, wdSuspendLimitS: undefined }),
      '##class(Backup.General).ExternalFreeze("/l/a.log","run",1,,,,600)',
    );
  });

  it('refuses limits that are no whole seconds', () => {
    for (const wdSuspendLimitS of [0, -1, 1.5, Number.NaN]) {
      assert.throws(() => freezeExpression({ ...request, wdSuspendLimitS }), /no number of seconds/);
    }
  });

  it('starts sessions of IRIS and of Caché, as another user too, never with a terminal', () => {
    assert.deepEqual(methodArgv(iris, 'IRIS', suspendedExpression), [
      '/usr/bin/iris',
      'session',
      'IRIS',
      '-U%SYS',
      '##class(Backup.General).IsWDSuspendedExt()',
    ]);
    assert.deepEqual(scriptArgv(cache, 'H20152'), [
      'runuser',
      '-u',
      'cacheusr',
      '--',
      '/usr/bin/csession',
      'H20152',
      '-U%SYS',
    ]);
    assert.deepEqual(qlistArgv(cache).slice(-2), ['/usr/bin/ccontrol', 'qlist']);
    assert.deepEqual(listArgv(iris), ['/usr/bin/iris', 'list']);
    assert.deepEqual(statArgv(iris, 'IRIS', '-W'), ['/usr/bin/iris', 'stat', 'IRIS', '-W']);
    assert.deepEqual(verbArgv(iris, 'freeze', 'IRIS', 30), ['/usr/bin/iris', 'freeze', 'IRIS', 'timeout=30']);
    assert.deepEqual(verbArgv(iris, 'thaw', 'IRIS'), ['/usr/bin/iris', 'thaw', 'IRIS']);
  });

  it('takes no option and no path for an instance', () => {
    for (const name of ['-x', '', 'a b', 'a;b', '../x', 'a\n'])
      assert.throws(() => instanceName(name), /no name of an instance/);
    assert.throws(() => statArgv(iris, '-W'), /no name of an instance/);
  });

  it('doubles quotes and refuses control characters', () => {
    assert.equal(quoted('a"b'), '"a""b"');
    assert.throws(() => quoted('a\nhalt'), /control character/);
    assert.throws(() => quoted('a\u2028b'), /control character/);
    assert.equal(thawExpression('/a"b.log'), '##class(Backup.General).ExternalThaw("/a""b.log")');
    assert.equal(historyScript('d"')[0], 'set spsc=##class(Backup.General).ExternalSetHistory("","d""")');
    fc.assert(
      fc.property(fc.string(), (text) => {
        let literal: string;
        try {
          literal = quoted(text);
        } catch {
          assert.match(text, /\p{Cc}|\u2028|\u2029/u);
          return;
        }
        // Reading the literal as ObjectScript does gives the text back, and nothing stands behind it.
        assert.match(literal, /^"(?:[^"]|"")*"$/);
        assert.equal(literal.slice(1, -1).replaceAll('""', '"'), text);
      }),
    );
  });

  it('asks one thing a line, each answer marked', () => {
    const lines = questions(['/db/one']);
    assert.equal(lines.at(-1), 'halt');
    assert.ok(lines.slice(0, -1).every((line) => line.includes('"SP:')));
    assert.ok(
      lines.includes(
        'write !,"SP:journaled=",##class(SYS.Database).%OpenId("/db/one/").GlobalJournalState,"=","/db/one",!',
      ),
    );
    assert.ok(lines.every((line) => !line.includes('\n')));
  });

  it('mounts read-only, checks, reports and dismounts', () => {
    const lines = integrityScript(['/c/a', '/c/b/'], true);
    assert.ok(lines[0]?.startsWith('set spsc=##class(SYS.Database).MountDatabase("/c/a/",1)'));
    assert.ok(lines.includes('set spsc=$$CheckList^Integrity(,$listbuild("/c/a/","/c/b/"),0,,1,1)'));
    assert.equal(lines.filter((line) => line.includes('DismountDatabase')).length, 2);
    assert.ok(integrityScript(['/c/a'], false).some((line) => line.endsWith(',0,,1,0)')));
  });

  it('calls the other interfaces as documented', () => {
    assert.deepEqual(sizeScript().slice(0, 3), [
      'write !,"SP:incremental=",$$INT^DBSIZE(1),!',
      'write !,"SP:full=",$$INT^DBSIZE(2),!',
      'write !,"SP:cumulative=",$$INT^DBSIZE(3),!',
    ]);
    const call = {
      level: 'cumulative' as const,
      description: 'd',
      output: '/b/x.cbk',
      log: '/b/x.log',
      switchJournal: true,
    };
    assert.equal(
      onlineScript(call)[0],
      'set spx=$$BACKUP^DBACK("","C","d","/b/x.cbk","Y","/b/x.log","NOINPUT","N","Y")',
    );
    assert.ok(onlineScript({ ...call, switchJournal: false })[0]?.endsWith('"N","/b/x.log","NOINPUT","N","N")'));
    assert.ok(switchScript()[0]?.includes('SwitchFile()'));
  });
});

describe('iris: Windows, as text', () => {
  const expression = '##class(Backup.General).ExternalFreeze("c:\\data\\freeze.log")';

  it('doubles the percent sign in a .cmd file and nowhere else', () => {
    const line = windowsLine('C:\\iris\\bin\\irisdb.exe', 'C:\\iris\\mgr\\', expression, 'cmd-file');
    assert.equal(
      line,
      '"C:\\iris\\bin\\irisdb.exe" -s"C:\\iris\\mgr" -U%%SYS ##class(Backup.General).ExternalFreeze("""c:\\data\\freeze.log""")',
    );
    const typed = windowsLine('C:\\iris\\bin\\irisdb.exe', 'C:\\iris\\mgr', expression, 'prompt');
    assert.ok(typed.includes(' -U%SYS '));
    assert.ok(!typed.includes('%%'));
  });

  it('refuses paths that would end the quotes or begin a variable', () => {
    assert.throws(() => windowsLine('C:\\a"b', 'C:\\mgr', 'x', 'prompt'), /command line/);
    assert.throws(() => windowsLine('C:\\a', 'C:\\%TEMP%', 'x', 'cmd-file'), /command line/);
  });

  it('tests larger error levels first, and takes none but 5 and 3 as an answer', () => {
    const lines = windowsExitLines();
    const verdict = (code: number): string => {
      for (const line of lines) {
        const found = /^(?:if errorlevel (\d+) )?goto (\w+)$/.exec(line);
        if (found !== null && code >= Number(found[1] ?? Number.NEGATIVE_INFINITY)) return found[2] ?? '';
      }
      return '';
    };
    assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 9009].map(verdict), [
      'UNKNOWN',
      'UNKNOWN',
      'UNKNOWN',
      'NO',
      'UNKNOWN',
      'YES',
      'UNKNOWN',
      'UNKNOWN',
    ]);
  });
});
