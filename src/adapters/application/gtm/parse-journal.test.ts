import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beforeTime, parseBacklog, parseHeaders, parseReceived, parseReplicationFile } from './parse-journal.ts';

// GT.M V7.0-005: TZ=UTC mupip journal -show=header -forward -noverify b.mjl_2026325095030,b.mjl (lines that are not read are left out)
const headers = `%GTM-I-MUJNLSTAT, Initial processing started at Sat Nov 21 09:53:23 2026

-------------------------------------------------------------------------------
SHOW output for journal file /srv/g/b.mjl_2026325095030
-------------------------------------------------------------------------------

Journal file name       /srv/g/b.mjl_2026325095030
Journal file label      GDSJNL28
Database file name      /srv/g/b.dat
 Prev journal file name /srv/g/b.mjl_2026325094835
 Next journal file name 

 Before-image journal                      ENABLED
 Crash                                       FALSE
 Recover interrupted                         FALSE
 Journal Creation Time         2026/11/21 09:48:35
 Time of last update           2026/11/21 09:50:30
 Begin Transaction                           21599 [0x000000000000545F]
 End Transaction                            130714 [0x000000000001FE9A]
 Replication State                          CLOSED
 Epoch Interval                                300
 Start Region Sequence Number                    1 [0x0000000000000001]
 End Region Sequence Number                      0 [0x0000000000000000]

-------------------------------------------------------------------------------
SHOW output for journal file /srv/g/b.mjl
-------------------------------------------------------------------------------

Journal file name       /srv/g/b.mjl
Journal file label      GDSJNL28
Database file name      /srv/g/b.dat
 Prev journal file name 
 Next journal file name 

 Crash                                        TRUE
 Journal Creation Time         2026/11/21 09:50:30
 Time of last update           2026/11/21 09:50:30
 Begin Transaction                          130714 [0x000000000001FE9A]
 End Transaction                            130714 [0x000000000001FE9A]
 Replication State                            OPEN
 Start Region Sequence Number                 2367 [0x000000000000093F]
 End Region Sequence Number                   2367 [0x000000000000093F]

%GTM-S-JNLSUCCESS, Show successful
`;

test('headers of several files from one command', () => {
  const [closed, open, ...others] = parseHeaders(headers);
  assert.equal(others.length, 0);
  assert.deepEqual(closed, {
    file: '/srv/g/b.mjl_2026325095030',
    database: '/srv/g/b.dat',
    previous: '/srv/g/b.mjl_2026325094835',
    crash: false,
    created: '2026-11-21T09:48:35Z',
    updated: '2026-11-21T09:50:30Z',
    begin: '0x000000000000545F',
    end: '0x000000000001FE9A',
    startSequence: 1n,
    endSequence: 0n,
    epochSeconds: 300,
    replicated: false,
  });
  assert.equal(open?.crash, true);
  assert.equal(open?.previous, undefined);
  assert.equal(open?.replicated, true);
  assert.equal(open?.endSequence, 2367n);
});

test('a header that lacks what a chain needs is left out', () => {
  const from = headers.slice(headers.indexOf('Journal file name       /srv/g/b.mjl\n'));
  assert.equal(parseHeaders(from).length, 1);
  for (const line of ['Begin Transaction', 'Database file name', 'Journal Creation Time'])
    assert.deepEqual(parseHeaders(from.replace(line, 'Something else')), [], line);
  assert.deepEqual(parseHeaders(from.replace('2026/11/21 09:50:30', '21-NOV-2026')), []);
  assert.deepEqual(parseHeaders(''), []);
});

test('a file that still has to be sent although its journaling was lost counts as replicated', () => {
  const lost = headers.replace(
    'Replication State                            OPEN',
    'Replication State                          WAS_ON',
  );
  assert.deepEqual(
    parseHeaders(lost).map((each) => each.replicated),
    [false, true],
  );
});

test('without an interval of its epochs a file counts as one with the longest', () => {
  assert.deepEqual(
    parseHeaders(headers).map((each) => each.epochSeconds),
    [300, 32_767],
  );
});

test('without sequence numbers a file has none', () => {
  const old = headers.replaceAll(/^ (Start|End) Region.*\n/gm, '');
  assert.equal(parseHeaders(old)[0]?.startSequence, 0n);
  assert.equal(parseHeaders(old)[0]?.endSequence, 0n);
});

test('a time to roll forward to is a whole second, in UTC, with the month in letters', () => {
  assert.equal(beforeTime(new Date('2026-11-21T09:53:56.000Z')), '21-NOV-2026 09:53:56');
  assert.equal(beforeTime(new Date('2026-11-21T09:53:56.999Z')), '21-NOV-2026 09:53:56');
  assert.equal(beforeTime(new Date('2027-01-02T00:30:00+01:00')), '01-JAN-2027 23:30:00');
});

