import { statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import type { StorageStack } from '../../../model/storage.ts';
import { systemClock } from '../../../platform/clock.ts';
import type { Exec } from '../../../platform/exec.ts';
import { pathExists } from '../../../platform/files.ts';
import type { Host } from '../../../ports/host.ts';
import { Recent, Survey } from './survey.ts';

/** The machine that this process runs on. */
export function localHost(exec: Exec): Host {
  const recent = new Recent(systemClock);
  return {
    name: hostname(),
    exec,

    pathHere: (path) => Promise.resolve(path),

    stackOf: (path, signal): Promise<StorageStack> => new Survey(exec, recent, signal).stackOf(path),

    async freeBytes(path) {
      let existing = path;
      while (!(await pathExists(existing)) && existing !== dirname(existing)) existing = dirname(existing);
      // What is free for everybody: root's reserve is what keeps the machine alive when a disk runs full.
      const { bavail, bsize } = await statfs(existing);
      return bavail * bsize;
    },
  };
}
