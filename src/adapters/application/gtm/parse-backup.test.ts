import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  parseBackup,
  parseBlockTransaction,
  parseCounters,
  parseCurrent,
  parseStreamHead,
  parseUnchanged,
  streamHeadBytes,
  unchangedText,
} from './parse-backup.ts';

// GT.M V7.0-005: mupip backup -bytestream -online -since=bytestream "DEFAULT,BREG" of which BREG had not changed.
const half = `%GTM-I-FILERENAME, File /srv/g/b.mjl is renamed to /srv/g/b.mjl_2026325095323_1
%GTM-I-JNLCREATE, Journal file /srv/g/b.mjl created for region BREG with BEFORE_IMAGES
%GTM-I-FILERENAME, File /srv/g/g.mjl is renamed to /srv/g/g.mjl_2026325095323_1
%GTM-I-JNLCREATE, Journal file /srv/g/g.mjl created for region DEFAULT with BEFORE_IMAGES
%GTM-I-BACKUPDBFILE, DB file /srv/g/g.dat backed up in file  cat > i2.g
5 blocks saved.
%GTM-I-BACKUPTN, Transactions from 0x0000000000000002 to 0x0000000000000003 are backed up

TRANSACTION number is greater than or equal to current transaction,
no blocks backed up from database /srv/g/b.dat
%GTM-I-BACKUPSUCCESS, Backup completed successfully
`;

test('a backup tells regions in their order, also those that had not changed, and the journals it began', () => {
  assert.deepEqual(parseBackup(half), {
    regions: [
      { file: '/srv/g/g.dat', range: { from: '0x0000000000000002', to: '0x0000000000000003' }, blocks: 5 },
      { file: '/srv/g/b.dat', range: undefined, blocks: 0 },
    ],
    succeeded: true,
    journals: { BREG: 'b.mjl', DEFAULT: 'g.mjl' },
  });
});

test('a backup that is still at work, or was ended, has no region whose transactions were not named', () => {
  for (const [lines, regions] of [
    [6, 0],
    [7, 1],
    [9, 1],
    [10, 2],
  ] as const) {
    const so = parseBackup(half.split('\n').slice(0, lines).join('\n'));
    assert.equal(so.regions.length, regions, `after ${lines} lines`);
    assert.equal(so.succeeded, false);
  }
});

test('transactions without a database before them belong to nobody', () => {
  const line = '%GTM-I-BACKUPTN, Transactions from 0x0000000000000002 to 0x0000000000000003 are backed up';
  assert.deepEqual(parseBackup(line).regions, []);
});

const header = (region: string): string => `
File  \t/srv/g/b.dat
Region\tBREG

File            /srv/g/${region}.dat
Region          ${region}
  Access method                                  BG  Global Buffers                        2048
  Reserved Bytes                                  0  Block size (in bytes)                 4096
  Maximum record size                          4000  Starting VBN                          8193
  Maximum key size                              255  Total blocks            0x00000000000003EA
  Null subscripts                             NEVER  Free blocks             0x00000000000000FD
  Last Record Backup             0x000000000001FE9A  Extension Count                       2000
  Last Database Backup           0x0000000000000001  Number of local maps                    22
  Last Bytestream Backup         0x00000000000202B8  Lock space                      0x00000028
  Current transaction            0x00000000000202CF  No. of writes/flush                      7
`;

test('the counters of every header that shows all of them', () => {
  const found = parseCounters(`${header('BREG')}\n${header('DEFAULT')}`);
  assert.deepEqual(found[1], {
    region: 'DEFAULT',
    file: '/srv/g/DEFAULT.dat',
    current: '0x00000000000202CF',
    record: '0x000000000001FE9A',
    database: '0x0000000000000001',
    bytestream: '0x00000000000202B8',
    blockBytes: 4096,
    totalBlocks: 1002,
    startingSector: 8193,
  });
  assert.deepEqual(
    found.map((each) => each.region),
    ['BREG', 'DEFAULT'],
  );
});

test('a header that lacks a counter or a size is not shown at all', () => {
  for (const line of ['Last Record Backup', 'Current transaction', 'Starting VBN', 'Block size', 'Region   ']) {
    const without = header('BREG').replace(line, 'Something else');
    assert.deepEqual(parseCounters(without), [], line);
  }
});

function headBytes(label = 'GDSV8   INCREMENTAL BACKUP'): Buffer {
  const bytes = Buffer.alloc(streamHeadBytes);
  bytes.write(`${label}20261121095455DEFAULT`, 'latin1');
  bytes.writeBigUInt64LE(0x10000n, 72);
  bytes.writeBigUInt64LE(0x5d250n, 80);
  bytes.writeBigUInt64LE(3006n, 88);
  bytes.writeUInt32LE(4096, 96);
  return bytes;
}

test('the beginning of a bytestream file names its region and its transactions', () => {
  assert.deepEqual(parseStreamHead(headBytes()), {
    region: 'DEFAULT',
    from: 0x10000n,
    to: 0x5d250n,
    blockBytes: 4096,
  });
});

test('what is too short or has another label is no bytestream file', () => {
  assert.equal(parseStreamHead(headBytes().subarray(0, 100)), undefined);
  assert.equal(parseStreamHead(headBytes('GDSDYNUNX04               ')), undefined);
});

test('the text for an unchanged region reads back, and nothing else does', () => {
  const text = unchangedText('DEFAULT', '0x0000000000000003');
  assert.deepEqual(parseUnchanged(text), { region: 'DEFAULT', at: 3n });
  assert.equal(parseUnchanged(text.slice(0, -1)), undefined);
  assert.equal(parseUnchanged(''), undefined);
});

test('the current transaction of a closed file, and not that of its statistics', () => {
  const text = `record("sgmnt_data.gvstats_rec.db_curr_tn")="0x0000000000000007"
record("sgmnt_data.trans_hist.curr_tn")="0x000000000000EA69"`;
  assert.equal(parseCurrent(text), 0xea69n);
  assert.equal(parseCurrent('record("sgmnt_data.trans_hist.curr_tn")=12'), 12n);
  assert.equal(parseCurrent('%GTM-E-DBFILOPERR, Error doing database I/O to region'), undefined);
});

test('the transaction of a block, and none for one that was never used or is cut off', () => {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(77n, 8);
  assert.equal(parseBlockTransaction(bytes), 0n);
  bytes.writeUInt32LE(4000, 4);
  assert.equal(parseBlockTransaction(bytes), 77n);
  assert.equal(parseBlockTransaction(bytes.subarray(0, 8)), 0n);
});
