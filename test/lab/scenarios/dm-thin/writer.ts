/**
 * A process of its own that knows nothing of snapshots: writes n into the first file and syncs it, then into the second. So at every
 * instant first = second or first = second + 1. Arguments: both files, and where to note each round that took long, as
 * `<monotonic ms at its beginning> <ms>`.
 */
import { appendFileSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { systemClock } from '../../../../src/platform/clock.ts';

const [first = '', second = '', notes = ''] = process.argv.slice(2);
const noteFromMs = 15;
const files = [first, second].map((path) => openSync(path, 'w'));
/** A guest has one processor, and the cut needs it too. */
const restMs = 3;
const rest = new Int32Array(new SharedArrayBuffer(4));
for (let n = 1; ; n += 1) {
  Atomics.wait(rest, 0, 0, restMs);
  const from = systemClock.monoMs();
  for (const file of files) {
    writeSync(file, `${n}`.padStart(12, '0'), 0);
    fdatasyncSync(file);
  }
  const ms = systemClock.monoMs() - from;
  if (ms > noteFromMs) appendFileSync(notes, `${from.toFixed(1)} ${ms.toFixed(1)}\n`);
}
