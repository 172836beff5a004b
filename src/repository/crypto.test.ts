import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { mac, seal, sealOverhead, signWith, unseal, type MasterKey } from './crypto.ts';

const key: MasterKey = {
  encrypt: Buffer.from('303e8687b1d7db18421bdc6bb8588ccadac4d59ee87b8ff70c44e635790cafef', 'hex'),
  macK: Buffer.from('ef4d8824cb80b2bcc5fbff8a9b12a42c', 'hex'),
  macR: Buffer.from('cc8d4b948ee0ebfe1d415de921d10353', 'hex'),
};

describe('mac', () => {
  it('gives the tag of RFC 8439 section 2.5.2', () => {
    const oneTime = Buffer.from('85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b', 'hex');
    const tag = mac(oneTime, Buffer.from('Cryptographic Forum Research Group'));
    assert.equal(tag.toString('hex'), 'a8061dc1305136c6c22b8baf0c0127a9');
  });

  it('clamps the first half of the key, so its high bits do not matter', () => {
    const low = Buffer.alloc(32, 0x0c);
    const high = Buffer.from(low);
    for (const at of [3, 7, 11, 15]) high[at] = (high[at] ?? 0) | 0xf0;
    assert.deepEqual(mac(high, Buffer.from('message')), mac(low, Buffer.from('message')));
  });
});

describe('seal', () => {
  it('opens again to the same bytes, 32 bytes longer in between', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), (plain) => {
        const sealed = seal(key, plain);
        assert.equal(sealed.length, plain.length + sealOverhead);
        assert.deepEqual(unseal(key, sealed), Buffer.from(plain));
      }),
    );
  });

  it('never seals twice alike', () => {
    assert.notDeepEqual(seal(key, Buffer.from('same')), seal(key, Buffer.from('same')));
  });

  it('does not open after any flipped bit, nor when cut short', () => {
    const sealed = seal(key, Buffer.from('a plaintext'));
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const damaged = Buffer.from(sealed);
      const byte = bit >>> 3;
      damaged[byte] = (damaged[byte] ?? 0) ^ (1 << (bit & 7));
      assert.equal(unseal(key, damaged), undefined, `bit ${bit}`);
    }
    for (let length = 0; length < sealed.length; length++) {
      assert.equal(unseal(key, sealed.subarray(0, length)), undefined);
    }
  });

  it('does not open with another key', () => {
    const sealed = seal(key, Buffer.from('a plaintext'));
    assert.equal(unseal({ ...key, macR: Buffer.alloc(16, 1) }, sealed), undefined);
    assert.equal(unseal({ ...key, macK: Buffer.alloc(16, 1) }, sealed), undefined);
  });
});

describe('signWith', () => {
  it('depends on the message and on every part of the key', () => {
    const signature = signWith(key, Buffer.from('evidence'));
    assert.match(signature, /^[0-9a-f]{64}$/);
    assert.equal(signWith(key, Buffer.from('evidence')), signature);
    assert.notEqual(signWith(key, Buffer.from('evidencf')), signature);
    for (const part of ['encrypt', 'macK', 'macR'] as const) {
      const other = { ...key, [part]: Buffer.alloc(key[part].length, 1) };
      assert.notEqual(signWith(other, Buffer.from('evidence')), signature, part);
    }
  });
});
