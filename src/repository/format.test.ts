import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { chunkSizeFor } from './chunk.ts';
import { decompress } from './compress.ts';
import { sha256, unseal, type MasterKey } from './crypto.ts';
import { BlobIndex, BlobTable, decodeIndex, encodeIndex, packBytes, type PackedBlob } from './index.ts';
import { decodeHeader, encodeHeader, PackBuilder, readHeader } from './pack.ts';
import { isIrreducible, randomPolynomial } from './polynomial.ts';
import { formatNs, parseNs } from './timestamp.ts';
import { encodeNode, goMode, posixMode, TreeEncoder, TreeParser, type EncodedTree, type TreeNode } from './tree.ts';

const key: MasterKey = { encrypt: randomBytes(32), macK: randomBytes(16), macR: randomBytes(16) };

describe('timestamps', () => {
  it('keep nanoseconds and drop trailing zeros', () => {
    assert.equal(formatNs(1_700_000_000_123_456_789n), '2023-11-14T22:13:20.123456789Z');
    assert.equal(formatNs(1_700_000_000_100_000_000n), '2023-11-14T22:13:20.1Z');
    assert.equal(formatNs(0n), '1970-01-01T00:00:00Z');
    assert.equal(formatNs(-1n), '1969-12-31T23:59:59.999999999Z');
  });

  it('are read in any zone, and come back', () => {
    assert.equal(parseNs('2023-11-15T07:13:20.123456789+09:00'), 1_700_000_000_123_456_789n);
    assert.equal(parseNs('yesterday'), undefined);
    assert.equal(parseNs('2023-99-15T07:13:20Z'), undefined);
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 19n), max: 10n ** 20n }), (ns) => assert.equal(parseNs(formatNs(ns)), ns)),
    );
  });
});

describe('chunk size', () => {
  it('grows with the file and keeps what the parent had', () => {
    const GiB = 1024 ** 3;
    assert.deepEqual(
      [1, 32 * GiB, 32 * GiB + 1, 128 * GiB + 1, 1024 * GiB, 1024 * GiB + 1].map(
        (size) => chunkSizeFor(size, undefined) / 1024,
      ),
      [128, 128, 256, 512, 512, 1024],
    );
    assert.equal(chunkSizeFor(500 * GiB, 128 * 1024), 128 * 1024);
    assert.equal(chunkSizeFor(GiB, 1024 * 1024), 1024 * 1024);
  });

  it('does not follow a parent that was cut by content', () => {
    assert.equal(chunkSizeFor(1e9, 713_532), 128 * 1024);
  });
});

describe('polynomial', () => {
  it('knows irreducible ones from others', () => {
    // The example of restic's design document, x^2+x+1, x^4+x+1; and products: (x+1)^2, (x^2+x+1)^2.
    for (const yes of [0x25b468838dcb75n, 0b111n, 0b10011n]) assert.equal(isIrreducible(yes), true, yes.toString(16));
    for (const no of [0b101n, 0b10101n, 0x25b468838dcb77n]) assert.equal(isIrreducible(no), false, no.toString(16));
  });

  it('is random, irreducible and of degree 53', () => {
    const made = [randomPolynomial(randomBytes), randomPolynomial(randomBytes)];
    assert.notEqual(made[0], made[1]);
    for (const hex of made) {
      const value = BigInt(`0x${hex}`);
      assert.equal(value >> 53n, 1n);
      assert.equal(isIrreducible(value), true);
    }
  });
});

function blob(type: 'data' | 'tree', offset: number, length: number, plainLength?: number): PackedBlob {
  return { id: randomBytes(32), type, offset, length, plainLength };
}

function whyNot(pack: Buffer): string {
  const read = readHeader(key, pack);
  return typeof read === 'string' ? read : assert.fail('the header was read');
}

