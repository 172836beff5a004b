import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  isWholeControl,
  journalSpan,
  lastComplaint,
  majorOf,
  majorOfProgram,
  parseLabel,
  parseLsn,
  parsePostmasterPid,
  parseSegment,
  prefixLength,
  redoOf,
  rewriteTablespaceMap,
  segmentName,
  segmentProof,
  sessionName,
  settingOf,
  tablespaceScan,
  thawedName,
  Unreadable,
} from './parse.ts';

const mib = 1024n * 1024n;
const segmentBytes = 16n * mib;
const block = 8192;
const systemIdentifier = 7_710_513_658_782_017_989n;

/** As PostgreSQL 18.4 wrote it. */
const label = `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/2000080
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-11-21 06:51:03 UTC
LABEL: x
START TIMELINE: 1
`;

describe('versions', () => {
  it('reads the major version of a server and of a program', () => {
    assert.equal(majorOf(150_018), 15);
    assert.equal(majorOfProgram('postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n'), 15);
    assert.equal(majorOfProgram('postgres (PostgreSQL) 18.4\n'), 18);
    assert.equal(majorOfProgram('bash: no such file'), undefined);
  });
});

describe('positions and segments', () => {
  it('reads a log sequence number', () => {
    assert.equal(parseLsn('0/2000028'), 0x2000028n);
    assert.equal(parseLsn('16/B374D848'), 0x16_b374_d848n);
    assert.throws(() => parseLsn('16B374D848'), Unreadable);
    assert.throws(() => parseLsn(''), Unreadable);
  });

  it('names segments of 16 MiB and of 1 GiB, and reads the names back', () => {
    assert.equal(segmentName(1n, 2n, segmentBytes), '000000010000000000000002');
    assert.equal(segmentName(10n, 0x1234n, segmentBytes), '0000000A0000001200000034');
    assert.equal(segmentName(1n, 5n, 1024n * mib), '000000010000000100000001');
    assert.deepEqual(parseSegment('0000000A0000001200000034', segmentBytes), { timeline: 10n, number: 0x1234n });
    assert.throws(() => parseSegment('00000001.history', segmentBytes), Unreadable);
  });

  it('reads the label, and refuses one that names no start', () => {
    assert.deepEqual(parseLabel(label), { startLsn: '0/2000028', startFile: '000000010000000000000002' });
    assert.throws(() => parseLabel('LABEL: x\n'), Unreadable);
  });

  it('lists every segment from start to stop', () => {
    const span = journalSpan(parseLabel(label), '0/4000120', segmentBytes, '/wal');
    assert.deepEqual(span, {
      from: { file: '000000010000000000000002', position: '0/2000028' },
      to: { file: '000000010000000000000004', position: '0/4000120' },
      files: ['000000010000000000000002', '000000010000000000000003', '000000010000000000000004'],
      directory: '/wal',
    });
  });

  it('needs no segment that begins exactly where the backup ends', () => {
    assert.deepEqual(journalSpan(parseLabel(label), '0/3000000', segmentBytes, '/wal').files, [
      '000000010000000000000002',
    ]);
  });

  it('crosses the end of a log id', () => {
    const start = { startLsn: '0/FF000028', startFile: '0000000100000000000000FF' };
    const span = journalSpan(start, '1/1000', segmentBytes, '/wal');
    assert.deepEqual(span.files, ['0000000100000000000000FF', '000000010000000100000000']);
  });

  it('refuses an end before the start', () => {
    assert.throws(() => journalSpan(parseLabel(label), '0/1000000', segmentBytes, '/wal'), Unreadable);
  });
});

interface Forgery {
  readonly pages?: number;
  readonly info?: number;
  readonly timeline?: number;
  readonly system?: bigint;
  readonly segment?: number;
  readonly block?: number;
}

/** The first `pages` pages of segment 2, as the engine writes them, and empty ones up to 16 pages. */
function segment(forged: Forgery = {}): Buffer {
  const data = Buffer.alloc(16 * block);
  const start = 2n * segmentBytes;
  for (let i = 0; i < (forged.pages ?? 16); i += 1) {
    const at = i * block;
    data.writeUInt16LE(0xd118, at);
    data.writeUInt32LE(forged.timeline ?? 1, at + 4);
    data.writeBigUInt64LE(start + BigInt(at), at + 8);
  }
  data.writeUInt16LE(forged.info ?? 2, 2);
  data.writeBigUInt64LE(forged.system ?? systemIdentifier, 24);
  data.writeUInt32LE(forged.segment ?? Number(segmentBytes), 32);
  data.writeUInt32LE(forged.block ?? block, 36);
  return data;
}

