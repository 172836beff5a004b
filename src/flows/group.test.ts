import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { HoldKind } from '../model/hold.ts';
import type { RequiredPath } from '../model/storage.ts';
import type { Located } from '../ports/application.ts';
import type { SnapshotProvider } from '../ports/snapshot-provider.ts';
import { locateGroup } from './group.ts';

const never = new AbortController().signal;

function path(name: string): RequiredPath {
  return { path: `/srv/${name}`, role: 'data', name, kind: 'directory', companions: [], leftOut: [] };
}

function located(holdKind: HoldKind, ...names: readonly string[]): Located {
  return {
    version: '1',
    member: { member: 'm', role: 'standalone', epoch: 'e' },
    holdKind,
    paths: names.map(path),
    bytes: 0,
    identity: 'i',
    facts: {},
  };
}

const unused = (): never => assert.fail('nothing is cut');

/** Claims the paths of these names, one volume each. */
function provider(
  kind: string,
  claims: readonly string[],
  atomicity: 'one-instant' | 'sequential',
  needs: SnapshotProvider['needs'] = 'any',
): SnapshotProvider {
  return {
    kind,
    needs,
    cutsBy: 'copy',
    locate: async (paths) =>
      paths
        .filter(({ name }) => claims.includes(name))
        .map(({ name }) => ({ id: `${kind}:${name}`, provider: kind, holds: [name], details: {} })),
    atomicity: (group) => ({ atomicity: group.length <= 1 ? 'one-instant' : atomicity, how: `${kind} says so` }),
    predict: unused,
    prepare: unused,
    refs: unused,
    cut: unused,
    list: unused,
    open: unused,
    delete: unused,
  };
}

const oneByOne = provider('one-by-one', ['data', 'wal'], 'sequential');
const together = provider('together', ['data', 'wal'], 'one-instant');

describe('the group of a backup', () => {
  it('takes providers in their order when a hold covers the cut', async () => {
    const group = await locateGroup(
      located('writes-stopped', 'data', 'wal'),
      { providers: [oneByOne, together] },
      never,
    );
    assert.deepEqual(
      group.volumes.map(({ provider: kind }) => kind),
      ['one-by-one', 'one-by-one'],
    );
    assert.equal(group.atomicity, 'sequential');
  });

  it('takes the provider that cuts all at one instant when there is no hold, wherever it stands', async () => {
    const group = await locateGroup(located('none', 'data', 'wal'), { providers: [oneByOne, together] }, never);
    assert.deepEqual([group.atomicity, group.how], ['one-instant', 'together says so']);
    assert.deepEqual(
      group.parts.map(({ provider: { kind } }) => kind),
      ['together'],
    );
  });

  it('refuses without a hold when nobody can, also those that need one', async () => {
    const held = provider('held', ['data', 'wal'], 'one-instant', 'hold');
    for (const providers of [[oneByOne], [oneByOne, held], [provider('half', ['data'], 'one-instant'), oneByOne]])
      await assert.rejects(locateGroup(located('none', 'data', 'wal'), { providers }, never), {
        code: 'hold-not-covering',
      });
    await assert.rejects(locateGroup(located('none', 'data'), { providers: [held] }, never), {
      code: 'path-outside-group',
    });
  });

  it('takes only a cut at one instant under a hold that stops commits only', async () => {
    const held = provider('held', ['data', 'wal'], 'sequential', 'hold');
    const hold = located('one-instant', 'data', 'wal');
    const group = await locateGroup(hold, { providers: [held, oneByOne, together] }, never);
    assert.deepEqual(
      group.parts.map(({ provider: { kind } }) => kind),
      ['together'],
    );
    await assert.rejects(locateGroup(hold, { providers: [held, oneByOne] }, never), {
      code: 'hold-not-covering',
      message: /stops commits only/,
      hint: /one volume that can be cut/,
    });
    await assert.rejects(locateGroup(hold, { providers: [held] }, never), {
      code: 'path-outside-group',
      hint: /stops commits only/,
    });
  });

  it('says what the providers remarked on a path that is left over, and on no other', async () => {
    const remarks = (): readonly string[] => ['p does not take /srv/wal: it is full', 'p does not take /srv/other: no'];
    const half = provider('half', ['data'], 'one-instant');
    await assert.rejects(locateGroup(located('writes-stopped', 'data', 'wal'), { providers: [half], remarks }, never), {
      code: 'path-outside-group',
      message: /\/srv\/wal.* can cut \(p does not take \/srv\/wal: it is full\)$/,
    });
  });
});
