import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { pathBytes, pathText, quoteName, unquoteName } from './names.ts';

const anyBytes = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));

describe('path text', () => {
  it('brings any bytes back', () => {
    fc.assert(fc.property(anyBytes, (bytes) => assert.deepEqual(pathBytes(pathText(bytes)), bytes)));
  });

  it('is plain UTF-8 where the bytes are', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => assert.equal(pathText(Buffer.from(text, 'utf8')), text)),
    );
  });

  it('escapes byte by byte what is no UTF-8', () => {
    assert.equal(pathText(Buffer.from('61ff62', 'hex')), 'a\udcffb');
    assert.equal(pathText(Buffer.from('e697', 'hex')), '\udce6\udc97');
    // A surrogate written in three bytes is no UTF-8, though it looks like it.
    assert.equal(pathText(Buffer.from('eda080', 'hex')), '\udced\udca0\udc80');
  });
});

describe('quoted names', () => {
  it('come back whole, whatever the bytes', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const name = pathText(bytes);
        assert.equal(unquoteName(quoteName(name)), name);
        assert.equal(quoteName(name).isWellFormed(), true);
      }),
    );
  });

  // Right sides: fmt.Printf("%q") of Go 1.19.
  const cases = [
    ['plain.txt', 'plain.txt'],
    ['a"b\\c', 'a\\"b\\\\c'],
    ['tab\tnl\nbell\u0007del\u007f', 'tab\\tnl\\nbell\\adel\\x7f'],
    ['nul\u0001', 'nul\\x01'],
    ['日本 é', '日本 é'],
    ['\u00a0\u200b\ufeff', '\\u00a0\\u200b\\ufeff'],
    ['\u{e0001}', '\\U000e0001'],
    ['😀', '😀'],
    ['\udcff\udcfe', '\\xff\\xfe'],
  ] as const;
  for (const [name, quoted] of cases) {
    it(`are as Go's: ${quoted}`, () => assert.equal(quoteName(name), quoted));
  }

  it('are read in every form that Go can write', () => {
    assert.equal(unquoteName("\\101\\u65e5\\U0001f600\\'\\v\\xe6\\x97\\xa5"), "A日😀'\v日");
  });
});
