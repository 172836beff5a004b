import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  parseCreated,
  parseFileHeader,
  parseFrozenRegions,
  parseMessages,
  parseRegions,
  parseRenames,
  parseSegments,
  parseStates,
  Unreadable,
} from './parse.ts';

function transcript(name: string): string {
  return readFileSync(new URL(`../../../../test/transcripts/gtm-7.0-${name}.txt`, import.meta.url), 'utf8');
}

describe('parseMessages', () => {
  it('reads severity and mnemonic, behind a region’s name too, and passes over other lines', () => {
    const messages = parseMessages(transcript('freeze-online'));
    assert.deepEqual(
      messages.map((each) => [each.severity, each.mnemonic]),
      [
        ['I', 'FILERENAME'],
        ['I', 'FILERENAME'],
      ],
    );
    assert.match(messages[0]?.said ?? '', /^File \/srv\/gtm\/h\.mjl is renamed to/);
    assert.deepEqual(
      parseMessages('%GTM-F-FORCEDHALT, Image HALTed by MUPIP STOP\n%GTM-S-JNLSUCCESS, Recover\n%GTM-E-MUNOFINISH\n'),
      [
        { severity: 'F', mnemonic: 'FORCEDHALT', said: 'Image HALTed by MUPIP STOP' },
        { severity: 'S', mnemonic: 'JNLSUCCESS', said: 'Recover' },
        { severity: 'E', mnemonic: 'MUNOFINISH', said: '' },
      ],
    );
    assert.deepEqual(
      parseMessages('%GTM-W-OFRZNOTHELD, Online Freeze\n%GDE-I-VERIFY, Verification OK').map((each) => each.severity),
      ['W', 'I'],
    );
    assert.deepEqual(parseMessages('Region DEFAULT is now UNFROZEN\n'), []);
  });
});

describe('parseStates', () => {
  it('reads every region of a database that nobody has frozen', () => {
    const states = parseStates(transcript('dse-all-free'));
    assert.deepEqual(
      states.map((state) => [state.region, state.file, state.frozen, state.online, state.journal]),
      [
        ['DEFAULT', '/srv/gtm/g.dat', undefined, false, 'on'],
        ['SECOND', '/srv/gtm/h.dat', undefined, false, 'on'],
      ],
    );
    const [first] = states;
    assert.equal(first?.journalFile, '/srv/gtm/g.mjl');
    assert.equal(first?.beforeImages, true);
    assert.equal(first?.accessMethod, 'BG');
    assert.equal(first?.globalBuffers, 1024);
    assert.equal(first?.blockBytes, 4096);
    assert.equal(first?.replication, 'OFF');
    assert.equal(first?.encrypted, false);
    assert.equal(first?.killsInProgress, 0);
    assert.match(first?.transaction ?? '', /^0x[0-9A-F]{16}$/);
    assert.match(first?.sequence ?? '', /^0x[0-9A-F]{16}$/);
  });

  it('reads the uid and pid of a freeze, root’s and others’', () => {
    const text = transcript('dse-all-online');
    const states = parseStates(text);
    for (const state of states) {
      assert.equal(state.frozen?.uid, 0);
      assert.ok((state.frozen?.pid ?? 0) > 0);
      assert.deepEqual([state.online, state.autorelease], [true, false]);
    }
    const other = parseStates(text.replaceAll('FROZEN BY ROOT', '0x0000FFFE    '));
    assert.deepEqual(
      other.map((state) => state.frozen?.uid),
      [65_534, 65_534],
    );
    const released = parseStates(text.replaceAll('FROZEN BY ROOT', '0x00000000    '));
    assert.deepEqual(
      released.map((state) => [state.frozen, state.online]),
      [
        [undefined, true],
        [undefined, true],
      ],
    );
  });

  it('tells journaling that is off from journaling that there is none, also with no process attached', () => {
    const text = transcript('dse-all-free');
    const journalOf = (said: string): readonly string[] =>
      parseStates(text.replaceAll(/Journal State +(\[inactive\] )?ON/g, `Journal State        ${said}`)).map(
        (state) => state.journal,
      );
    assert.deepEqual(journalOf('[inactive] ON'), ['on', 'on']);
    assert.deepEqual(journalOf('OFF'), ['off', 'off']);
    assert.deepEqual(journalOf('DISABLED'), ['disabled', 'disabled']);
  });

  it('does without what no decision depends on', () => {
    const bare = transcript('dse-all-free')
      .replaceAll(/Journal File: .*/g, '')
      .replaceAll(/Replication State +OFF/g, '')
      .replaceAll(/Region Seqno +\S+/g, '')
      .replaceAll(/Global Buffers +\d+/g, '')
      .replaceAll(/KILLs in progress +\d+/g, '');
    const [first] = parseStates(bare);
    assert.deepEqual(
      [first?.journalFile, first?.replication, first?.sequence, first?.globalBuffers, first?.killsInProgress],
      [undefined, 'OFF', '0x0', 0, 0],
    );
  });

  it('is an error for a header in which it cannot see whether it is frozen', () => {
    const text = transcript('dse-all-online');
    for (const field of ['Cache freeze id', 'Freeze match', 'Freeze online ', 'Journal State', 'Region  ']) {
      assert.throws(() => parseStates(text.replaceAll(field, 'Something else')), Unreadable, field);
    }
    assert.deepEqual(parseStates('%GTM-E-REQRECOV, Error accessing database'), []);
  });
});