describe('pack', () => {
  it('headers come back', () => {
    const blobs = [blob('data', 0, 100), blob('data', 100, 60, 4000), blob('tree', 160, 33), blob('tree', 193, 90, 91)];
    assert.deepEqual(decodeHeader(encodeHeader(blobs)), blobs);
  });

  it('refuses header entries that are cut short or unknown', () => {
    const header = encodeHeader([blob('data', 0, 100)]);
    assert.equal(decodeHeader(header.subarray(0, 36)), undefined);
    header[0] = 9;
    assert.equal(decodeHeader(header), undefined);
  });

  it('is named by its hash, measures what the index expects, and holds its blobs', async () => {
    const pack = new PackBuilder(key, 'data');
    const plain = [randomBytes(1000), Buffer.from('short')];
    for (const bytes of plain) pack.add(sha256(bytes), bytes, undefined);
    const { record, content } = pack.finish();
    assert.equal(record.id, sha256(content).toString('hex'));
    assert.equal(content.length, packBytes(record.blobs));
    assert.deepEqual(readHeader(key, content), record.blobs);
    for (const [at, { offset, length }] of record.blobs.entries()) {
      assert.deepEqual(unseal(key, content.subarray(offset, offset + length)), plain[at]);
    }
  });

  it('says why a header cannot be read', () => {
    assert.match(whyNot(Buffer.alloc(2)), /no header/);
    assert.match(whyNot(Buffer.from('ffffffff', 'hex')), /longer than the file/);
    const pack = new PackBuilder(key, 'tree');
    pack.add(randomBytes(32), randomBytes(10), undefined);
    const { content } = pack.finish();
    content[content.length - 10] = (content[content.length - 10] ?? 0) ^ 1;
    assert.match(whyNot(content), /does not open/);
  });
});

describe('index', () => {
  it('files come back', () => {
    const records = [
      { id: randomBytes(32).toString('hex'), blobs: [blob('data', 0, 100), blob('data', 100, 60, 4000)] },
      { id: randomBytes(32).toString('hex'), blobs: [blob('tree', 0, 60, 4000)] },
    ];
    assert.deepEqual(decodeIndex(encodeIndex(records)), records);
    assert.deepEqual(decodeIndex('{"packs":null}'), []);
    assert.throws(() => decodeIndex('{"packs":[{"id":"x","blobs":[]}]}'));
  });

  it('finds every blob of many, compares whole ids, and knows no other', () => {
    const table = new BlobTable();
    const ids = Array.from({ length: 100_000 }, (_, at) => sha256(Buffer.from(String(at))));
    for (const [at, id] of ids.entries()) assert.equal(table.reserve(id), at);
    for (const [at, id] of ids.entries())
      table.settle(at, at % 7, { offset: at, length: id.length, plainLength: undefined });
    for (const [at, id] of ids.entries()) {
      assert.equal(table.find(id), at);
      assert.equal(table.at(at)?.offset, at);
      assert.deepEqual(table.idOf(at), id);
      const near = Buffer.from(id);
      near[31] = (near[31] ?? 0) ^ 1;
      assert.equal(table.find(near), -1);
    }
    assert.equal(table.reserve(ids[5] ?? Buffer.alloc(32)), -1);
    assert.equal(table.size, 100_000);
  });

  it('has no place for a blob that is only reserved', () => {
    const table = new BlobTable();
    const entry = table.reserve(randomBytes(32));
    assert.equal(table.at(entry), undefined);
  });

  it('keeps data and tree blobs of one id apart, and the first of two places', () => {
    const index = new BlobIndex();
    const id = randomBytes(32);
    const packs = [1, 2, 3].map((digit) => String(digit).repeat(64));
    index.add({ id: packs[0] ?? '', blobs: [{ id, type: 'data', offset: 0, length: 40, plainLength: undefined }] });
    index.add({ id: packs[1] ?? '', blobs: [{ id, type: 'tree', offset: 0, length: 50, plainLength: 90 }] });
    index.add({ id: packs[2] ?? '', blobs: [{ id, type: 'data', offset: 0, length: 40, plainLength: undefined }] });
    assert.deepEqual(index.find('data', id), { pack: packs[0], offset: 0, length: 40, plainLength: undefined });
    assert.deepEqual(index.find('tree', id), { pack: packs[1], offset: 0, length: 50, plainLength: 90 });
    assert.equal(index.packs.length, 3);
  });
});

function node(name: string, more: Partial<TreeNode> = {}): TreeNode {
  return {
    name,
    type: 'file',
    mode: 0o644,
    mtimeNs: 1_700_000_000_123_456_789n,
    atimeNs: 1n,
    ctimeNs: 2n,
    uid: 1,
    gid: 2,
    inode: 2n ** 63n + 1n,
    deviceId: 2n ** 60n + 1n,
    size: 5,
    links: 1,
    content: Buffer.alloc(0),
    ...more,
  };
}

