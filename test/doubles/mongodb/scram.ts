import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';
import { BSON } from 'mongodb';
import type { Document } from './wire.ts';

const iterations = 4096;

/** What a server keeps of a password: RFC 7677. */
export class ScramAccount {
  readonly user: string;
  /** It may log in, and nothing else. */
  readonly powerless: boolean;
  readonly salt = randomBytes(28);
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;

  constructor(user: string, password: string, powerless = false) {
    this.user = user;
    this.powerless = powerless;
    const salted = pbkdf2Sync(password, this.salt, iterations, 32, 'sha256');
    this.storedKey = createHash('sha256').update(hmac(salted, 'Client Key')).digest();
    this.serverKey = hmac(salted, 'Server Key');
  }
}

/** The server's side of a login by SCRAM-SHA-256 on one connection. */
export class ScramLogin {
  readonly #accounts: readonly ScramAccount[];
  #open: { readonly account: ScramAccount | undefined; readonly nonce: string; readonly said: string } | undefined;
  account: ScramAccount | undefined;

  constructor(accounts: readonly ScramAccount[]) {
    this.#accounts = accounts;
  }

  start(command: Document): Document {
    const [, bare = ''] = /^n,,(.*)$/.exec(payloadOf(command)) ?? [];
    const fields = fieldsOf(bare);
    const account = this.#accounts.find(({ user }) => user === fields.get('n'));
    const nonce = `${fields.get('r') ?? ''}${randomBytes(18).toString('base64')}`;
    const salt = (account?.salt ?? randomBytes(28)).toString('base64');
    const first = `r=${nonce},s=${salt},i=${iterations}`;
    this.#open = { account, nonce, said: `${bare},${first}` };
    return { ok: 1, conversationId: 1, done: false, payload: binary(first) };
  }

  continue(command: Document): Document {
    const final = payloadOf(command);
    const fields = fieldsOf(final);
    const open = this.#open;
    if (open?.account === undefined || fields.get('r') !== open.nonce) return failed;
    const message = `${open.said},${final.slice(0, final.lastIndexOf(',p='))}`;
    const signature = hmac(open.account.storedKey, message);
    const proof = Buffer.from(fields.get('p') ?? '', 'base64');
    if (proof.length !== signature.length) return failed;
    const key = Buffer.from(proof.map((byte, index) => byte ^ (signature[index] ?? 0)));
    if (!timingSafeEqual(createHash('sha256').update(key).digest(), open.account.storedKey)) return failed;
    this.account = open.account;
    const said = `v=${hmac(open.account.serverKey, message).toString('base64')}`;
    return { ok: 1, conversationId: 1, done: true, payload: binary(said) };
  }
}

const failed: Document = { ok: 0, errmsg: 'Authentication failed.', code: 18, codeName: 'AuthenticationFailed' };

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function payloadOf(command: Document): string {
  const { payload } = command;
  return payload instanceof BSON.Binary ? Buffer.from(payload.buffer).toString() : '';
}

function binary(text: string): BSON.Binary {
  return new BSON.Binary(Buffer.from(text));
}

function fieldsOf(text: string): ReadonlyMap<string, string> {
  return new Map(text.split(',').map((each) => [each.slice(0, 1), each.slice(2)]));
}
