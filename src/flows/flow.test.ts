import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StillpointError } from '../model/errors.ts';
import { systemClock } from '../platform/clock.ts';
import { runFlow, type FlowContext, type Step } from './flow.ts';
import type { JournalRecord, RunJournal } from './journal.ts';

interface Log {
  readonly lines: string[];
}

function step(name: string, extra: Partial<Step<Log>> = {}): Step<Log> {
  return {
    name,
    run: async (log) => void log.lines.push(name),
    undo: async (log) => void log.lines.push(`undo ${name}`),
    ...extra,
  };
}

function failing(name: string, error: Error, extra: Partial<Step<Log>> = {}): Step<Log> {
  return step(name, { run: () => Promise.reject(error), ...extra });
}

function context(
  log: Log,
  signal = new AbortController().signal,
  refuse?: (record: JournalRecord) => boolean,
): FlowContext {
  const journal: RunJournal = {
    file: 'memory',
    append: async (record) => {
      if (refuse?.(record) === true) throw new StillpointError('io', 'no space left');
      if (record.type === 'intent')
        log.lines.push(`intent ${record.step}${record.traces.map((trace) => ` ${trace.kind}`).join('')}`);
      if (record.type === 'done') log.lines.push(`done ${record.step}`);
      if (record.type === 'committed') log.lines.push(`committed ${record.step}`);
    },
    close: async () => undefined,
  };
  return { journal, clock: systemClock, signal };
}

const boom = new StillpointError('cut-failed', 'boom');

describe('flow', () => {
  it('journals each intent before its step and the result after', async () => {
    const log: Log = { lines: [] };
    await runFlow([step('a'), step('b')], log, context(log));
    assert.deepEqual(log.lines, ['intent a', 'a', 'done a', 'intent b', 'b', 'done b']);
  });

  it('writes nothing between quiet steps, and has told their traces before the first of them', async () => {
    const log: Log = { lines: [] };
    const traces = (): readonly [{ kind: 'directory'; path: string }] => [{ kind: 'directory', path: '/x' }];
    await runFlow(
      [
        step('prepare'),
        step('freeze'),
        step('cut', { quiet: true, traces }),
        step('thaw', { quiet: true }),
        step('judge'),
      ],
      log,
      context(log),
    );
    assert.deepEqual(log.lines.slice(3, 10), [
      'intent freeze directory',
      'freeze',
      'cut',
      'thaw',
      'done freeze',
      'done cut',
      'done thaw',
    ]);
  });

  it('undoes in reverse order what was begun, the failed step too, and the thaw before everything else', async () => {
    const log: Log = { lines: [] };
    const steps = [step('prepare'), step('freeze', { undoFirst: true }), failing('cut', boom), step('later')];
    await assert.rejects(runFlow(steps, log, context(log)), boom);
    assert.deepEqual(
      log.lines.filter((line) => line.startsWith('undo')),
      ['undo freeze', 'undo cut', 'undo prepare'],
    );
    assert.ok(!log.lines.includes('later'));
  });

  it('keeps what a committed step made', async () => {
    const log: Log = { lines: [] };
    await assert.rejects(
      runFlow([step('record', { commits: true }), failing('expire', boom)], log, context(log)),
      boom,
    );
    assert.deepEqual(
      log.lines.filter((line) => line.startsWith('undo')),
      ['undo expire'],
    );
  });

  it('undoes a step whose commit cannot be written down', async () => {
    const log: Log = { lines: [] };
    const refuse = (record: JournalRecord): boolean => record.type === 'committed';
    const steps = [step('write'), step('adopt', { commits: true })];
    await assert.rejects(runFlow(steps, log, context(log, undefined, refuse)), { code: 'io' });
    assert.deepEqual(
      log.lines.filter((line) => line.startsWith('undo')),
      ['undo adopt', 'undo write'],
    );
  });

  it('undoes all the rest when one undo fails, and says so', async () => {
    const log: Log = { lines: [] };
    const steps = [step('a'), step('b', { undo: () => Promise.reject(new Error('stuck')) }), failing('c', boom)];
    await assert.rejects(runFlow(steps, log, context(log)), (error: StillpointError) => {
      assert.equal(error.code, 'undo-failed');
      assert.equal(error.exitCode, 6);
      assert.match(error.message, /boom.*stuck/);
      return true;
    });
    assert.ok(log.lines.includes('undo a'));
  });

  it('lets an unproved thaw win over every other failure', async () => {
    const log: Log = { lines: [] };
    const unproven = new StillpointError('thaw-unproven', 'who knows');
    const steps = [
      step('a', { undo: () => Promise.reject(unproven) }),
      failing('b', boom, { undo: () => Promise.reject(new Error('stuck')) }),
    ];
    await assert.rejects(runFlow(steps, log, context(log)), unproven);
  });

  it('does not begin a step after a cancellation, and undoes without regard to it', async () => {
    const log: Log = { lines: [] };
    const controller = new AbortController();
    const steps = [step('a', { run: async () => controller.abort() }), step('b')];
    await assert.rejects(
      runFlow(steps, log, context(log, controller.signal)),
      (error: StillpointError) => error.code === 'cancelled',
    );
    assert.ok(log.lines.includes('undo a'));
    assert.ok(!log.lines.includes('b'));
  });

  it('does not begin a step whose intent cannot be written, and undoes on a full disk', async () => {
    const log: Log = { lines: [] };
    let full = false;
    const steps = [step('prepare', { run: async () => void (full = true) }), step('freeze')];
    await assert.rejects(
      runFlow(
        steps,
        log,
        context(log, undefined, () => full),
      ),
      (error: StillpointError) => error.code === 'io',
    );
    assert.ok(!log.lines.includes('freeze'));
    assert.ok(log.lines.includes('undo prepare'));
  });

  it('calls fault points at each transition', async () => {
    const log: Log = { lines: [] };
    const seen: string[] = [];
    await runFlow([step('a')], log, { ...context(log), fault: async (transition) => void seen.push(transition) });
    assert.deepEqual(seen, ['before:a', 'after:a']);
  });
});