async function plainOf(tree: EncodedTree): Promise<Buffer> {
  return tree.plainLength === undefined ? tree.body : await decompress(tree.body, tree.plainLength);
}

function parse(plain: Buffer, pieceBytes: number): TreeNode[] {
  const parser = new TreeParser();
  const nodes: TreeNode[] = [];
  for (let at = 0; at < plain.length; at += pieceBytes) nodes.push(...parser.push(plain.subarray(at, at + pieceBytes)));
  parser.end();
  return nodes;
}

const { content: _, ...noContent } = node('x');
const samples: readonly TreeNode[] = [
  node('content', { content: randomBytes(32 * 40) }),
  node('"content":[ {"nodes":[', { content: randomBytes(32) }),
  node('\udcff]}\\'),
  { ...noContent, name: 'dir', type: 'dir', mode: goMode('directory', 0o1755), subtree: 'ab'.repeat(32) },
  { ...noContent, name: 'link', type: 'symlink', mode: goMode('symlink', 0o777), linkTarget: '../<日本>\udcfe' },
];

describe('tree', () => {
  it('has modes as Go writes them, and back', () => {
    assert.equal(goMode('file', 0o644), 420);
    assert.equal(goMode('directory', 0o755), 2_147_484_141);
    for (const posix of [0, 0o644, 0o4755, 0o2770, 0o1777, 0o7777])
      assert.equal(posixMode(goMode('directory', posix)), posix);
  });

  it('has the fields and their order of restic, with the escapes of Go', () => {
    const text = [...encodeNode(node('a<b', { inode: 7n, deviceId: 8n, content: Buffer.alloc(32, 0xab) }))].join('');
    assert.equal(
      text,
      '{"name":"a\\u003cb","type":"file","mode":420,"mtime":"2023-11-14T22:13:20.123456789Z",' +
        '"atime":"1970-01-01T00:00:00.000000001Z","ctime":"1970-01-01T00:00:00.000000002Z","uid":1,"gid":2,"inode":7,' +
        `"device_id":8,"size":5,"links":1,"content":["${'ab'.repeat(32)}"]}`,
    );
  });

  it('comes back from pieces of any size', async () => {
    const encoder = new TreeEncoder(1);
    for (const sample of samples) await encoder.add(sample);
    const tree = await encoder.finish();
    const plain = await plainOf(tree);
    assert.deepEqual(sha256(plain), tree.id);
    for (const pieceBytes of [1, 2, 3, 7, 65, 66, 67, 1000, plain.length])
      assert.deepEqual(parse(plain, pieceBytes), samples);
  });

  it('is valid JSON for any names', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), (bytes) => {
        const text = [...encodeNode(node(Buffer.from(bytes).toString('latin1')))].join('');
        assert.equal((JSON.parse(text) as { type: string }).type, 'file');
      }),
    );
  });

  it('of no nodes is as restic writes it', async () => {
    const plain = await plainOf(await new TreeEncoder(1).finish());
    assert.equal(plain.toString(), '{"nodes":[]}\n');
    assert.deepEqual(parse(plain, 5), []);
  });

  it('is compressed while it grows when it is large, and comes back', async () => {
    const content = randomBytes(32 * 100_000);
    const encoder = new TreeEncoder(1);
    await encoder.add(node('a', { content }));
    await encoder.add(node('b'));
    const tree = await encoder.finish();
    const plain = await plainOf(tree);
    assert.equal(plain.length, tree.plainLength);
    assert.deepEqual(sha256(plain), tree.id);
    const [first, second] = parse(plain, 65_536);
    assert.equal(first?.content?.equals(content), true);
    assert.equal(second?.name, 'b');
  });

  it('that ends in the middle or has a broken id is refused', () => {
    assert.throws(() => parse(Buffer.from('{"nodes":[{"name":"a"'), 100));
    assert.throws(() =>
      parse(Buffer.from(`{"nodes":[{"name":"a","type":"file","content":["${'zz'.repeat(32)}"]}]}`), 200),
    );
    assert.throws(() => parse(Buffer.from('{"nodes":[{"type":"file"}]}'), 200));
  });
});
