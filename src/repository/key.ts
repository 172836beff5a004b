import { scrypt } from 'node:crypto';
import { z } from 'zod';
import { StillpointError } from '../model/errors.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import { seal, sha256Hex, unseal, type MasterKey } from './crypto.ts';

/** What scrypt costs. restic measures its machine; the default here is its lower bound (32 MiB, about 0.1 s). */
export interface KeyCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}
export const defaultCost: KeyCost = { N: 32768, r: 8, p: 1 };
/** A key file is readable before any password is proved, so a forged one must not be able to ask for all memory. */
const scryptMemoryLimit = 1024 * 1024 * 1024;

const base64 = z.string().transform((text) => Buffer.from(text, 'base64'));
const keyFile = z.object({
  kdf: z.literal('scrypt'),
  N: z.int().min(2),
  r: z.int().min(1),
  p: z.int().min(1),
  salt: base64,
  data: base64,
});
const masterKey = z.object({ mac: z.object({ k: base64, r: base64 }), encrypt: base64 });

async function stretch(password: string, salt: Buffer, cost: KeyCost): Promise<MasterKey> {
  const bytes = await new Promise<Buffer>((resolve, reject) => {
    scrypt(password, salt, 64, { ...cost, maxmem: scryptMemoryLimit }, (error, derived) => {
      if (error === null) resolve(derived);
      else reject(error);
    });
  });
  return { encrypt: bytes.subarray(0, 32), macK: bytes.subarray(32, 48), macR: bytes.subarray(48, 64) };
}

export interface NewKey {
  readonly password: string;
  readonly cost: KeyCost;
  readonly created: string;
  readonly hostname: string;
  readonly username: string;
  readonly randomness: (bytes: number) => Buffer;
}

/** A new master key and the content of its key file. */
export async function createKey(wanted: NewKey): Promise<{ readonly master: MasterKey; readonly file: Buffer }> {
  const random = wanted.randomness(64);
  const master = { encrypt: random.subarray(0, 32), macK: random.subarray(32, 48), macR: random.subarray(48, 64) };
  const salt = wanted.randomness(64);
  const user = await stretch(wanted.password, salt, wanted.cost);
  const plain = JSON.stringify({
    mac: { k: master.macK.toString('base64'), r: master.macR.toString('base64') },
    encrypt: master.encrypt.toString('base64'),
  });
  const file = JSON.stringify({
    created: wanted.created,
    username: wanted.username,
    hostname: wanted.hostname,
    kdf: 'scrypt',
    ...wanted.cost,
    salt: salt.toString('base64'),
    data: seal(user, Buffer.from(plain)).toString('base64'),
  });
  return { master, file: Buffer.from(file) };
}

/** Undefined: the file is whole, but the password is another one. Throws `repository-damaged` for a file that is no key. */
export async function openKey(name: string, content: Uint8Array, password: string): Promise<MasterKey | undefined> {
  const damaged = (why: string, cause?: unknown): StillpointError =>
    new StillpointError('repository-damaged', `${name} is damaged: ${why}`, {
      hint: 'bring the file back from another copy of the repository, or use another key; run `stillpoint repo check`',
      details: { file: name },
      cause,
    });
  if (!name.endsWith(sha256Hex(content))) throw damaged('its content does not fit its name');
  const user = await parsedKey(content, damaged);
  const derived = await stretch(password, user.salt, { N: user.N, r: user.r, p: user.p }).catch((error: unknown) => {
    throw damaged('its scrypt parameters are impossible', error);
  });
  const plain = unseal(derived, user.data);
  if (plain === undefined) return undefined;
  const parsed = masterKey.safeParse(JSON.parse(plain.toString('utf8')));
  if (!parsed.success) throw damaged('it holds no master key');
  return { encrypt: parsed.data.encrypt, macK: parsed.data.mac.k, macR: parsed.data.mac.r };
}

async function parsedKey(
  content: Uint8Array,
  damaged: (why: string, cause?: unknown) => StillpointError,
): Promise<z.infer<typeof keyFile>> {
  try {
    return await keyFile.parseAsync(JSON.parse(Buffer.from(content).toString('utf8')));
  } catch (error) {
    throw damaged('it is no key file', error);
  }
}

/**
 * The master key, by the first key file that opens. Throws `repository-password` if all are whole and none opens, and
 * `repository-damaged` if none opens and one cannot be read: that one may be the password's own.
 */
export async function findKey(store: BlobStore, password: string): Promise<MasterKey> {
  let damage: unknown;
  let seen = 0;
  for await (const { name } of store.list('keys/')) {
    seen += 1;
    try {
      const key = await openKey(name, await store.get(name), password);
      if (key !== undefined) return key;
    } catch (error) {
      if (!(error instanceof StillpointError)) throw error;
      damage = error;
    }
  }
  if (damage instanceof StillpointError) throw damage;
  if (seen === 0) {
    throw new StillpointError('repository-damaged', `the repository ${store.location} has no key file`, {
      hint: 'bring the files under keys/ back from another copy of the repository',
      details: { file: 'keys/' },
    });
  }
  throw new StillpointError(
    'repository-password',
    `no key of the repository ${store.location} opens with this password`,
    {
      hint: 'check the setting `repository.passwordFile` and that the file ends where the password ends',
    },
  );
}