function prove(data: Uint8Array, until = 3n * segmentBytes, name = '000000010000000000000002'): string | undefined {
  return segmentProof({ name, systemIdentifier, segmentBytes, until })(data);
}

describe('proof of a segment', () => {
  it('accepts what the engine wrote', () => {
    assert.equal(prove(segment()), undefined);
  });

  it('accepts it in two chunks, and counts on from the first', () => {
    const data = segment();
    const proof = segmentProof({
      name: '000000010000000000000002',
      systemIdentifier,
      segmentBytes,
      until: 4n * segmentBytes,
    });
    assert.equal(proof(data.subarray(0, 8 * block)), undefined);
    assert.equal(proof(data.subarray(8 * block)), undefined);
    assert.match(proof(data.subarray(0, block)) ?? '', /page 131072 belongs to position 2000000/);
  });

  it('accepts a segment that a fork copied from an older timeline, not one from a later', () => {
    assert.equal(prove(segment(), 3n * segmentBytes, '000000020000000000000002'), undefined);
    assert.match(prove(segment({ timeline: 2 })) ?? '', /timeline 2/);
  });

  it('accepts empty pages behind the end of the backup, and behind a switch in an earlier segment', () => {
    const start = 2n * segmentBytes;
    assert.equal(prove(segment({ pages: 3 }), start + 2n * BigInt(block) + 40n), undefined);
    assert.equal(prove(segment({ pages: 3 }), start + 10n * segmentBytes), undefined);
  });

  it('accepts what a recycled file held before, behind the end of the backup only', () => {
    const data = segment();
    data.writeBigUInt64LE(7n, 5 * block + 8);
    const end = 2n * segmentBytes + 5n * BigInt(block);
    assert.equal(prove(data, end), undefined);
    assert.match(prove(data, end + 1n) ?? '', /page 40960 belongs to position 7/);
  });

  it('finds an empty page before the end of the backup', () => {
    assert.match(prove(segment({ pages: 3 }), 2n * segmentBytes + 5n * BigInt(block)) ?? '', /page 24576 is empty/);
  });

  it('finds a page behind an empty one', () => {
    const data = segment();
    data.fill(0, 4 * block, 5 * block);
    assert.match(prove(data, 9n * segmentBytes) ?? '', /page 40960 follows an empty page/);
  });

  it('finds a recycled segment', () => {
    assert.match(
      prove(segment(), 8n * segmentBytes, '000000010000000000000007') ?? '',
      /page 0 belongs to position 2000000/,
    );
  });

  it('finds a page of another kind at the right place', () => {
    const data = segment();
    data.writeUInt16LE(0xd117, 6 * block);
    assert.match(prove(data) ?? '', /page 49152 belongs to/);
  });

  it('finds a foreign, a headless, a short and an impossible file', () => {
    assert.match(prove(segment({ system: 5n })) ?? '', /system 5/);
    assert.match(prove(segment({ info: 0 })) ?? '', /no WAL header/);
    assert.match(prove(segment().subarray(0, 20)) ?? '', /no WAL header/);
    assert.match(prove(Buffer.alloc(block)) ?? '', /no WAL header/);
    assert.match(prove(segment({ segment: 1024 })) ?? '', /segments of 1024 bytes/);
    for (const bytes of [0, 512, 131_072, 24_576]) {
      assert.match(prove(segment({ block: bytes })) ?? '', new RegExp(`pages of ${bytes} bytes`));
    }
  });
});

describe('postmaster.pid', () => {
  it('reads a running server', () => {
    const text = '6604\n/tmp/exp/e/data\n1795243858\n5432\n/tmp/exp/e/s\n\n  9995232         4\nready   \n';
    assert.deepEqual(parsePostmasterPid(text), {
      pid: 6604,
      dataDirectory: '/tmp/exp/e/data',
      startedAt: 1_795_243_858,
      port: 5432,
      socketDirectory: '/tmp/exp/e/s',
      status: 'ready',
    });
  });

  it('reads one that is still being written, and a single-user server', () => {
    assert.deepEqual(parsePostmasterPid('-12\n/data\n'), {
      pid: 12,
      dataDirectory: '/data',
      startedAt: undefined,
      port: undefined,
      socketDirectory: undefined,
      status: undefined,
    });
  });

  it('gives nothing for an empty or foreign file', () => {
    assert.equal(parsePostmasterPid(''), undefined);
    assert.equal(parsePostmasterPid('12\n'), undefined);
    assert.equal(parsePostmasterPid('hello\n/data\n'), undefined);
  });
});

