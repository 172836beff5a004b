import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { StillpointError } from '../model/errors.ts';
import { self } from '../platform/process.ts';
import {
  continueJournal,
  decode,
  encode,
  isOver,
  openJournal,
  parseJournal,
  readJournals,
  setAside,
  type JournalRecord,
} from './journal.ts';

const run: JournalRecord = {
  type: 'run',
  runId: 'r1',
  flow: 'backup',
  workload: 'orders',
  process: self(),
  at: '2026-01-01T00:00:00.000Z',
};
const intent: JournalRecord = {
  type: 'intent',
  step: 'freeze',
  traces: [{ kind: 'directory', path: '/x' }],
  at: '2026-01-01T00:00:01.000Z',
};
const done: JournalRecord = { type: 'done', step: 'freeze', at: '2026-01-01T00:00:02.000Z' };
const end: JournalRecord = { type: 'end', outcome: 'complete', at: '2026-01-01T00:00:03.000Z' };

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-journal-'));
  try {
    await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

describe('intent journal', () => {
  it('reads back what was appended, and says when a run is over', async () => {
    await inDirectory(async (directory) => {
      const journal = await openJournal(directory, 'r1');
      for (const record of [run, intent, done]) await journal.append(record);
      const before = (await readJournals(directory)).runs[0] ?? assert.fail();
      assert.deepEqual(before.records, [run, intent, done]);
      assert.equal(isOver(before), false);
      await journal.append(end);
      await journal.close();
      const after = (await readJournals(directory)).runs[0] ?? assert.fail();
      assert.equal(isOver(after), true);
      assert.equal((await stat(journal.file)).mode & 0o777, 0o600);
    });
  });

  it('has no runs where there is no state directory yet', async () => {
    assert.deepEqual(await readJournals('/nonexistent/stillpoint'), { runs: [], damaged: [] });
  });

  it('takes any cut of the last line as torn, and never invents a record', () => {
    const whole = [run, intent, done].map((record) => `${encode(record)}\n`).join('');
    const lastStart = whole.lastIndexOf('\n', whole.length - 2) + 1;
    fc.assert(
      fc.property(fc.integer({ min: lastStart + 1, max: whole.length - 2 }), (length) => {
        const history = parseJournal('f', whole.slice(0, length));
        assert.deepEqual(history.records, [run, intent]);
        assert.equal(history.torn, true);
      }),
    );
  });

  it('goes on after a torn line, and can be read again', async () => {
    await inDirectory(async (directory) => {
      const journal = await openJournal(directory, 'r1');
      await journal.append(run);
      await journal.append(intent);
      await journal.close();
      await appendFile(journal.file, encode(done).slice(0, 30));
      const torn = (await readJournals(directory)).runs[0] ?? assert.fail();
      assert.equal(torn.torn, true);
      const continued = await continueJournal(torn, directory);
      await continued.append({ type: 'end', outcome: 'recovered', at: end.at });
      await continued.close();
      const { runs, damaged } = await readJournals(directory);
      assert.deepEqual(damaged, []);
      assert.equal(isOver(runs[0] ?? assert.fail()), true);
      assert.deepEqual(runs[0]?.records.slice(0, 2), [run, intent]);
    });
  });

  it('refuses a journal damaged before its end, with the way out, and sets it aside on demand', async () => {
    await inDirectory(async (directory) => {
      const journal = await openJournal(directory, 'r1');
      for (const record of [run, intent, done]) await journal.append(record);
      await journal.close();
      const text = await readFile(journal.file, 'utf8');
      await writeFile(journal.file, text.replace('"freeze"', '"frieze"'));
      const { runs, damaged } = await readJournals(directory);
      assert.deepEqual(runs, []);
      const error = damaged[0] ?? assert.fail();
      assert.ok(error instanceof StillpointError);
      assert.equal(error.code, 'journal-corrupt');
      assert.match(error.message, /line 2/);
      assert.match(error.hint ?? '', /recover --discard/);
      await setAside(journal.file);
      assert.deepEqual(await readJournals(directory), { runs: [], damaged: [] });
    });
  });

  it('refuses a line with a flipped bit anywhere', () => {
    const line = encode(intent);
    fc.assert(
      fc.property(fc.nat(line.length - 1), fc.integer({ min: 1, max: 127 }), (index, mask) => {
        const flipped = String.fromCharCode(line.charCodeAt(index) ^ mask);
        assert.equal(decode(line.slice(0, index) + flipped + line.slice(index + 1)), undefined);
      }),
    );
  });
});
