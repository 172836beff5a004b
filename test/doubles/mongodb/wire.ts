import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { BSON } from 'mongodb';

export type Document = Readonly<Record<string, unknown>>;

/** What a server answers on one connection. Undefined: nothing, as a server that hangs. */
export type Answering = (command: Document) => Document | undefined;

const opReply = 1;
const opQuery = 2004;
const opMsg = 2013;

/** A server of MongoDB's wire protocol on the loopback interface: OP_MSG, and OP_QUERY for the first hello of a client. */
export class WireServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  /** `connected` is called for each connection, so that a login belongs to one. */
  constructor(connected: () => Answering, tls?: TlsOptions) {
    const accept = (socket: Socket): void => {
      this.#sockets.add(socket);
      const answer = connected();
      let pending = Buffer.alloc(0);
      socket.on('error', () => undefined);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('data', (chunk: Buffer) => {
        pending = Buffer.concat([pending, chunk]);
        while (pending.length >= 16 && pending.length >= pending.readInt32LE(0)) {
          const message = pending.subarray(0, pending.readInt32LE(0));
          pending = pending.subarray(message.length);
          const reply = replyTo(message, answer);
          if (reply !== undefined) socket.write(reply);
        }
      });
    };
    this.#server = tls === undefined ? createServer(accept) : createTlsServer(tls, accept);
    this.#server.on('tlsClientError', () => undefined);
  }

  /** Port 0: a free one. Returns the port. */
  async listen(port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, '127.0.0.1', resolve);
    });
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the server has no port');
    return address.port;
  }

  /** As a process that is killed: connections break, and new ones are refused. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

function replyTo(message: Buffer, answer: Answering): Buffer | undefined {
  const id = message.readInt32LE(4);
  const code = message.readInt32LE(12);
  if (code === opMsg) {
    const reply = answer(readSections(message));
    if (reply === undefined) return undefined;
    return framed(id, opMsg, Buffer.concat([Buffer.alloc(5), BSON.serialize(reply)]));
  }
  if (code !== opQuery) throw new Error(`operation ${code} is not spoken here`);
  const nameEnd = message.indexOf(0, 20);
  const reply = answer(BSON.deserialize(message.subarray(nameEnd + 9)));
  if (reply === undefined) return undefined;
  const head = Buffer.alloc(20);
  head.writeInt32LE(8, 0);
  head.writeInt32LE(1, 16);
  return framed(id, opReply, Buffer.concat([head, BSON.serialize(reply)]));
}

/** The body, and what the client sent beside it as sequences of documents. */
function readSections(message: Buffer): Document {
  const command: Record<string, unknown> = {};
  let at = 20;
  while (at < message.length) {
    const kind = message.readUInt8(at);
    const length = message.readInt32LE(at + 1);
    if (kind === 0) Object.assign(command, BSON.deserialize(message.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return command;
}

let replies = 0;

function framed(to: number, code: number, body: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.writeInt32LE(16 + body.length, 0);
  head.writeInt32LE((replies += 1), 4);
  head.writeInt32LE(to, 8);
  head.writeInt32LE(code, 12);
  return Buffer.concat([head, body]);
}