describe('tablespace_map', () => {
  it('rewrites every path and keeps escapes', () => {
    const seen: string[] = [];
    const map = '16385 /srv/one\n16386 /srv/a\\\nb\\\\c\n';
    const after = rewriteTablespaceMap(map, (oid, path) => {
      seen.push(`${oid}=${path}`);
      return `/copy${path}`;
    });
    assert.deepEqual(seen, ['16385=/srv/one', '16386=/srv/a\nb\\c']);
    assert.equal(after, '16385 /copy/srv/one\n16386 /copy/srv/a\\\nb\\\\c\n');
  });

  it('keeps an empty map and refuses a line without a path', () => {
    assert.equal(
      rewriteTablespaceMap('', () => 'x'),
      '',
    );
    assert.throws(() => rewriteTablespaceMap('16385\n', () => 'x'), Unreadable);
    assert.throws(() => rewriteTablespaceMap(' /srv\n', () => 'x'), Unreadable);
  });
});

describe('words of the engine', () => {
  it('picks the worst of the last lines of a log', () => {
    assert.equal(
      lastComplaint(
        'LOG:  starting\n2026-11-21 UTC [3] FATAL:  could not locate required checkpoint record\nLOG:  down\n',
      ),
      'FATAL:  could not locate required checkpoint record',
    );
    assert.equal(lastComplaint('x ERROR:  bad\nLOG:  down\n'), 'ERROR:  bad');
    assert.equal(lastComplaint('postgres: not found\n'), 'postgres: not found');
    assert.equal(lastComplaint(''), '');
  });

  it('cuts session names to what the engine keeps', () => {
    assert.equal(sessionName('stillpoint:é\n1'), 'stillpoint:??1');
    assert.equal(sessionName('s'.repeat(80)).length, 63);
    assert.equal(thawedName('stillpoint:1'), 'thawed:stillpoint:1');
    assert.equal(thawedName('s'.repeat(63)).length, 63);
  });

  it('reads settings of a postgresql.conf, the last one counting', () => {
    const text = `#port = 1\nport = 5433 # old\nPort 5434\ndata_directory = '/var/lib/o''brien'\n`;
    assert.equal(settingOf(text, 'port'), '5434');
    assert.equal(settingOf(text, 'data_directory'), "/var/lib/o'brien");
    assert.equal(settingOf(text, 'hba_file'), undefined);
  });
});

describe('canary', () => {
  it('knows a prefix from a gap', () => {
    assert.equal(prefixLength(0, 0, 0), 0);
    assert.equal(prefixLength(7, 1, 7), 7);
    assert.equal(prefixLength(6, 1, 7), undefined);
    assert.equal(prefixLength(6, 2, 7), undefined);
  });
});

/** A page of WAL around `payload`; `long`: the first of a segment. */
function page(payload: Uint8Array, long = false): Buffer {
  const data = Buffer.alloc(block);
  data.writeUInt16LE(0xd118, 0);
  data.writeUInt16LE(long ? 2 : 0, 2);
  data.set(payload, long ? 40 : 24);
  return data;
}

function createRecord(
  path: string,
  forged: { readonly rmid?: number; readonly info?: number; readonly tag?: number } = {},
): Buffer {
  const body = Buffer.concat([Buffer.from([1, 64, 0, 0]), Buffer.from(`${path}\0`)]);
  const long = body.byteLength > 255;
  const head = Buffer.alloc(24 + (long ? 5 : 2));
  head.writeUInt32LE(head.byteLength + body.byteLength, 0);
  head.writeUInt8(forged.info ?? 0, 16);
  head.writeUInt8(forged.rmid ?? 5, 17);
  head.writeUInt8(forged.tag ?? (long ? 0xfe : 0xff), 24);
  if (long) head.writeUInt32LE(body.byteLength, 25);
  else head.writeUInt8(body.byteLength, 25);
  return Buffer.concat([head, body]);
}

function scanned(...chunks: readonly Uint8Array[]): readonly string[] {
  const scan = tablespaceScan(block, 0n);
  return [...chunks.flatMap((chunk) => scan(chunk)), ...scan()];
}

