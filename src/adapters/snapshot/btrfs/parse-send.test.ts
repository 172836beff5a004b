import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { normalize } from '../../../model/ranges.ts';
import { SendStream, type SendChanges } from './parse-send.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const recorded = readFileSync(join(transcripts, 'btrfs-6.2-send-no-data.bin'));
const dumped = readFileSync(join(transcripts, 'btrfs-6.2-receive-dump.txt'), 'utf8');

function read(stream: Buffer, pieceBytes = stream.length): SendChanges {
  const reader = new SendStream();
  for (let at = 0; at < stream.length; at += pieceBytes) reader.push(stream.subarray(at, at + pieceBytes));
  return reader.end();
}

/** The slow way to the same sum, bit by bit. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0x82f63b78 : 0);
  }
  return sum >>> 0;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

type Attributes = readonly (readonly [number, Buffer | string])[];

function command(number: number, attributes: Attributes, cutOff = 0): Buffer {
  const values = attributes.map(([attribute, given]) => {
    const value = Buffer.from(given as Buffer);
    return Buffer.concat([u32(attribute + value.length * 0x1_0000), value]);
  });
  const body = Buffer.concat(values);
  const all = Buffer.concat([
    u32(body.length - cutOff),
    u32(number).subarray(0, 2),
    u32(0),
    body.subarray(0, body.length - cutOff),
  ]);
  all.writeUInt32LE(checksum(all), 6);
  return all;
}

const head = Buffer.concat([Buffer.from('btrfs-stream\0'), u32(1)]);
const begin = command(2, [[15, 's1']]);
const end = command(21, []);
const stream = (...commands: readonly Buffer[]): Buffer => Buffer.concat([head, begin, ...commands, end]);

/** What `btrfs receive --dump` says of the same stream: name in bytes, as latin1, and range. */
function extentsDumped(): Record<string, { offset: number; length: number }[]> {
  const found: Record<string, { offset: number; length: number }[]> = {};
  for (const line of dumped.split('\n')) {
    const match = /^(?:update_extent|clone) +\.\/s1\/((?:\\.|[^ \\])+) +offset=(\d+) len=(\d+)/.exec(line);
    if (match === null) continue;
    const name = String(match[1]).replaceAll(/\\([0-7]{3}|.)/g, (_, escaped: string) =>
      escaped.length === 3 ? String.fromCodePoint(Number.parseInt(escaped, 8)) : escaped,
    );
    (found[name] ??= []).push({ offset: Number(match[2]), length: Number(match[3]) });
  }
  return found;
}