// mupip replicate -editinstance -show; lines that are not read are left out
const instance = `GTM-I-MUREPLSHOW, SHOW output for replication instance file /srv/g/g.repl
HDR Label (contains Major Version)             GDSRPLUNX05
HDR Instance Name                                        A
HDR Root Primary Cycle                                   5 [0x00000005]
HDR Root Primary                                      TRUE
SLT # 0 : Secondary Instance Name                        B
SLT # 0 : Resync Sequence Number                     20001 [0x0000000000004E21]
SLT # 0 : Connect Sequence Number                    20001 [0x0000000000004E21]
SLT # 1 : Secondary Instance Name                        C
HST #      0 : Root Primary Instance Name                A
HST #      0 : Start Sequence Number                     1 [0x0000000000000001]
HST #      1 : Root Primary Instance Name                B
HST #      1 : Start Sequence Number                  2101 [0x0000000000000835]
HST #      2 : Root Primary Instance Name                A
HST #      2 : Start Sequence Number                  2301 [0x00000000000008FD]
HST #      3 : Root Primary Instance Name                A
HST #      3 : Start Sequence Number                  4001 [0x0000000000000FA1]
`;

test('the replication instance file names the other instances, and the term that began when another instance stopped writing', () => {
  assert.deepEqual(parseReplicationFile(instance), {
    instance: 'A',
    rootPrimary: true,
    secondaries: ['B', 'C'],
    term: 'A.2301',
  });
  assert.equal(parseReplicationFile(instance.replace('TRUE', 'FALSE'))?.rootPrimary, false);
  assert.equal(parseReplicationFile(instance.replaceAll(/^HST # {6}[123].*\n/gm, ''))?.term, 'A.1');
  assert.equal(parseReplicationFile(instance.replaceAll(/^HST.*\n/gm, ''))?.term, undefined);
  assert.equal(parseReplicationFile(instance.replaceAll(/^HST.*Start.*\n/gm, ''))?.term, 'A.');
  assert.equal(parseReplicationFile(instance.replace(/^HDR Instance Name.*\n/m, '')), undefined);
  assert.equal(parseReplicationFile('%GTM-E-REPLINSTOPEN, Error opening replication instance file'), undefined);
});

const active = `Sat Nov 21 09:58:49 2026 : Initiating SHOWBACKLOG operation on source server pid [28976] for secondary instance [B]
%GTM-I-LASTTRANS, Last transaction sequence number posted         : 3296
%GTM-I-LASTTRANS, Last transaction sequence number sent           : 3296
%GTM-I-LASTTRANS, Last transaction sequence number acknowledged   : 3290
%GTM-I-SRCBACKLOGSTATUS, Instance B has not acknowledged 6 transaction(s)
`;
const passive = `Sat Nov 21 09:58:49 2026 : Initiating SHOWBACKLOG operation on source server pid [28978] for secondary instance [A]
%GTM-I-LASTTRANS, Last transaction sequence number posted         : 3296
%GTM-I-LASTTRANS, Last transaction sequence number sent           : 0
%GTM-I-LASTTRANS, Last transaction sequence number acknowledged   : 0
%GTM-I-SRCBACKLOGSTATUS, Instance A has not acknowledged 3296 transaction(s)
WARNING - Source Server is in passive mode, transactions are not being replicated
`;

test('each source server says what was acknowledged, and whether it sends at all', () => {
  const b = { secondary: 'B', pid: 28_976, passive: false, posted: 3296n, acknowledged: 3290n };
  const a = { secondary: 'A', pid: 28_978, passive: true, posted: 3296n, acknowledged: 0n };
  assert.deepEqual(parseBacklog(`${active}${passive}`), [b, a]);
  for (const what of ['posted', 'sent', 'acknowledged'])
    assert.deepEqual(parseBacklog(active.replaceAll(new RegExp(`^.*${what} +:.*\\n`, 'gm'), '')), [], what);
  assert.deepEqual(parseBacklog('%GTM-E-NOJNLPOOL, No journal pool info found'), []);
});

test('of an instance that went back, what it acknowledged before counts no more', () => {
  assert.equal(parseBacklog(active.replace('sent           : 3296', 'sent           : 17'))[0]?.acknowledged, 17n);
});

test('a receiver says what it has received and what the update process has made of it', () => {
  const text = `2720 : number of backlog transactions received by receiver server and yet to be processed by update process
5677 : sequence number of last transaction received from Source Server and written to receive pool
2957 : sequence number of last transaction processed by update process
`;
  assert.deepEqual(parseReceived(text), { received: 5677n, processed: 2957n });
  assert.equal(parseReceived('%GTM-E-NORECVPOOL, Receive pool does not exist'), undefined);
  assert.equal(parseReceived(text.replace(/^2957.*\n/m, '')), undefined);
});
