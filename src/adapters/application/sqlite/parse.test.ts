import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Failure, failureOf, hasAbstractSocket, parseLocks, walDatabases, writeLockHolders } from './parse.ts';

/** Recorded on Linux 6 while one process held `BEGIN IMMEDIATE` on a database in WAL mode and one in rollback mode; the rest is made up. */
const locks = `1: POSIX  ADVISORY  WRITE 5404 fe:00:9995333 120 120
2: POSIX  ADVISORY  READ 5404 fe:00:9995333 124 124
3: POSIX  ADVISORY  READ 5404 fe:00:9995333 128 128
4: POSIX  ADVISORY  READ 5404 fe:00:9995331 1073741826 1073742335
5: POSIX  ADVISORY  WRITE 5405 fe:00:9995332 1073741825 1073741825
5: -> POSIX  ADVISORY  WRITE 5406 fe:00:9995332 1073741825 1073741825
6: FLOCK  ADVISORY  WRITE 77 00:19:1 0 EOF
7: OFDLCK ADVISORY  WRITE -1 00:19:9995332 1073741825 1073741825
8: POSIX  ADVISORY  WRITE 5407 00:2f:300 0 EOF
`;

describe('parseLocks', () => {
  it('takes granted POSIX locks only', () => {
    assert.deepEqual(
      parseLocks(locks).map(({ access, pid, inode, start, end }) => [access, pid, inode, start, end]),
      [
        ['WRITE', 5404, 9995333n, 120, 120],
        ['READ', 5404, 9995333n, 124, 124],
        ['READ', 5404, 9995333n, 128, 128],
        ['READ', 5404, 9995331n, 1073741826, 1073742335],
        ['WRITE', 5405, 9995332n, 1073741825, 1073741825],
        ['WRITE', 5407, 300n, 0, Infinity],
      ],
    );
    assert.deepEqual(parseLocks(''), []);
  });
});

describe('writeLockHolders', () => {
  const holders = (database: bigint, sharedMemory: bigint | undefined): readonly number[] =>
    writeLockHolders(parseLocks(locks), { database, sharedMemory });

  it('finds the WAL write lock on the -shm file, the RESERVED lock on the database, and whole-file locks', () => {
    assert.deepEqual(holders(9995331n, 9995333n), [5404]);
    assert.deepEqual(holders(9995332n, undefined), [5405]);
    assert.deepEqual(holders(300n, 300n), [5407]);
  });

  it('does not take a reader or another byte for the writer', () => {
    assert.deepEqual(holders(9995331n, undefined), []);
    assert.deepEqual(holders(9995333n, undefined), []);
    assert.deepEqual(holders(1n, 9995332n), []);
  });
});

describe('hasAbstractSocket', () => {
  const text = `Num       RefCount Protocol Flags    Type St Inode Path
0000000027bce068: 00000002 00000000 00010000 0001 01 36551 @stillpoint-sqlite-r1
0000000027bce069: 00000002 00000000 00010000 0001 01 36552 /run/stillpoint-sqlite-r2
`;
  it('wants the whole name and the leading zero byte', () => {
    assert.equal(hasAbstractSocket(text, 'stillpoint-sqlite-r1'), true);
    assert.equal(hasAbstractSocket(text, 'stillpoint-sqlite-r'), false);
    assert.equal(hasAbstractSocket(text, 'sqlite-r1'), false);
    assert.equal(hasAbstractSocket(text, 'stillpoint-sqlite-r2'), false);
  });
});

describe('walDatabases', () => {
  it('wants the -wal beside the database, and names each once', () => {
    const open = ['/a.db', '/a.db', '/a.db-wal', '/b.db', '/c.db-wal', 'socket:[1]'];
    assert.deepEqual(walDatabases(open), ['/a.db']);
  });
});

describe('failureOf', () => {
  const cases: readonly [number, Failure][] = [
    [5, 'busy'],
    [6, 'busy'],
    [517, 'busy'],
    [26, 'not-a-database'],
    [11, 'damaged'],
    [267, 'damaged'],
    [3, 'not-writable'],
    [8, 'not-writable'],
    [23, 'not-writable'],
    [14, 'cannot-open'],
    [13, 'disk-full'],
    [1, 'other'],
    [266, 'other'],
  ];
  for (const [code, failure] of cases) it(`${code} is ${failure}`, () => assert.equal(failureOf(code), failure));
});
