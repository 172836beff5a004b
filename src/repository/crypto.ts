import * as crypto from 'node:crypto';

/** The repository's master key, as restic lays it out: AES-256 key, and the two halves from which Poly1305 keys are made. */
export interface MasterKey {
  readonly encrypt: Buffer;
  readonly macK: Buffer;
  readonly macR: Buffer;
}

/** IV and tag: what sealing adds to a plaintext. */
export const sealOverhead = 32;
const ivBytes = 16;
const tagBytes = 16;

type Mac = (key: Buffer, message: Buffer) => Buffer;
type CreateMac = (algorithm: 'poly1305', key: Buffer) => { update(data: Buffer): void; final(): Buffer };

/** Poly1305 of `message` under a 32-byte one-time key. Node has it from 26.9 on; before that libsodium does it. */
export const mac: Mac = await chooseMac();

async function chooseMac(): Promise<Mac> {
  const createMac: unknown = Reflect.get(crypto, 'createMac');
  if (typeof createMac === 'function') {
    return (key, message) => {
      const state = (createMac as CreateMac)('poly1305', key);
      state.update(message);
      return state.final();
    };
  }
  const { default: sodium } = await import('sodium-native');
  return (key, message) => {
    const tag = Buffer.allocUnsafe(tagBytes);
    sodium.crypto_onetimeauth(tag, message, key);
    return tag;
  };
}

function tagOf(key: MasterKey, iv: Buffer, ciphertext: Buffer): Buffer {
  const block = crypto.createCipheriv('aes-128-ecb', key.macK, null).setAutoPadding(false);
  return mac(Buffer.concat([key.macR, block.update(iv)]), ciphertext);
}

/** The sealed form of `plain` in three pieces (IV, ciphertext, tag), so that a pack can be put together with one copy. */
export function sealParts(key: MasterKey, plain: Uint8Array): readonly [Buffer, Buffer, Buffer] {
  const iv = crypto.randomBytes(ivBytes);
  const ciphertext = crypto.createCipheriv('aes-256-ctr', key.encrypt, iv).update(plain);
  return [iv, ciphertext, tagOf(key, iv, ciphertext)];
}

export function seal(key: MasterKey, plain: Uint8Array): Buffer {
  return Buffer.concat(sealParts(key, plain));
}

/** The plaintext, or undefined if the tag does not fit: damaged, or sealed with another key. */
export function unseal(key: MasterKey, sealed: Uint8Array): Buffer | undefined {
  if (sealed.length < sealOverhead) return undefined;
  const bytes = asBuffer(sealed);
  const iv = bytes.subarray(0, ivBytes);
  const ciphertext = bytes.subarray(ivBytes, bytes.length - tagBytes);
  const tag = bytes.subarray(bytes.length - tagBytes);
  if (!crypto.timingSafeEqual(tag, tagOf(key, iv, ciphertext))) return undefined;
  return crypto.createDecipheriv('aes-256-ctr', key.encrypt, iv).update(ciphertext);
}

/** The same memory as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function sha256(bytes: Uint8Array): Buffer {
  return crypto.hash('sha256', bytes, 'buffer');
}

export function sha256Hex(bytes: Uint8Array): string {
  return crypto.hash('sha256', bytes, 'hex');
}

/** HMAC-SHA-256 in hex by a key derived for this one purpose, so that a signature never reveals anything about the sealing keys. */
export function signWith(key: MasterKey, message: Uint8Array): string {
  const secret = Buffer.concat([key.encrypt, key.macK, key.macR]);
  const derived = crypto.hkdfSync('sha256', secret, Buffer.alloc(0), 'stillpoint evidence 1', 32);
  return crypto.createHmac('sha256', Buffer.from(derived)).update(message).digest('hex');
}
