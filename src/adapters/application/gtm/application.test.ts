import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { applicationContract } from '../../../../test/contract/application.ts';
import { gtmSubject, openGtm, whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import { gtm } from './application.ts';
import { freezeArguments } from './commands.ts';

const never = new AbortController().signal;

applicationContract('gtm, plain freeze, one region', () => gtmSubject({ regions: 1, freeze: 'plain' }));
applicationContract('gtm, online freeze, two regions', () => gtmSubject({ regions: 2, freeze: 'online' }));
applicationContract('gtm, plain freeze, two regions without a journal', () =>
  gtmSubject({ regions: 2, journal: false }),
);

async function findingsOf(found: AsyncIterable<Finding> | undefined): Promise<readonly Finding[]> {
  const all: Finding[] = [];
  for await (const finding of found ?? []) all.push(finding);
  return all;
}

describe('gtm: looking around', { skip: whyNoGtm() ?? false }, () => {
  it('checks without changing anything, and calls a freeze that is in force an error', async (t) => {
    const db = await openGtm({ regions: 2 });
    t.after(() => db[Symbol.asyncDispose]());
    const quiet = await findingsOf(db.application().check?.(never));
    assert.deepEqual(
      quiet.filter((each) => each.severity === 'error'),
      [],
    );
    assert.match(quiet.find((each) => each.check === 'freeze')?.said ?? '', /^online$/);
    await db.gtm.mupip(freezeArguments('plain'), { limitMs: 20_000 });
    const loud = await findingsOf(db.application().check?.(never));
    assert.equal(loud.filter((each) => each.severity === 'error' && each.check === 'frozen').length, 2);
  });

  it('warns of regions without a journal, and refuses an online freeze of them', async (t) => {
    const db = await openGtm({ regions: 1, journal: false, freeze: 'online' });
    t.after(() => db[Symbol.asyncDispose]());
    const found = await findingsOf(db.application().check?.(never));
    assert.deepEqual(
      found.filter((each) => each.severity !== 'info').map((each) => each.check),
      ['journal', 'freeze'],
    );
    await assert.rejects(db.application().locate(never), /no journaling with before-images/);
  });

  it('finds the global directory of a running process, and its settings work', async (t) => {
    const db = await openGtm({ regions: 1 });
    t.after(() => db[Symbol.asyncDispose]());
    const load = await db.load(1);
    const found = await gtm.discover?.(testPlatform, never);
    const ours = found?.find((each) => each.config['globalDirectory'] === db.config['globalDirectory']);
    assert.equal(ours?.name, 'app');
    assert.ok(gtm.config.safeParse(ours.config).success);
    await load.stop();
  });

  it('tells missing files and variables apart from a database that does not answer', async (t) => {
    const db = await openGtm({ regions: 1 });
    t.after(() => db[Symbol.asyncDispose]());
    const codeOf = async (more: Readonly<Record<string, unknown>>): Promise<unknown> =>
      db
        .application(more)
        .locate(never)
        .then(
          () => 'located',
          (error: unknown) => (error instanceof StillpointError ? [error.code, error.hint !== undefined] : error),
        );
    assert.deepEqual(await codeOf({ globalDirectory: '/nonexistent/g.gld' }), ['database-file', true]);
    assert.deepEqual(await codeOf({ environment: {} }), ['database-file', true]);
    assert.deepEqual(await codeOf({ environment: { SPDB: '/nonexistent' } }), ['database-file', true]);
    assert.equal(await codeOf({}), 'located');
  });
});
