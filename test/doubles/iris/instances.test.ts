import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { all, qlistLine } from './registry.ts';
import { irisStandIn, whyNoIris } from './stand-in.ts';
import { ctime } from './texts.ts';
import { Store, type Instance } from './state.ts';

const skip = whyNoIris() ?? false;
const user = [{ name: 'USER' }];
const at = new Date('2016-05-13T22:07:02').getTime();

const transcript = (name: string): string =>
  readFileSync(new URL(`../../transcripts/${name}`, import.meta.url), 'utf8');

describe('iris stand-in: instances', { skip }, () => {
  it('prints the published qlist lines for instances of those versions', async () => {
    await using standIn = await irisStandIn({
      instances: [
        { name: 'INSTTEST', version: '2018.1.1.643.0', databases: user },
        { name: 'MIRRORED', version: '2015.2.2.805.0.16216', databases: user, mirror: { name: 'M' } },
        { name: 'OLD', version: '2012.2.3.903.2.12515', databases: user },
      ],
    });
    const same = {
      directory: '/ensemble/instances/insttest',
      sinceMs: at,
      name: 'INSTTEST',
      ports: { superserver: 56_772, web: 57_772, gateway: 62_972 },
    };
    const line = (name: string, more: Partial<Instance> = {}): string =>
      qlistLine({ ...standIn.instance(name), ...same, ...more });
    const lines = transcript('iris-qlist.txt').trimEnd().split('\n');
    // The published lines have a slash behind the directory and a data directory of their own.
    const fixed = (text: string): string =>
      text.replace(/\^\/ensemble\/instances\/insttest\/?\^/, '^DIR^').replace(/\^\/[^^]*$/, '^DATA');
    assert.equal(fixed(line('INSTTEST')), fixed(lines[0] ?? ''));
    assert.equal(fixed(line('MIRRORED')), fixed(lines[1] ?? ''));
    const down = new Date('2016-09-15T18:58:30').getTime();
    assert.equal(fixed(line('OLD', { status: 'down', sinceMs: down })), fixed(lines[2] ?? ''));
  });

  it('prints 8, 10, 13 or 14 fields', async () => {
    await using standIn = await irisStandIn({
      instances: ([8, 10, 13, 14] as const).map((qlistFields) => ({
        name: `I${qlistFields}`,
        qlistFields,
        databases: user,
      })),
    });
    for (const [name, tool] of [
      ['I8', 'iris'],
      ['I10', 'ccontrol'],
      ['I13', 'iris'],
      ['I14', 'iris'],
    ] as const) {
      const { stdout, exitCode } = await standIn.run(tool, ['qlist', name]);
      assert.equal(exitCode, 0);
      assert.equal(stdout.trimEnd().split('^').length, Number(name.slice(1)));
    }
    assert.equal((await standIn.run('iris', ['qlist'])).stdout.trimEnd().split('\n').length, 4);
    assert.equal((await standIn.run('iris', ['qlist', 'nobody'])).exitCode, 1);
  });

  it('prints the published block of `iris list`', async () => {
    await using standIn = await irisStandIn({
      instances: [
        { name: 'IRIS', version: '2021.1.0.215.0', product: 'IRISHealth', databases: user, mirror: { name: 'M' } },
      ],
    });
    standIn.change('IRIS', (instance) => {
      instance.sinceMs = new Date('2021-08-04T07:12:45').getTime();
    });
    const { stdout } = await standIn.run('iris', ['list']);
    const flat = (text: string): string =>
      text.replaceAll(/^[ \t]+/gm, ' ').replaceAll(standIn.instance('IRIS').directory, '/usr/irissys');
    assert.equal(flat(stdout), flat(transcript('iris-2021.1-list.txt')));
  });

  it('says each documented status', async () => {
    await using standIn = await irisStandIn({ instances: [{ name: 'IRIS', databases: user }] });
    const seen: string[] = [];
    for (const status of [
      'running',
      'down',
      'starting or stopping',
      'incomplete start or stop, logins disabled',
    ] as const) {
      standIn.change('IRIS', (instance) => {
        instance.status = status;
        instance.sinceMs = at;
      });
      const qlist = (await standIn.run('iris', ['qlist', 'iris'])).stdout.split('^');
      const qall = (await standIn.run('iris', ['qall'])).stdout.split('\n')[2] ?? '';
      seen.push(`${qall.slice(0, 4)}|${qlist[3] ?? ''}|${qlist[8] ?? ''}`);
    }
    standIn.change('IRIS', (instance) => {
      instance.status = 'running';
    });
    assert.deepEqual(seen, [
      `up >|running, since ${ctime(at)}|ok`,
      `dn >|down, last used ${ctime(at)}|`,
      'st >|starting or stopping|',
      '   >|incomplete start or stop, logins disabled|',
    ]);
    assert.equal(ctime(at), 'Fri May 13 22:07:02 2016');
  });

  it('cuts lines of qall at 78 characters, and those of allw never', async () => {
    await using standIn = await irisStandIn({ instances: [{ name: 'IRIS', databases: user }] });
    standIn.change('IRIS', (instance) => {
      Object.assign(instance, { directory: `/${'long'.repeat(30)}` });
    });
    const store = new Store(standIn.root);
    const [, , cut = ''] = all(store, true).out.split('\n');
    const [header, rule, whole = ''] = all(store, false).out.split('\n');
    assert.equal(cut.length, 78);
    assert.ok(cut.endsWith('~') && whole.endsWith('long'));
    assert.equal(
      `${header ?? ''}\n${rule ?? ''}\n`,
      transcript('iris-cache-2018.1-qall.txt').split('\n').slice(0, 2).join('\n') + '\n',
    );
  });

  it('stops and starts: locks, log, sessions refused meanwhile', async () => {
    await using standIn = await irisStandIn({ instances: [{ name: 'IRIS', databases: user }] });
    const { directory } = standIn.database('IRIS', 'USER');
    const writer = await standIn.startWriter('IRIS');
    assert.equal(existsSync(join(directory, 'iris.lck')), true);
    assert.equal((await standIn.run('iris', ['stop', 'IRIS'])).exitCode, 1);
    assert.equal((await standIn.run('iris', ['stop', 'IRIS', 'quietly'])).exitCode, 0);
    assert.equal(existsSync(join(directory, 'iris.lck')), false);
    assert.match((await standIn.run('iris', ['qlist'])).stdout, /\^down, last used /);
    const refused = await standIn.run('iris', [
      'session',
      'IRIS',
      '-U%SYS',
      '##class(Backup.General).ExternalFreeze()',
    ]);
    assert.equal(refused.exitCode, 1);
    assert.equal((await standIn.run('iris', ['start', 'IRIS'])).exitCode, 0);
    assert.equal(existsSync(join(directory, 'iris.lck')), true);
    const rows = standIn.rows(directory);
    assert.ok(rows.gapless && rows.last >= (await writer.stop()));
    assert.match(
      readFileSync(join(standIn.instance('IRIS').manager, 'messages.log'), 'utf8'),
      /Shutdown of [^]*\*\*\* Recovery started at \w{3} /,
    );
    const next = await standIn.startWriter('IRIS');
    assert.ok((await next.stop()) > rows.last);
  });

  it('hangs in qlist when told so, or gives another exit code', async () => {
    await using standIn = await irisStandIn({ instances: [{ name: 'IRIS', databases: user }] });
    standIn.faults('IRIS', { qlistHangs: true });
    assert.equal((await standIn.run('iris', ['qlist'], { timeoutMs: 700 })).timedOut, true);
    standIn.faults('IRIS', { exits: [{ call: 'qlist', code: 127, acts: false }] });
    assert.equal((await standIn.run('iris', ['qlist', 'IRIS'])).exitCode, 127);
    assert.equal((await standIn.run('iris', ['frobnicate', 'IRIS'])).exitCode, 1);
    assert.equal((await standIn.run('iris', ['session', 'NOBODY'])).exitCode, 1);
  });
});