describe('tablespaces that WAL creates', () => {
  it('finds a short and a long path', () => {
    assert.deepEqual(scanned(page(createRecord('/srv/space'), true)), ['/srv/space']);
    const long = `/srv/${'x'.repeat(400)}`;
    assert.deepEqual(scanned(page(createRecord(long))), [long]);
  });

  it('finds a record that goes over the end of a page and of a chunk', () => {
    const before = Buffer.alloc(block - 24 - 32);
    const record = createRecord('/srv/space');
    const first = page(Buffer.concat([before, record.subarray(0, 32)]));
    assert.deepEqual(scanned(first, page(record.subarray(32), true)), ['/srv/space']);
    assert.deepEqual(scanned(Buffer.concat([first, page(record.subarray(32))])), ['/srv/space']);
  });

  it('passes over what lies before the start of recovery', () => {
    const record = createRecord('/srv/space');
    const wal = page(Buffer.concat([Buffer.alloc(16), record]));
    wal.writeBigUInt64LE(0x2000000n, 8);
    const from = (redo: bigint): readonly string[] => {
      const scan = tablespaceScan(block, redo);
      return [...scan(wal), ...scan()];
    };
    assert.deepEqual(from(0x2000028n), ['/srv/space'], 'it begins with the record');
    assert.deepEqual(from(0x2000030n), []);
    assert.deepEqual(from(0x2002000n), []);
  });

  it('takes nothing else for one', () => {
    assert.deepEqual(scanned(page(createRecord('/srv/space', { rmid: 4 }))), []);
    assert.deepEqual(scanned(page(createRecord('/srv/space', { info: 0x10 }))), [], 'DROP TABLESPACE');
    assert.deepEqual(scanned(page(createRecord('/srv/space', { tag: 0xfd }))), []);
    assert.deepEqual(scanned(page(createRecord(''))), [], 'a tablespace inside the data directory');
    assert.deepEqual(scanned(page(createRecord('/srv\0/space'))), []);
    const torn = createRecord('/srv/space');
    torn.writeUInt32LE(torn.byteLength + 1, 0);
    assert.deepEqual(scanned(page(torn)), []);
    assert.deepEqual(
      scanned(page(Buffer.concat([Buffer.alloc(block - 24 - 40), createRecord('/srv/space').subarray(0, 40)]))),
      [],
    );
    assert.deepEqual(
      scanned(page(Buffer.concat([Buffer.alloc(block - 24 - 24), createRecord('/x').subarray(0, 24)]))),
      [],
    );
    assert.deepEqual(scanned(), []);
  });

  it('reads where recovery begins from a control file', () => {
    const control = Buffer.alloc(8192);
    control.writeBigUInt64LE(0x16_b374_d848n, 40);
    assert.deepEqual(redoOf(control), { position: 0x16_b374_d848n });
    assert.equal(redoOf(Buffer.alloc(20)), undefined);
  });
});

describe('a control file that is read while the server writes it', () => {
  /** CRC-32C bit by bit, as RFC 3720 appendix B.4 has it. */
  function sumOf(bytes: Uint8Array): number {
    let sum = 0xffffffff;
    for (const byte of bytes) {
      sum ^= byte;
      for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0x82f63b78 : sum >>> 1;
    }
    return (sum ^ 0xffffffff) >>> 0;
  }

  it('knows the sum of RFC 3720', () => {
    assert.equal(sumOf(Buffer.from('123456789')), 0xe3069283);
  });

  function controlOf(data: Uint8Array, end: number): Buffer {
    const file = Buffer.alloc(8192);
    file.set(data.subarray(0, end));
    file.writeUInt32LE(sumOf(file.subarray(0, end)), end);
    return file;
  }
  const data = fc.uint8Array({ minLength: 300, maxLength: 300 });
  // Where the sum stands in versions 12 to 18: 288 to 296.
  const end = fc.constantFrom(284, 288, 292, 296);

  it('is whole when the sum behind its data is right', () => {
    fc.assert(fc.property(data, end, (bytes, at) => isWholeControl(controlOf(bytes, at))));
  });

  it('is not when any byte of the data changed', () => {
    fc.assert(
      fc.property(data, end, fc.nat(283), fc.integer({ min: 1, max: 255 }), (bytes, at, where, change) => {
        const file = controlOf(bytes, at);
        file[where] = (file[where] ?? 0) ^ change;
        return !isWholeControl(file);
      }),
    );
  });

  it('is not when it is cut short or empty', () => {
    assert.equal(isWholeControl(controlOf(Buffer.alloc(300, 7), 288).subarray(0, 400)), false);
    assert.equal(isWholeControl(Buffer.alloc(0)), false);
  });
});
