import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { localTime, parseMessages, parseStructured, signsIn } from './parse-iris-messages.ts';

const log = `half of a line that was cut
08/11/21-05:49:44:347 (18374) 0 [Utility.Event] Backup.General.ExternalFreeze: System suspended
06/13/23-07:16:32:381 ( 2177) 0 [Generic.Event] INTERSYSTEMS IRIS JOURNALING SYSTEM MESSAGE
Journaling switched to: /isc/mirrorB/mgr/journal/MIRROR-MIRRORTEST-20230613.002
01/04/17-16:30:36:001 (1836) 1 MirrorServer: Connection to X (backup) terminated
06/13/23-07:16:32:930 (2177) 2 [Utility.Event] Becoming primary mirror server

*** Recovery started at Wed Aug 11 06:12:30 2021
     Starting WIJ recovery for '/iris/wij/IRIS.WIJ'.
  0 blocks pending in this WIJ.
Exiting with status 3 (Success)
13/40/21-05:49:44:347 (1) 3 no date
*** Recovery started at Wed Xxx 11 06:12:30 2021
08/11/21-06:13:00:000 (1) 3 [SYSTEM MONITOR] it is in the text
`;

describe('iris: messages.log', () => {
  for (const [what, text] of [
    ['Unix', log],
    ['Windows', log.replaceAll('\n', '\r\n')],
  ] as const) {
    it(`reads entries and their continuation lines, with the line ends of ${what}`, () => {
      const { entries, before } = parseMessages(text);
      assert.deepEqual(before, ['half of a line that was cut']);
      assert.deepEqual(
        entries.map(({ severity, pid, event }) => [severity, pid, event]),
        [
          ['info', 18374, 'Utility.Event'],
          ['info', 2177, 'Generic.Event'],
          ['warning', 1836, undefined],
          ['severe', 2177, 'Utility.Event'],
          ['info', undefined, undefined],
          ['fatal', 1, undefined],
        ],
      );
      assert.equal(entries[0]?.localMs, Date.UTC(2021, 7, 11, 5, 49, 44, 347));
      assert.equal(entries[1]?.text.split('\n').length, 2);
      assert.equal(entries[3]?.text, 'Becoming primary mirror server');
      assert.equal(entries[4]?.localMs, Date.UTC(2021, 7, 11, 6, 12, 30));
      assert.match(entries[4]?.text ?? '', /Exiting with status 3 \(Success\)\n13\/40/);
      assert.equal(entries[5]?.text, '[SYSTEM MONITOR] it is in the text');
    });
  }

  it('knows that a date does not exist', () => {
    assert.equal(localTime(2021, 2, 30, 0, 0, 0, 0), undefined);
    assert.equal(localTime(2021, 13, 1, 0, 0, 0, 0), undefined);
    assert.equal(localTime(2021, 1, 1, 24, 0, 0, 0), undefined);
    assert.equal(localTime(2021, 1, 1, 0, 60, 0, 0), undefined);
    assert.equal(localTime(2021, 1, 1, 0, 0, 60, 0), undefined);
    assert.equal(localTime(1970, 1, 1, 0, 0, 1, 1), 1001);
  });

  it('never throws', () => {
    const piece = fc.oneof(fc.string(), fc.constantFrom(...log.split('\n')));
    fc.assert(fc.property(fc.array(piece), (lines) => void signsIn(parseMessages(lines.join('\n')).entries)));
    fc.assert(fc.property(fc.string(), (text) => void parseStructured(text)));
    assert.deepEqual(parseMessages(''), { entries: [], before: [] });
  });
});

describe('iris: structured log', () => {
  it('reads pairs and JSON, and counts what is neither', () => {
    const { entries, notUnderstood } = parseStructured(
      [
        'when="2019-08-01 18:43:02.216" pid=8240 level=SEVERE event=Utility.Event text="Previous system shutdown was \\"abnormal\\""',
        '{"when":"2019-08-01T18:43:03Z","pid":"x","level":"warning","text":"json"}',
        'when="2019-08-01 18:43:04.5" level=INFO text=short',
        '',
        '{"broken',
        '{"level":"INFO","text":"no time"}',
        'when="2019-08-01 18:43:02" level=LOUD text=x',
        'when="2019-08-01 18:43:02" level=INFO',
        'when="2019-02-31 18:43:02" level=INFO text=x',
        'when="2019-08-01 18:43:02"',
      ].join('\n'),
    );
    assert.equal(notUnderstood, 6);
    assert.deepEqual(
      entries.map(({ localMs, severity, pid, event, text }) => [localMs, severity, pid, event, text]),
      [
        [
          Date.UTC(2019, 7, 1, 18, 43, 2, 216),
          'severe',
          8240,
          'Utility.Event',
          'Previous system shutdown was "abnormal"',
        ],
        [Date.UTC(2019, 7, 1, 18, 43, 3), 'warning', undefined, undefined, 'json'],
        [Date.UTC(2019, 7, 1, 18, 43, 4, 500), 'info', undefined, undefined, 'short'],
      ],
    );
  });
});

describe('iris: signs in the log', () => {
  it('counts freezes and thaws of everybody, and notes a takeover and resumes by others', () => {
    const entry = (text: string) => ({ localMs: 0, severity: 'info' as const, pid: 1, event: undefined, text });
    const signs = signsIn(
      [
        'Backup.General.ExternalFreeze: System suspended',
        'Backup.General.ExternalThaw: System resumed',
        'Backup.General.ExternalFreeze: System suspended',
        'Becoming primary mirror server',
        'Becoming primary mirror server again',
        'Write daemon suspend limit exceeded',
        'something else',
      ].map(entry),
    );
    assert.deepEqual(signs, {
      suspended: 2,
      resumed: 1,
      takeover: 'Becoming primary mirror server',
      foreign: ['Write daemon suspend limit exceeded'],
    });
  });
});
