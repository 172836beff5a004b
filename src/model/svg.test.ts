import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { escape, fitted, n, textWidth } from './svg.ts';

describe('the words of a picture', () => {
  it('are escaped, and freed of what XML cannot hold', () => {
    assert.equal(escape('<a & "b">\u0000\ud800'), '&lt;a &amp; &quot;b&quot;&gt;\ufffd\ufffd');
  });

  it('are cut to their room', () => {
    assert.equal(fitted('short', 12, 100), 'short');
    assert.equal(fitted('a & b and more', 10, 40), 'a &amp; b…');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.integer({ min: 20, max: 300 }), (text, room) => {
        const shown = fitted(text, 12, room).replaceAll(/&(?:amp|lt|gt|quot);/g, '&');
        assert.ok(textWidth(shown, 12) <= room);
      }),
    );
  });

  it('stand where tenths of a pixel say', () => {
    assert.equal(n(1 / 3), '0.3');
  });
});
