import { closeSync, constants, openSync, statSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Platform } from '../../../ports/module.ts';
import type { Gtm } from './engine.ts';
import type { Region } from './parse.ts';

export interface PipePlan {
  readonly gtm: Gtm;
  readonly regions: readonly Region[];
  readonly scratch: string;
}

/** The FIFO of one region. */
export interface Channel {
  readonly region: Region;
  readonly name: string;
  readFd: number | undefined;
  /** Keeps the pipe from ending before mupip has come to this region. */
  keepFd: number | undefined;
}

export async function openChannels(plan: PipePlan, platform: Platform): Promise<readonly Channel[]> {
  const { owner } = plan.gtm;
  if (owner !== undefined) await chown(plan.scratch, owner.uid, owner.gid);
  const names = plan.regions.map((_, index) => `r${index}`);
  await platform.exec.check({
    argv: ['mkfifo', '-m', '0600', ...names],
    cwd: plan.scratch,
    timeoutMs: 10_000,
    ...owner,
  });
  const channels: Channel[] = [];
  try {
    for (const [index, region] of plan.regions.entries()) {
      const channel: Channel = { region, name: `r${index}`, readFd: undefined, keepFd: undefined };
      channels.push(channel);
      const at = join(plan.scratch, channel.name);
      // With both ends open neither `cat` nor we wait for the other in open(2).
      channel.readFd = openSync(at, constants.O_RDONLY | constants.O_NONBLOCK);
      channel.keepFd = openSync(at, constants.O_WRONLY | constants.O_NONBLOCK);
    }
    return channels;
  } catch (cause) {
    closeChannels(channels);
    throw cause;
  }
}

export function letEnd(channel: Channel): void {
  if (channel.keepFd !== undefined) closeSync(channel.keepFd);
  channel.keepFd = undefined;
}

export function closeChannels(channels: readonly Channel[]): void {
  for (const channel of channels) {
    letEnd(channel);
    if (channel.readFd !== undefined) closeSync(channel.readFd);
    channel.readFd = undefined;
  }
}

/**
 * Where before-images of blocks go that change while the backup runs. Every process of the database opens that file, whoever it runs as:
 * in a directory that one of them cannot reach, the backup fails. What the configuration says goes first, then scratch, then the system's
 * own temporary directory.
 */
export async function temporaryFor(plan: PipePlan): Promise<{ readonly temporary: string; readonly own: boolean }> {
  const { variables } = plan.gtm.place;
  const given = variables['gtm_baktmpdir'] ?? variables['GTM_BAKTMPDIR'];
  if (given !== undefined) return { temporary: given, own: false };
  const inScratch = join(plan.scratch, 'tmp');
  const temporary = everybodyReaches(plan.scratch) ? inScratch : await mkdtemp(join(tmpdir(), 'stillpoint-gtm-'));
  if (temporary === inScratch) await mkdir(temporary);
  await chmod(temporary, 0o711);
  const { owner } = plan.gtm;
  if (owner !== undefined) await chown(temporary, owner.uid, owner.gid);
  return { temporary, own: true };
}

function everybodyReaches(directory: string): boolean {
  for (let at = directory; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

export function sameFile(a: string, b: string): boolean {
  if (a === b) return true;
  try {
    const [one, other] = [statSync(a), statSync(b)];
    return one.ino === other.ino && one.dev === other.dev;
  } catch {
    return false;
  }
}
