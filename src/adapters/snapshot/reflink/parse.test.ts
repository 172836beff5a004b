import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseExtents } from './parse.ts';

describe('parseExtents', () => {
  it('reads one and many, and passes over what is no count', () => {
    const text = readFileSync(join(import.meta.dirname, '../../../../test/transcripts/filefrag-1.47.txt'), 'utf8');
    assert.deepEqual(Object.fromEntries(parseExtents(text)), { frag: 129, one: 1 });
    const odd = 'open: No such file or directory\na: b: 3 extents found\nm/d2: FIBMAP/FIEMAP unsupported\n';
    assert.deepEqual(Object.fromEntries(parseExtents(odd)), { 'a: b': 3 });
  });
});
