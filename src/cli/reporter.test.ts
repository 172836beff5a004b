import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { it } from 'node:test';
import { systemClock, type Clock } from '../platform/clock.ts';
import { JsonReporter, TextReporter } from './reporter.ts';

/** A stream that is no terminal, and what was written to it so far. */
function sink(): { readonly stream: NodeJS.WriteStream; text(): string } {
  const stream = new PassThrough();
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
  });
  return { stream: Object.assign(stream, { isTTY: false }) as unknown as NodeJS.WriteStream, text: () => text };
}

it('writes nothing from the freeze to the end of the thaw', () => {
  const err = sink();
  const reporter = new JsonReporter(err.stream, systemClock);
  reporter.step('freeze', 'begin');
  reporter.step('freeze', 'done');
  reporter.finding({ severity: 'warning', check: 'log', said: 'x' });
  reporter.progress('copy', { files: 1, bytesDone: 1, bytesTotal: 1 });
  reporter.step('thaw', 'begin');
  assert.equal(err.text(), '');
  reporter.step('thaw', 'done');
  assert.equal(err.text().trim().split('\n').length, 6);
});

it('writes after the thaw when the hold is undone, and at the end at the latest', () => {
  const text = sink();
  const reporter = new TextReporter(text.stream, text.stream, systemClock, { steps: true, findings: true });
  reporter.step('freeze', 'begin');
  reporter.step('freeze', 'undo');
  assert.equal(text.text(), '', 'the undo of the freeze is the thaw itself');
  reporter.step('cut', 'undo');
  assert.match(text.text(), /undo {2}freeze\n.*undo {2}cut\n/);
  reporter.step('freeze', 'begin');
  reporter.say('kept');
  reporter.end();
  assert.match(text.text(), /kept\n$/);
});

it('gives rate and time left, and without a terminal a line each 5 s at most', () => {
  let nowMs = 0;
  const clock: Clock = { ...systemClock, monoMs: () => nowMs };
  const text = sink();
  const reporter = new TextReporter(text.stream, text.stream, clock, { steps: true, findings: true });
  const mib = 1024 * 1024;
  for (nowMs = 1_000; nowMs <= 11_000; nowMs += 500) {
    reporter.progress('copy', { files: 3, bytesDone: (nowMs / 1000) * 10 * mib, bytesTotal: 200 * mib });
  }
  assert.deepEqual(text.text().trimEnd().split('\n'), [
    '  copy  25 %, 50.0 MiB of 200 MiB in 3 files, 10.0 MiB/s, 15.0 s left',
    '  copy  50 %, 100 MiB of 200 MiB in 3 files, 10.0 MiB/s, 10.0 s left',
  ]);
});

it('takes a terminal without columns for none, for ora would clear lines there without end', () => {
  const text = sink();
  const stream = Object.assign(text.stream, { isTTY: true, columns: 0 });
  const reporter = new TextReporter(stream, stream, systemClock, { steps: true, findings: true });
  reporter.step('copy', 'begin');
  reporter.step('copy', 'done');
  reporter.end();
  assert.match(text.text(), /^ {2}\S*done\S* {2}copy .*\n$/);
});
