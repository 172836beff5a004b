import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseMessages } from '../../../platform/parse-iris-messages.ts';
import { mirrorSigns, parseLocalTime } from './parse-signs.ts';

/** Published lines of a backup that takes over, with what follows in other logs. */
const log = `sage before
06/13/23-07:16:25:472 (2189) 0 [Generic.Event] MirrorClient: Switched from Arbiter Controlled to Agent Controlled failover on request from primary
06/13/23-07:16:27:394 (2189) 0 [Generic.Event] MirrorClient: Set status for MIRRORTEST to Transition
06/13/23-07:16:32:381 (2177) 0 [Generic.Event] INTERSYSTEMS IRIS JOURNALING SYSTEM MESSAGE
Journaling switched to: /isc/mirrorB/mgr/journal/MIRROR-MIRRORTEST-20230613.002
06/13/23-07:16:32:930 (2177) 2 [Utility.Event] Becoming primary mirror server
06/13/23-07:20:00:000 ( 177) 2 Preserving all mirror journal files for offline failover member
06/13/23-07:20:01:000 (2177) 2 [Utility.Event] Arbiter connection lost
06/13/23-07:20:02:000 (2177) 2 [Utility.Event] Disk of the printer is full
06/13/23-07:20:03:000 (2177) 1 [Utility.Event] MirrorServer: Connection to MIRRORDR (async member) terminated
`;

describe('messages.log', () => {
  it('tells severe lines on mirroring within the window, and a takeover apart', () => {
    const now = parseLocalTime('2023-06-13 07:30:00') ?? 0;
    const signs = mirrorSigns(parseMessages(log).entries, now, 3_600_000);
    assert.deepEqual(
      signs.severe.map(({ text }) => text),
      ['Preserving all mirror journal files for offline failover member', 'Arbiter connection lost'],
    );
    assert.equal(signs.tookOver?.localMs, Date.UTC(2023, 5, 13, 7, 16, 32, 930));
    const later = mirrorSigns(parseMessages(log).entries, now + 3_600_000, 3_600_000);
    assert.deepEqual(later, { severe: [], tookOver: undefined });
  });

  it('is held against the clock of the instance, if that is told', () => {
    assert.equal(parseLocalTime('2023-06-13 07:16:32'), Date.UTC(2023, 5, 13, 7, 16, 32));
    for (const other of [undefined, '', '06/13/2023 07:16:32']) assert.equal(parseLocalTime(other), undefined);
  });
});