describe('freezes and thaws', () => {
  it('names the regions that mupip froze, with and without its prefix', () => {
    assert.deepEqual(parseFrozenRegions(transcript('freeze-online')).toSorted(), ['DEFAULT', 'SECOND']);
    assert.deepEqual(parseFrozenRegions(transcript('freeze-plain')), ['DEFAULT', 'SECOND']);
    assert.deepEqual(parseFrozenRegions(transcript('unfreeze-online')), []);
  });

  it('names the journal files that a thaw closed', () => {
    assert.deepEqual(
      parseRenames(transcript('unfreeze-online')).map((each) => each.from),
      ['/srv/gtm/g.mjl', '/srv/gtm/h.mjl'],
    );
    assert.match(parseRenames(transcript('unfreeze-online'))[0]?.to ?? '', /^\/srv\/gtm\/g\.mjl_\d{13}/);
    assert.deepEqual(parseRenames('%GTM-I-FILERENAME, something unheard of'), []);
    assert.deepEqual(parseRenames('%GTM-I-JNLCREATE, Journal file /a created'), []);
  });
});

describe('global directories', () => {
  const text = transcript('gde-commands');

  it('maps regions to segments and files, with variables', () => {
    assert.deepEqual(
      [...parseSegments(text)],
      [
        ['DEFAULT', 'DEFAULT'],
        ['SECOND', 'SECOND'],
      ],
    );
    assert.deepEqual(parseRegions(text, { W: '/srv/gtm' }), [
      { name: 'DEFAULT', file: '/srv/gtm/g.dat' },
      { name: 'SECOND', file: '/srv/gtm/h.dat' },
    ]);
    assert.deepEqual(
      parseRegions(text, {}).map((each) => each.file),
      ['$W/g.dat', '$W/h.dat'],
    );
  });

  it('adds the extension that the engine adds, reads quotation marks, and passes over a region without a segment', () => {
    const lines = [
      'ADD -REGION ONE -DYNAMIC_SEGMENT=ONE -JOURNAL=(FILE_NAME="/j/one.mjl")',
      'ADD -REGION TWO -DYNAMIC_SEGMENT=GONE',
      'ADD -SEGMENT ONE -ACCESS_METHOD=MM -FILE_NAME="/data.d/o""ne"',
    ];
    assert.deepEqual(parseRegions(lines.join('\n'), {}), [{ name: 'ONE', file: '/data.d/o"ne.dat' }]);
  });

  it('reads the times of creation', () => {
    assert.deepEqual(
      [...parseCreated('REGION\tDEFAULT\t1795253975\nREGION\tSECOND\t\nnoise\n')],
      [['DEFAULT', '1795253975']],
    );
  });
});

describe('parseFileHeader', () => {
  const text = transcript('dumpfhead-frozen');

  it('reads the freeze that a copy carries', () => {
    const header = parseFileHeader(text);
    assert.deepEqual([header.frozen, header.journaled, header.replicated], [true, true, false]);
    assert.ok(header.freezer > 0);
  });

  it('is an error for a header that lacks a field', () => {
    assert.throws(() => parseFileHeader(text.replace('sgmnt_data.image_count', 'sgmnt_data.other')), Unreadable);
  });
});
