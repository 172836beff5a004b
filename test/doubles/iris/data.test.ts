import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { systemClock } from '../../../src/platform/clock.ts';
import { readJournal } from './journal.ts';
import { damageRows, irisStandIn, whyNoIris, type IrisStandIn } from './stand-in.ts';

const skip = whyNoIris() ?? false;

/** IRIS with two journaled databases and one that is not, and DRILL that serves nothing. */
async function made(more: { readonly compress?: boolean } = {}): Promise<IrisStandIn> {
  return await irisStandIn({
    instances: [
      {
        name: 'IRIS',
        databases: [{ name: 'USER' }, { name: 'T1' }, { name: 'IRISLOCALDATA', journaled: false }],
        compressJournals: more.compress ?? false,
      },
      { name: 'DRILL', databases: [{ name: 'OWN' }] },
    ],
  });
}

const script = async (standIn: IrisStandIn, name: string, ...lines: readonly string[]): Promise<string> => {
  const done = await standIn.run('iris', ['session', name, '-U%SYS'], {
    stdin: `${lines.join('\n')}\nhalt\n`,
    timeoutMs: 60_000,
  });
  assert.equal(done.exitCode, 0, done.stdout + done.stderr);
  return done.stdout;
};

/** `SP:` values that the lines print. */
const said = (output: string): readonly string[] => [...output.matchAll(/^SP:(.*)$/gm)].map((found) => found[1] ?? '');
const say = (expression: string): string => `write !,"SP:",${expression},!`;

const write = async (standIn: IrisStandIn, database: string, rows = 30): Promise<number> => {
  const writer = await standIn.startWriter('IRIS', database);
  const from = writer.acknowledged();
  while (writer.acknowledged() < from + rows) await systemClock.sleep(20);
  return await writer.stop();
};

const directory = (standIn: IrisStandIn, name: string): string => standIn.database('IRIS', name).directory;

/** Copies a database inside a freeze, without its lock. */
async function frozenCopy(standIn: IrisStandIn, name: string): Promise<string> {
  const copy = join(standIn.root, `copy-${name}`);
  mkdirSync(copy);
  const call = async (method: string) =>
    await standIn.run('iris', ['session', 'IRIS', '-U%SYS', `##class(Backup.General).${method}()`]);
  assert.equal((await call('ExternalFreeze')).exitCode, 5);
  cpSync(join(directory(standIn, name), 'IRIS.DAT'), join(copy, 'IRIS.DAT'));
  assert.equal((await call('ExternalThaw')).exitCode, 5);
  return copy;
}

const mountLine = (copy: string, readOnly = 0): string =>
  `set sc=##class(SYS.Database).MountDatabase("${copy}/",${readOnly}) ${say('$system.Status.IsOK(sc),"|",$system.Status.GetErrorText(sc)')}`;
const checkLine = (copy: string): string =>
  `set sc=$$CheckList^Integrity(,$listbuild("${copy}/"),0,,1) ${say('$system.Status.IsOK(sc),"|",$system.Status.GetErrorCodes(sc)')}`;