describe('SendStream', () => {
  it('reads what the program itself prints of a recorded stream, in pieces of any size', () => {
    const expected = extentsDumped();
    assert.ok(Object.keys(expected).length >= 6);
    for (const pieceBytes of [1, 7, 1000, recorded.length]) {
      const { ranges, moved } = read(recorded, pieceBytes);
      for (const [name, list] of Object.entries(expected)) {
        // Names that are no UTF-8 cannot be asked for.
        if (!name.includes('\u00ff')) assert.deepEqual(ranges(name), normalize(list), name);
      }
      assert.deepEqual(ranges('two words'), [{ offset: 98304, length: 1699 }]);
      assert.deepEqual(ranges('shrunk'), [{ offset: 5000, length: Number.MAX_SAFE_INTEGER - 5000 }]);
      assert.deepEqual(ranges('attr'), []);
      assert.deepEqual(ranges('nowhere'), []);
      const paths = [
        'gone',
        'moved',
        'there',
        'dir',
        'dir2',
        'dir2/in',
        'linked',
        'third',
        'empty',
        'fifo',
        'sym',
        'dev',
        'sock',
      ];
      for (const path of paths) assert.equal(moved(path), true, path);
      for (const path of ['big', 'two words', 'shrunk', 'attr', 'second', 'dir3/in', 'di', ''])
        assert.equal(moved(path), false, path);
    }
  });

  it('keeps names apart by their bytes', () => {
    const name = 'ü \\ 1';
    const { ranges } = read(
      stream(
        command(22, [
          [15, name],
          [18, u64(8192)],
          [4, u64(4096)],
        ]),
      ),
    );
    assert.deepEqual(ranges(name), [{ offset: 8192, length: 4096 }]);
    assert.deepEqual(ranges('ü'), []);
  });

  it('counts what writes and clones touch, and joins what touches', () => {
    const { ranges, moved } = read(
      stream(
        command(15, [
          [15, 'f'],
          [18, u64(100)],
          [19, Buffer.alloc(50)],
        ]),
        command(16, [
          [15, 'f'],
          [18, u64(150)],
          [24, u64(10)],
          [23, u64(0)],
          [22, 'other'],
        ]),
        command(22, [
          [15, 'f'],
          [18, u64(0)],
          [4, u64(10)],
        ]),
        ...[13, 14, 18, 19, 20].map((number) => command(number, [[15, 'f']])),
      ),
    );
    assert.deepEqual(ranges('f'), [
      { offset: 0, length: 10 },
      { offset: 100, length: 60 },
    ]);
    assert.deepEqual(ranges('other'), []);
    assert.equal(moved('f'), false);
  });

  it('believes only a whole stream of the version that it knows', () => {
    const extent = command(22, [
      [15, 'f'],
      [18, u64(0)],
      [4, u64(10)],
    ]);
    const bad: readonly (readonly [string, Buffer, RegExp])[] = [
      ['nothing', Buffer.alloc(0), /cut off/],
      ['only a head', head, /cut off/],
      ['no end', Buffer.concat([head, begin, extent]), /cut off/],
      ['half a command', stream(extent).subarray(0, -1), /cut off/],
      ['something behind the end', Buffer.concat([stream(extent), Buffer.alloc(3)]), /cut off/],
      ['another magic', Buffer.concat([Buffer.from('btrfs-strEam\0'), u32(1), begin, end]), /does not begin/],
      ['another version', Buffer.concat([Buffer.from('btrfs-stream\0'), u32(2), begin, end]), /version 2/],
      ['a full stream', Buffer.concat([head, command(1, [[15, 's1']]), end]), /command 1 is not known/],
      ['a begin that is missing', Buffer.concat([head, extent, end]), /command 22 is out of place/],
      ['two begins', stream(begin), /command 2 is out of place/],
      ['a command to come', stream(command(99, [])), /command 99 is not known/],
      ['an endless command', Buffer.concat([head, Buffer.alloc(10, 255)]), /a command of/],
      ['no path', stream(command(3, [])), /attribute 15 is missing/],
      ['no second path', stream(command(9, [[15, 'f']])), /attribute 16 is missing/],
      [
        'no length',
        stream(
          command(22, [
            [15, 'f'],
            [18, u64(0)],
          ]),
        ),
        /attribute 4 is missing/,
      ],
      [
        'a short number',
        stream(
          command(17, [
            [15, 'f'],
            [4, u32(5)],
          ]),
        ),
        /attribute 4 is no number/,
      ],
      [
        'a vast number',
        stream(
          command(17, [
            [15, 'f'],
            [4, u64(2n ** 60n)],
          ]),
        ),
        /attribute 4 is too large/,
      ],
      ['half a value', stream(command(3, [[15, 'file']], 1)), /attribute was cut off/],
      [
        'half an attribute',
        stream(
          command(
            3,
            [
              [15, 'file'],
              [1, ''],
            ],
            2,
          ),
        ),
        /attribute was cut off/,
      ],
    ];
    for (const [what, bytes, message] of bad) {
      assert.throws(() => read(bytes), { code: 'command-failed', message }, what);
    }
    const rotten = Buffer.from(stream(extent));
    const at = rotten.length - 20;
    rotten[at] = (rotten[at] ?? 0) ^ 1;
    assert.throws(() => read(rotten), { message: /wrong checksum/ });
  });

  it('gives up before it fills the memory', () => {
    const far = [0, 100, 200].map((offset) =>
      command(22, [
        [15, 'f'],
        [18, u64(offset)],
        [4, u64(10)],
      ]),
    );
    const reader = new SendStream(2);
    assert.throws(() => reader.push(stream(...far)), { message: /more than 2 changes/ });
  });
});
