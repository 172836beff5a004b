import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseLog, parseLogs, parseShadows, parseWriters, whyNot } from './parse.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const first = '{3f2a8c11-5b7d-4e0a-9a41-0c6d1e2f3a4b}';
const second = '{7c6b5a49-3827-4615-8403-f2e1d0c9b8a7}';

describe('output of diskshadow and vssadmin', () => {
  it('names the shadow copies by our aliases, in every language', () => {
    assert.deepEqual(
      [...parseLog(transcript('diskshadow-create.txt'))],
      [
        ['sp_0123456789', first],
        ['sp_abcdef0123', second],
      ],
    );
    assert.deepEqual([...parseLog(transcript('diskshadow-create-zh.txt'))], [['sp_0123456789', first]]);
    assert.deepEqual([...parseLog('-> add volume D:\\ alias sp_0123456789\r\nError 0x80042306\r\n')], []);
  });

  it('tells why, by codes and by what stands in code', () => {
    assert.match(whyNot('x 0x800423F4 y').said, /^a writer failed \(0x800423f4\)$/);
    assert.match(whyNot('0x00000001 0x80042306').said, /provider vetoed/);
    assert.match(whyNot('COM call "(*vssObject)->InitializeForBackup" failed.').hint, /Administrators/);
    assert.equal(whyNot('one\r\ntwo\r\n').said, 'one; two');
    assert.equal(whyNot(' \r\n').said, 'diskshadow said nothing');
  });

  it('reads the state of all writers', () => {
    assert.deepEqual(
      parseWriters(transcript('vssadmin-list-writers.txt')).map(({ name, id, state, isWell }) => [
        name,
        id.slice(1, 9),
        state,
        isWell,
      ]),
      [
        ['Task Scheduler Writer', 'd61d61c8', 1, true],
        ['SqlServerWriter', 'a65faa63', 8, false],
        ['System Writer', 'e8132975', 5, true],
        ["Someone's Writer", '542da469', 9, false],
      ],
    );
  });

  it('refuses writers in another language, and a list that is not one', () => {
    const german = transcript('vssadmin-list-writers.txt').replaceAll('No error', 'Kein Fehler');
    assert.throws(() => parseWriters(german), {
      code: 'command-failed',
      message: /Task Scheduler Writer says Kein Fehler/,
    });
    for (const text of [
      '',
      'Error: You need rights',
      transcript('vssadmin-list-writers.txt').replace('Writer Id: {a', 'Writer Id: a'),
    ]) {
      assert.throws(() => parseWriters(text), { code: 'command-failed', message: /not understood/ });
    }
  });

  it('reads shadow copies with their volumes', () => {
    const set = '{9d0e1f2a-3b4c-4d5e-8f60-718293a4b5c6}';
    assert.deepEqual(parseShadows(transcript('vssadmin-list-shadows.txt')), [
      { id: first, set, originalVolume: '\\\\?\\volume{351b4712-0000-0000-0000-602200000000}\\' },
      { id: second, set, originalVolume: '\\\\?\\volume{6cd5140b-0000-0000-0000-602200000000}\\' },
    ]);
    assert.deepEqual(parseShadows('No items found that satisfy the query.\r\n'), []);
  });

  it('reads our own list of logs', () => {
    const log = Buffer.from('ü\r\n').toString('base64');
    assert.deepEqual(parseLogs(`log stillpoint-1 [0aff] ${log}\r\nlog stillpoint-2 [] \r\n`), [
      { label: 'stillpoint-1', attempt: '0aff', log: 'ü\r\n' },
      { label: 'stillpoint-2', attempt: '', log: '' },
    ]);
    assert.throws(() => parseLogs('log daily [] \r\n'), { code: 'command-failed', message: /not understood/ });
  });
});