describe('iris stand-in: copies and checks', { skip }, () => {
  it('mounts a copy from a freeze, with every row of that moment', async () => {
    await using standIn = await made();
    const before = await write(standIn, 'USER');
    const writer = await standIn.startWriter('IRIS', 'USER');
    const copy = await frozenCopy(standIn, 'USER');
    const output = await script(
      standIn,
      'DRILL',
      mountLine(copy, 1),
      checkLine(copy),
      'do Display^Integrity(,0)',
      say(`^|"^^${copy}/"|last`),
    );
    const [mounted, checked, last] = said(output);
    assert.deepEqual([mounted, checked], ['1|', '1|']);
    assert.match(output, /No Errors were found in this directory\./);
    const rows = standIn.rows(copy);
    assert.equal(String(rows.last), last);
    assert.ok(rows.gapless && rows.last >= before);
    // The live database is none the worse for it.
    const row = writer.acknowledged();
    while (writer.acknowledged() < row + 20) await systemClock.sleep(20);
    await writer.stop();
    assert.equal(existsSync(join(copy, 'iris.lck')), true);
    await script(standIn, 'DRILL', `do ##class(SYS.Database).DismountDatabase("${copy}/")`);
    assert.equal(existsSync(join(copy, 'iris.lck')), false);
    assert.deepEqual(said(await script(standIn, 'IRIS', checkLine(directory(standIn, 'USER')))), ['1|']);
  });

  it('does not mount a copy that brought its lock along', async () => {
    await using standIn = await made();
    const copy = await frozenCopy(standIn, 'USER');
    cpSync(join(directory(standIn, 'USER'), 'iris.lck'), join(copy, 'iris.lck'));
    const [refused = ''] = said(await script(standIn, 'DRILL', mountLine(copy)));
    assert.match(refused, /^0\|ERROR #5001: .*iris\.lck belongs to IRIS/);
    rmSync(join(copy, 'iris.lck'));
    assert.deepEqual(said(await script(standIn, 'DRILL', mountLine(copy))), ['1|']);
    assert.match(said(await script(standIn, 'DRILL', mountLine('/nonexistent')))[0] ?? '', /No database exists/);
  });

  it('finds damage, and tells it from a check that never ran', async () => {
    await using standIn = await made();
    await write(standIn, 'USER', 300);
    const copy = await frozenCopy(standIn, 'USER');
    damageRows(copy);
    const output = await script(
      standIn,
      'DRILL',
      mountLine(copy, 1),
      checkLine(copy),
      'do Display^Integrity(,0)',
      checkLine('/elsewhere'),
    );
    const [mounted, broken, notRun] = said(output);
    assert.equal(mounted, '1|');
    assert.equal(broken, '0|6050');
    assert.match(output, /\*\*ERROR\*\*/);
    assert.equal(notRun, '0|5001');
  });
});

describe('iris stand-in: journals', { skip }, () => {
  const restore = (
    standIn: IrisStandIn,
    first: string,
    last: string,
    ...more: readonly string[]
  ): readonly string[] => [
    'set r=##class(Journal.Restore).%New()',
    `set r.FirstFile="${first}" set r.LastFile="${last}" set r.JournalLog="${standIn.instance('IRIS').manager}/journal.log"`,
    ...more,
    `set sc=r.Run() ${say('$system.Status.IsOK(sc),"|",$system.Status.GetErrorText(sc)')}`,
  ];
  const switchFile = 'do ##class(%SYS.Journal.System).SwitchFile()';
  const names = (standIn: IrisStandIn): readonly string[] =>
    standIn.instance('IRIS').journal.files.map((file) => file.name);

  it('rolls a redirected copy forward over every file, and prints what the published run prints', async () => {
    await using standIn = await made({ compress: true });
    const copy = await frozenCopy(standIn, 'USER');
    await write(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    const end = await write(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    const [, second = '', third = ''] = names(standIn);
    const { journal } = standIn.instance('IRIS');
    assert.equal(existsSync(join(journal.directory, `${second}z`)), true, 'closed files are compressed');
    const user = `${directory(standIn, 'USER')}/`;
    const lines = restore(
      standIn,
      second,
      third,
      `do r.RedirectDatabase("${user}","${copy}/")`,
      `do r.SelectUpdates("${user}")`,
    );
    const output = await script(standIn, 'DRILL', mountLine(copy), ...lines, checkLine(copy));
    assert.deepEqual(said(output), ['1|', '1|', '1|']);
    const published = readFileSync(new URL('../../transcripts/iris-journal-restore.txt', import.meta.url), 'utf8');
    const plain = (text: string): string =>
      text
        .replaceAll(/\/\S+\/journal\/\d{8}\.\d{3}/g, 'FILE')
        .replaceAll(/^\s*(?:\d+\.\d\d%\s*)+$/gm, 'DONE')
        .replace(/at \d{8} \d\d:\d\d:\d\d/, 'at TIME')
        .replace(/1\. \/.*\//, '1. TARGET');
    const shown = output.slice(output.indexOf(`\nJournal file being applied: ${join(journal.directory, third)}`));
    assert.ok(plain(shown).startsWith(plain(published).trimEnd()), shown);
    assert.deepEqual(standIn.rows(copy), { last: end, gapless: true });
  });

  it('stops at LastFile', async () => {
    await using standIn = await made();
    const copy = await frozenCopy(standIn, 'USER');
    const middle = await write(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    await write(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    const [, second = ''] = names(standIn);
    const user = `${directory(standIn, 'USER')}/`;
    const select = [`do r.RedirectDatabase("${user}","${copy}/")`, `do r.SelectUpdates("${user}")`];
    await script(standIn, 'DRILL', mountLine(copy), ...restore(standIn, second, second, ...select));
    assert.equal(standIn.rows(copy).last, middle);
  });

  it('redirects only what SelectUpdates was called for, and matches only the canonical form', async () => {
    await using standIn = await made();
    const [copy, other] = [await frozenCopy(standIn, 'USER'), await frozenCopy(standIn, 'T1')];
    await write(standIn, 'USER');
    const end = await write(standIn, 'T1');
    await script(standIn, 'IRIS', switchFile);
    const [, first = '', ,] = names(standIn);
    const last = names(standIn).at(-2) ?? '';
    const [user, t1] = [`${directory(standIn, 'USER')}/`, `${directory(standIn, 'T1')}/`];
    const redirect = [`do r.RedirectDatabase("${user}","${copy}/")`, `do r.RedirectDatabase("${t1}","${other}/")`];
    const mounted = [mountLine(copy), mountLine(other)];
    // Only T1 is selected, USER without its slash is not.
    const select = [`do r.SelectUpdates("${t1}")`, `do r.SelectUpdates("${user.slice(0, -1)}")`];
    const output = await script(standIn, 'DRILL', ...mounted, ...restore(standIn, first, last, ...redirect, ...select));
    assert.equal(said(output)[2], '1|');
    assert.equal(standIn.rows(copy).last, 0);
    assert.deepEqual(standIn.rows(other), { last: end, gapless: true });
    const sources = await script(
      standIn,
      'DRILL',
      ...restore(
        standIn,
        first,
        last,
        'do r.CheckJournalIntegrity(1)',
        `set key="" for { set s=r.SourceDatabases.GetNext(.key) quit:key=""  ${say('s')} }`,
      ).slice(0, -1),
    );
    assert.deepEqual([...said(sources)].sort(), [t1, user].sort());
  });

  it('skips silently by default where a database cannot take updates, and aborts when told to', async () => {
    await using standIn = await made();
    const copy = await frozenCopy(standIn, 'USER');
    await write(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    const [, file = ''] = names(standIn);
    const user = `${directory(standIn, 'USER')}/`;
    const select = [`do r.RedirectDatabase("${user}","${copy}/")`, `do r.SelectUpdates("${user}")`];
    const silent = await script(standIn, 'DRILL', ...restore(standIn, file, file, ...select));
    assert.deepEqual(said(silent), ['1|']);
    assert.match(silent, /databases have been skipped:\n\n1\. /);
    const aborted = await script(
      standIn,
      'DRILL',
      ...restore(standIn, file, file, ...select, 'set r.AbortOnDatabaseError=1'),
    );
    assert.match(said(aborted)[0] ?? '', /^0\|ERROR #5001: .*not mounted/);
  });

  it('aborts where a file is missing or torn, unless told to go on', async () => {
    await using standIn = await made();
    const copy = await frozenCopy(standIn, 'USER');
    await write(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    await write(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    const [, second = '', third = ''] = names(standIn);
    const { journal } = standIn.instance('IRIS');
    const user = `${directory(standIn, 'USER')}/`;
    const select = [`do r.RedirectDatabase("${user}","${copy}/")`, `do r.SelectUpdates("${user}")`];
    const whole = readFileSync(join(journal.directory, second));
    writeFileSync(join(journal.directory, second), whole.subarray(0, whole.length - 5));
    const torn = await script(standIn, 'DRILL', mountLine(copy), ...restore(standIn, second, third, ...select));
    assert.match(said(torn)[1] ?? '', /^0\|.*corrupt/);
    rmSync(join(journal.directory, second));
    const missing = await script(standIn, 'DRILL', ...restore(standIn, second, third, ...select));
    assert.match(said(missing)[0] ?? '', /^0\|.*is missing/);
    assert.equal(standIn.rows(copy).last, 0);
    const went = await script(
      standIn,
      'DRILL',
      ...restore(standIn, second, third, ...select, 'set r.AbortOnJournalError=0'),
    );
    assert.equal(said(went)[0], '1|');
    assert.equal(standIn.rows(copy).gapless, false, 'what the lost file held is missing');
    const unknown = await script(standIn, 'DRILL', ...restore(standIn, '20990101.001', third, ...select));
    assert.match(said(unknown)[0] ?? '', /not listed/);
  });

  it('switches away from the current file before it is restored', async () => {
    await using standIn = await made();
    const end = await write(standIn, 'USER');
    const [open = ''] = names(standIn);
    const empty = join(standIn.root, 'empty');
    const user = directory(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    cpSync(join(directory(standIn, 'T1'), 'IRIS.DAT'), join(empty, 'IRIS.DAT'));
    const current = await write(standIn, 'USER');
    const lines = restore(
      standIn,
      open,
      names(standIn).at(-1) ?? '',
      `do r.RedirectDatabase("${user}/","${empty}/")`,
      `do r.SelectUpdates("${user}/")`,
    );
    const output = await script(standIn, 'IRIS', mountLine(empty), ...lines);
    assert.match(output, /Journaling switched to /);
    assert.deepEqual(said(output), ['1|', '1|']);
    assert.ok(current > end);
    assert.deepEqual(standIn.rows(empty), { last: current, gapless: true });
  });

  it('brings a database in place forward after it was put back', async () => {
    await using standIn = await made();
    const copy = await frozenCopy(standIn, 'USER');
    const end = await write(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    const user = directory(standIn, 'USER');
    const [, file = ''] = names(standIn);
    await script(standIn, 'IRIS', `do ##class(SYS.Database).DismountDatabase("${user}/")`);
    cpSync(join(copy, 'IRIS.DAT'), join(user, 'IRIS.DAT'));
    const output = await script(standIn, 'IRIS', mountLine(user), ...restore(standIn, file, file));
    assert.deepEqual(said(output), ['1|', '1|']);
    assert.deepEqual(standIn.rows(user), { last: end, gapless: true });
    assert.ok((await write(standIn, 'USER')) > end, 'it takes new rows, journaled again');
  });

  it('keeps files that tell what they are', async () => {
    await using standIn = await made();
    await write(standIn, 'USER');
    await script(standIn, 'IRIS', switchFile);
    const [first = '', second = ''] = names(standIn);
    const { directory: journals } = standIn.instance('IRIS').journal;
    assert.match(first, /^\d{8}\.001$/);
    const closed = readJournal(join(journals, first));
    const open = readJournal(join(journals, second));
    assert.deepEqual([closed?.header.complete, open?.header.complete, open?.header.previous], [true, false, first]);
    const log = readFileSync(join(standIn.instance('IRIS').manager, 'journal.log'), 'utf8');
    assert.deepEqual(
      log
        .trimEnd()
        .split('\n')
        .map((line) => basename(line.split(',')[0] ?? '')),
      [first, second],
    );
  });
});

describe('iris stand-in: online backup', { skip }, () => {
  const backup = (standIn: IrisStandIn, type: string, name: string, mode = 'QUIET'): string =>
    `set x=$$BACKUP^DBACK("","${type}","Full backup of all databases that are in the backup database list.","${standIn.root}/${name}.cbk","Y","${standIn.root}/${name}.log","${mode}","Y","Y","","","") ${say('x')}`;
  const performing = (standIn: IrisStandIn, name: string): string =>
    /Performing an? (.*) backup/.exec(readFileSync(join(standIn.root, `${name}.log`), 'utf8'))?.[1] ?? '';
  const putBack = async (standIn: IrisStandIn, name: string, target: string): Promise<readonly string[]> => {
    const list = join(standIn.root, 'list.txt');
    writeFileSync(list, `${directory(standIn, 'USER')}/,${target}/,Y\n`);
    const output = await script(
      standIn,
      'DRILL',
      `set x=$$EXTSELCT^DBREST(1,0,"${standIn.root}/${name}.cbk","${list}",4) ${say('x')}`,
    );
    assert.equal(existsSync(list), false, 'the list is deleted at the end');
    return said(output);
  };

  it('writes the log of the published sample', async () => {
    await using standIn = await made();
    await write(standIn, 'USER');
    assert.deepEqual(said(await script(standIn, 'IRIS', backup(standIn, 'F', 'full'))), ['1']);
    const published = readFileSync(new URL('../../transcripts/iris-backup-full.txt', import.meta.url), 'utf8');
    const plain = (text: string): string =>
      text
        .replaceAll(/\d{4}-\d\d-\d\d|\d\d\/\d\d\/\d{4}/g, 'DAY')
        .replaceAll(/\d\d:\d\d:\d\d/g, 'TIME')
        .replaceAll(/Copied \d+ blocks in \d\.\d+/g, 'Copied N blocks in S')
        .replaceAll(/offset \d+/g, 'offset N')
        .replaceAll(/\/\S+\/journal\/\d{8}\.\d{3}/g, 'JOURNAL')
        .replaceAll(/\/\S+\.cbk/g, 'DEVICE')
        .replaceAll(/\/\S+\/mgr\/(?:t1|user)\//g, 'DIRECTORY');
    assert.equal(plain(readFileSync(join(standIn.root, 'full.log'), 'utf8')).trimEnd(), plain(published).trimEnd());
  });

  it('restores a full, a cumulative and an incremental, in order, with every row', async () => {
    await using standIn = await made();
    const ends = [await write(standIn, 'USER')];
    await script(standIn, 'IRIS', backup(standIn, 'F', 'full'));
    for (const [type, name] of [
      ['I', 'inc1'],
      ['C', 'cum'],
      ['I', 'inc2'],
    ] as const) {
      ends.push(await write(standIn, 'USER'));
      await script(standIn, 'IRIS', backup(standIn, type, name));
      assert.equal(performing(standIn, name), type === 'I' ? 'Incremental' : 'Cumulative Incremental');
    }
    const target = join(standIn.root, 'restored');
    for (const [name, end] of [
      ['full', ends[0]],
      ['cum', ends[2]],
      ['inc2', ends[3]],
    ] as const) {
      assert.deepEqual(await putBack(standIn, name, target), ['1']);
      assert.deepEqual(standIn.rows(target), { last: end, gapless: true }, name);
    }
    assert.deepEqual(said(await script(standIn, 'DRILL', checkLine(target))), ['1|']);
    assert.deepEqual(
      standIn.instance('IRIS').history.map((one) => one.type),
      ['F', 'I', 'C', 'I'],
    );
  });

  it('makes a full one of an incremental where the rules say so', async () => {
    await using standIn = await made();
    const type = async (name: string): Promise<string> => {
      await script(standIn, 'IRIS', backup(standIn, 'I', name));
      return performing(standIn, name);
    };
    assert.equal(await type('first'), 'Full', 'a database that never had a full');
    assert.equal(await type('second'), 'Incremental');
    standIn.change('IRIS', (instance) => {
      instance.backup.noBackup = [directory(standIn, 'T1')];
    });
    const flag = `do ##class(Backup.General).GetDBNoBackupFlag("${directory(standIn, 'T1')}/",.f) ${say('f')}`;
    assert.deepEqual(said(await script(standIn, 'IRIS', flag)), ['1']);
    assert.equal(await type('flagged'), 'Full', 'the flag GFNOBACKUP');
    assert.deepEqual(said(await script(standIn, 'IRIS', flag)), ['0']);
    await script(standIn, 'IRIS', 'do CLRINC^DBACK("QUIET")');
    assert.deepEqual(standIn.instance('IRIS').history, []);
    assert.equal(await type('cleared'), 'Full', 'cleared bitmaps');
    standIn.change('IRIS', (instance) => {
      for (const database of instance.databases) if (database.name === 'T1') database.readOnly = true;
    });
    const output = await script(standIn, 'IRIS', backup(standIn, 'I', 'readonly'));
    assert.match(said(output)[0] ?? '', /^1,.*Database is readonly/);
    assert.equal(performing(standIn, 'readonly'), 'Full', 'a read-only database');
    assert.match(
      readFileSync(join(standIn.root, 'readonly.log'), 'utf8'),
      /WARNING - the following directories could not be backed up \S+\/t1\/ \(Database is readonly\)/,
    );
  });

  it('answers 0 for a device that cannot be opened, and prints only what the mode allows', async () => {
    await using standIn = await made();
    assert.deepEqual(
      said(
        await script(
          standIn,
          'IRIS',
          backup(standIn, 'F', 'no/such/place').replace(`${standIn.root}/no/such/place.log`, ''),
        ),
      ),
      ['0'],
    );
    assert.doesNotMatch(await script(standIn, 'IRIS', backup(standIn, 'F', 'quiet')), /FINISHED BACKUP/);
    assert.match(await script(standIn, 'IRIS', backup(standIn, 'F', 'noisy', 'NOISY')), /\*\*\*FINISHED BACKUP\*\*\*/);
  });

  it('closes a dirty copy with an incremental', async () => {
    await using standIn = await made();
    await write(standIn, 'USER', 100);
    await script(standIn, 'IRIS', 'do CLRINC^DBACK("QUIET")');
    // These reach the file itself, so that the copy is older and newer than the cleared bitmaps at once.
    await write(standIn, 'USER', 50);
    const writer = await standIn.startWriter('IRIS', 'USER');
    const copy = join(standIn.root, 'dirty');
    cpSync(join(directory(standIn, 'USER'), 'IRIS.DAT'), join(copy, 'IRIS.DAT'));
    await systemClock.sleep(200);
    const end = await writer.stop();
    const external = `set x=$$BACKUP^DBACK("","E","Dirty external backup - incrementals must be applied.","","","") ${say('x')}`;
    assert.deepEqual(said(await script(standIn, 'IRIS', external, backup(standIn, 'I', 'close'))), ['1', '1']);
    assert.equal(performing(standIn, 'close'), 'Incremental');
    assert.deepEqual(await putBack(standIn, 'close', copy), ['1']);
    assert.deepEqual(standIn.rows(copy), { last: end, gapless: true });
    assert.deepEqual(said(await script(standIn, 'DRILL', checkLine(copy))), ['1|']);
  });

  it('estimates in seven pieces', async () => {
    await using standIn = await made();
    await write(standIn, 'USER', 200);
    await script(standIn, 'IRIS', backup(standIn, 'F', 'full'));
    await write(standIn, 'USER', 10);
    const sizes = said(await script(standIn, 'IRIS', ...[1, 2, 3].map((kind) => say(`$$INT^DBSIZE(${kind})`))));
    const pieces = sizes.map((size) => size.split('^').map(Number));
    const published = readFileSync(new URL('../../transcripts/iris-dbsize-int.txt', import.meta.url), 'utf8')
      .trim()
      .split('^')
      .map(Number);
    assert.equal(published[4], (published[5] ?? 0) * 512);
    for (const size of pieces) {
      assert.equal(size.length, published.length);
      assert.equal(size[1], 2);
      assert.equal(size[4], (size[5] ?? 0) * 512);
    }
    const [incremental = [], full = [], cumulative = []] = pieces;
    assert.ok((incremental[0] ?? 0) > 0 && (incremental[0] ?? 0) < (full[0] ?? 0));
    assert.equal(incremental[0], cumulative[0]);
  });
});
