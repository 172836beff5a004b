import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, opendir, rename, stat, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { BlobStore, StoredFile } from '../../../ports/blob-store.ts';
import type { StoreModule } from '../../../ports/module.ts';
import { localConfig, type LocalConfig } from './config.ts';

/** Ends the name of a file that is still being written. A crash leaves it behind; it is never listed. */
const partMark = /-tmp-[0-9a-f]{16}$/;

/** A directory on a mounted file system. Modes as restic's local backend: directories 0700, files 0400. */
export class LocalStore implements BlobStore {
  readonly location: string;
  readonly #making = new Map<string, Promise<void>>();

  constructor(directory: string) {
    this.location = directory;
  }

  async put(name: string, data: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) throw cancelled(signal);
    const target = this.#path(name);
    const part = `${target}-tmp-${randomBytes(8).toString('hex')}`;
    try {
      await this.#write(part, data);
      await rename(part, target);
      await syncDirectory(dirname(target));
      // Another put may have made the directory just now and not have synced it into its parent yet.
      await this.#making.get(dirname(target));
    } catch (error) {
      await unlink(part).catch(() => undefined); // Never made, or renamed already: either way no part is left.
      throw this.#writeFailure(name, error);
    }
  }

  async get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    let file;
    try {
      file = await open(this.#path(name), constants.O_RDONLY);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') throw this.#damaged(name, 'it is missing', error);
      throw this.#io(name, error);
    }
    try {
      const length = range?.length ?? (await file.stat()).size;
      const content = Buffer.allocUnsafeSlow(length);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await file.read(content, done, length - done, (range?.offset ?? 0) + done);
        if (bytesRead === 0) throw this.#damaged(name, `it ends ${length - done} bytes too early`);
        done += bytesRead;
      }
      return content;
    } catch (error) {
      // A sector that cannot be read is damage of the repository, whatever else the disk still gives.
      if (codeOf(error) === 'EIO') throw this.#damaged(name, 'the disk cannot read it', error);
      throw error instanceof StillpointError ? error : this.#io(name, error);
    } finally {
      await file.close();
    }
  }

  async stat(name: string): Promise<StoredFile | undefined> {
    try {
      const found = await stat(this.#path(name));
      return found.isFile() ? { name, bytes: found.size } : undefined;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw this.#io(name, error);
    }
  }

  async *list(prefix: string): AsyncIterable<StoredFile> {
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    for await (const name of this.#names(folder, prefix)) {
      const found = await this.stat(name);
      if (found !== undefined) yield found;
    }
  }

  async delete(name: string): Promise<void> {
    try {
      await unlink(this.#path(name));
    } catch (error) {
      if (!isMissing(error)) throw this.#io(name, error);
    }
  }

  async #write(path: string, data: Uint8Array): Promise<void> {
    const file = await this.#create(path);
    try {
      for (let done = 0; done < data.length;) done += (await file.write(data, done, data.length - done)).bytesWritten;
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #create(path: string): Promise<FileHandle> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
    try {
      return await open(path, flags, 0o400);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
    const directory = dirname(path);
    const making = this.#making.get(directory) ?? makeDirectory(directory);
    this.#making.set(directory, making);
    try {
      await making;
    } finally {
      this.#making.delete(directory);
    }
    return await open(path, flags, 0o400);
  }

  /** `folder` is '' or ends with a slash. */
  async *#names(folder: string, prefix: string): AsyncGenerator<string> {
    let directory;
    try {
      directory = await opendir(join(this.location, folder));
    } catch (error) {
      if (isMissing(error)) return;
      throw this.#io(folder, error);
    }
    for await (const entry of directory) {
      const name = `${folder}${entry.name}`;
      if (entry.isDirectory()) {
        if (prefix.startsWith(`${name}/`) || name.startsWith(prefix)) yield* this.#names(`${name}/`, prefix);
      } else if (entry.isFile() && name.startsWith(prefix) && !partMark.test(name)) {
        yield name;
      }
    }
  }

  #path(name: string): string {
    if (name === '' || name.startsWith('/') || normalize(name) !== name || name.startsWith('..')) {
      throw new StillpointError('io', `${name} is no name of a repository file`);
    }
    return join(this.location, name);
  }

  #damaged(name: string, why: string, cause?: unknown): StillpointError {
    return new StillpointError('repository-damaged', `${name} in ${this.location} is damaged: ${why}`, {
      hint: 'run `stillpoint repo check --read-data` to see which restore points it hits',
      details: { file: name },
      cause,
    });
  }

  #writeFailure(name: string, error: unknown): StillpointError {
    const code = codeOf(error);
    if (code !== 'ENOSPC' && code !== 'EDQUOT') return this.#io(name, error);
    return new StillpointError('repository-full', `no space is left in ${this.location} for ${name}`, {
      hint: 'free space there or move the repository; then run the command again, what is stored already is used',
      details: { file: name, code },
      cause: error,
    });
  }

  #io(name: string, error: unknown): StillpointError {
    return new StillpointError('io', `cannot use ${join(this.location, name)}: ${messageOf(error)}`, {
      hint: `look whether ${this.location} is mounted and belongs to this user`,
      details: { file: name, code: codeOf(error) },
      cause: error,
    });
  }
}

function isMissing(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function cancelled(signal: AbortSignal): StillpointError {
  return new StillpointError('cancelled', 'writing to the repository was cancelled', { cause: signal.reason });
}

/** With everything above it, each new name durable in the directory that holds it. */
async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let at = path; at.length >= first.length; at = dirname(at)) await syncDirectory(dirname(at));
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

export const localStore: StoreModule<LocalConfig> = {
  kind: 'local',
  config: localConfig,
  create: (config) => new LocalStore(config),
};
