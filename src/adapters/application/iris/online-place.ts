import { randomBytes, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { Control } from './control.ts';
import { hereOf } from './locate.ts';

const moveMs = 60_000;
const pieceMs = 120_000;
/** Base64 of a piece must fit into what a command may print. */
const pieceMiB = 8;

/** File systems whose server may hang. `findmnt` and `stat -f` call them differently; of FUSE only block devices are local. */
const remote =
  /^(?:nfs|cifs|smb|afs|ceph|gluster|lustre|gpfs|panfs|9p|v9fs|ncp|coda|beegfs|orangefs|pvfs|gfs|ocfs|vboxsf|vmhgfs|prl_fs|davfs|fuse(?!blk|ctl))/i;

/** Where the engine puts the files of one run. */
export interface BackupPlace {
  readonly id: string;
  readonly directory: string;
}

/** Makes the run's directory, and removes those that dead runs of this workload left: the workload's lock says that none of them lives. */
export async function makePlace(control: Control, workload: string, signal: AbortSignal): Promise<BackupPlace> {
  const { backupDirectory } = control.config;
  if (backupDirectory === undefined) {
    throw new StillpointError('method-unsupported', "there is no place for the engine's own backup", {
      hint: 'set application.iris.backupDirectory to a directory on a local disk that the instance can write to',
    });
  }
  await refuseRemote(control, backupDirectory);
  const prefix = `stillpoint-${workload.replace(/[^A-Za-z0-9_.-]/g, '_')}-`;
  const listed = await control.command(['ls', '-1A', '--', backupDirectory]);
  const id = randomUUID();
  const stale = listed.stdout
    .split('\n')
    .filter((name) => name.startsWith(prefix) && /^[0-9a-f-]{36}$/.test(name.slice(prefix.length)));
  if (stale.length > 0) {
    await control.command(['rm', '-rf', '--', ...stale.map((name) => join(backupDirectory, name))], moveMs);
  }
  signal.throwIfAborted();
  const directory = join(backupDirectory, `${prefix}${id}`);
  const made = await control.command(['mkdir', '-m', '700', '--', directory]);
  if (made.exitCode === 0) return { id, directory };
  throw new StillpointError('io', `${directory} cannot be made: ${made.stderr.trim()}`, {
    hint: 'application.iris.backupDirectory must exist, and the instance must be able to write there',
  });
}

export async function removePlace(control: Control, { directory }: BackupPlace): Promise<void> {
  const removed = await control.command(['rm', '-rf', '--', directory], moveMs);
  if (removed.exitCode === 0) return;
  throw new StillpointError('undo-failed', `${directory} cannot be removed: ${removed.stderr.trim()}`, {
    hint: 'remove it by hand; the next backup of this workload tries it again',
  });
}

/** The last pass suspends the write daemon: whatever the file hangs on hangs the instance then. */
async function refuseRemote(control: Control, directory: string): Promise<void> {
  const kind = (await fileSystemOf(control, directory)) ?? 'unknown';
  if (!remote.test(kind)) return;
  throw new StillpointError('volume-unsafe', `${directory} is on a file system of type ${kind}, which may hang`, {
    hint: 'set application.iris.backupDirectory to a directory on a local disk: the repository may be anywhere',
  });
}

async function fileSystemOf(control: Control, directory: string): Promise<string | undefined> {
  for (const argv of [
    ['findmnt', '-n', '-o', 'FSTYPE', '-T', directory],
    ['stat', '-f', '-c', '%T', '--', directory],
  ] as const) {
    // A program that is not there cannot be started; the other may be.
    const result = await control.command(argv).catch(() => undefined);
    const [kind] = result?.exitCode === 0 ? result.stdout.trim().split('\n') : [];
    if (kind !== undefined && kind !== '') return kind;
  }
  return undefined;
}

/** Throws `space-short` where it can be foreseen; a place that does not tell its room is tried. */
export async function refuseFull(control: Control, directory: string, bytes: number): Promise<void> {
  const result = await control.command(['df', '-B1', '--output=avail', '--', directory]);
  const free = Number(result.stdout.trim().split('\n').at(-1) ?? Number.NaN);
  if (result.exitCode !== 0 || !(free < bytes)) return;
  throw new StillpointError(
    'space-short',
    `the engine's backup needs about ${bytes} bytes in ${directory}, which has ${free} free`,
    {
      hint: 'set application.iris.backupDirectory to a place with more room',
    },
  );
}

/** The bytes of a finished file, wherever it lies. */
export async function* bytesOf(control: Control, path: string): AsyncGenerator<Uint8Array> {
  const here = await hereOf(control, path);
  if (
    here !== undefined &&
    (await access(here, constants.R_OK).then(
      () => true,
      () => false,
    ))
  ) {
    yield* createReadStream(here, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Uint8Array>;
    return;
  }
  yield* pieces(control, path);
}

/** Commands print text: a file that only the other place can read comes in pieces, as Base64. */
async function* pieces(control: Control, path: string): AsyncGenerator<Uint8Array> {
  const size = await control.size(path);
  if (size === undefined) throw unreadable(path, 'it has no size');
  const piece = join(dirname(path), `piece-${randomBytes(4).toString('hex')}`);
  let done = 0;
  for (let at = 0; done < size; at += pieceMiB) {
    const cut = await control.command(
      ['dd', `if=${path}`, `of=${piece}`, 'bs=1M', `skip=${at}`, `count=${pieceMiB}`],
      pieceMs,
    );
    const text = cut.exitCode === 0 ? await control.command(['base64', '-w', '0', '--', piece], pieceMs) : cut;
    if (text.exitCode !== 0) throw unreadable(path, text.stderr.trim());
    const bytes = Buffer.from(text.stdout, 'base64');
    if (bytes.length !== Math.min(pieceMiB * 1024 * 1024, size - done)) throw unreadable(path, 'it changed meanwhile');
    done += bytes.length;
    yield bytes;
  }
}

function unreadable(path: string, why: string): StillpointError {
  return new StillpointError('command-failed', `${path} cannot be read whole: ${why}`, {
    hint: 'see whether the user that runs this may read what the instance writes (application.iris.user)',
  });
}
