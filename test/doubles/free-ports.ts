import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf } from '../../src/model/errors.ts';
import { identify } from '../../src/platform/process.ts';

/** Below what Linux gives to outgoing connections: one of those could take a port between the look and the server that it is for. */
const lowest = 12_000;
const highest = 31_999;
const mostTries = 1000;
const claims = join(tmpdir(), 'stillpoint-test-ports');
const ours = new Set<string>();

/** Ports of the loopback interface on which nobody listens, and which no other test takes as long as this process lives. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count; tries += 1) {
    if (tries > mostTries) throw new Error(`no ${count} free ports between ${lowest} and ${highest}`);
    const port = lowest + Math.floor(Math.random() * (highest - lowest + 1));
    if (claim(port) && (await isFree(port))) ports.push(port);
  }
  return ports;
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  if (port === undefined) throw new Error('no port');
  return port;
}

/** The file holds the pid of its owner; that of a dead one is taken over. */
function claim(port: number): boolean {
  mkdirSync(claims, { recursive: true, mode: 0o1777 });
  const file = join(claims, String(port));
  if (ours.size === 0) {
    process.once('exit', () => {
      for (const each of ours) rmSync(each, { force: true });
    });
  }
  for (const again of [true, false]) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      ours.add(file);
      return true;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST' || !again || identify(ownerOf(file)) !== undefined) return false;
      rmSync(file, { force: true });
    }
  }
  return false;
}

function ownerOf(file: string): number {
  try {
    const text = readFileSync(file, 'utf8');
    // Still being written.
    return text === '' ? process.pid : Number(text);
  } catch {
    // Its owner has just ended.
    return 0;
  }
}

async function isFree(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
