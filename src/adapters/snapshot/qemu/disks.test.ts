import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StorageLayer, StorageStack } from '../../../model/storage.ts';
import { disksBelow, type KnownDisks } from './disks.ts';

const node = (name: string): [string, { name: string; driver: string; bytes: number; bitmaps: [] }] => [
  name,
  { name, driver: 'qcow2', bytes: 1000, bitmaps: [] },
];

const known: KnownDisks = {
  nodes: new Map([node('data0'), node('data1')]),
  nodeOfSerial: new Map([
    ['first', 'data0'],
    ['second', 'data1'],
    ['twice', ''],
  ]),
};

function layer(
  type: StorageLayer['type'],
  name: string,
  below: readonly StorageLayer[],
  serial?: string,
): StorageLayer {
  const details = serial === undefined ? {} : { serial };
  return { id: `${type}:${name}`, type, name, details, findings: [], below };
}

function on(...below: readonly StorageLayer[]): StorageStack {
  const top = layer('mount', '/srv', [layer('filesystem', 'xfs', below)]);
  return { path: '/srv', mountPoint: '/srv', device: '/dev/x', fileSystem: 'xfs', top };
}

const first = layer('disk', '/dev/vda', [], 'first');
const second = layer('disk', '/dev/vdb', [], 'second');

describe('the disks below a file system', () => {
  it('are found by serial number, by name, and through arrays and volume groups', async () => {
    const direct = await disksBelow(on(first), known, {});
    assert.deepEqual(direct, {
      leaves: [{ disk: { key: 'first', node: 'data0', bytes: 1000 }, layer: 'disk:/dev/vda' }],
      direct: { offset: 0, bytes: 1000 },
    });
    const named = await disksBelow(on(layer('disk', '/dev/vdc', [])), known, { '/dev/vdc': 'data1' });
    assert.ok('leaves' in named);
    assert.equal(named.leaves[0]?.disk.node, 'data1');
    const array = await disksBelow(on(layer('lv', 'v', [layer('md', '/dev/md0', [first, second, first])])), known, {});
    assert.ok('leaves' in array);
    assert.deepEqual(
      array.leaves.map(({ disk }) => disk.node),
      ['data0', 'data1'],
    );
    assert.equal(array.direct, undefined);
  });

  it('must all be known', async () => {
    const stranger = layer('disk', '/dev/sdq', [], 'other');
    for (const stack of [
      on(stranger),
      on(layer('md', '/dev/md0', [first, stranger])),
      on(layer('disk', '/dev/vdx', [], 'twice')),
      on(layer('disk', '/dev/vdx', [])),
      on(),
    ]) {
      assert.ok('why' in (await disksBelow(stack, known, {})));
    }
    const gone = await disksBelow(on(first), { ...known, nodes: new Map() }, {});
    assert.ok('why' in gone, 'a node that the monitor does not list is none');
    const wrong = await disksBelow(on(layer('disk', '/dev/vdc', [])), known, { '/dev/vdc': 'no-such-node' });
    assert.ok('why' in wrong);
    const { top } = on(first);
    assert.ok('why' in (await disksBelow({ ...on(first), top: { ...top, below: [] } }, known, {})));
  });

  it('are not opened directly below a partition whose place is not known, and not at all below encryption', async () => {
    const found = await disksBelow(on(layer('partition', '/dev/no-such-disk1', [first])), known, {});
    assert.ok('leaves' in found);
    assert.equal(found.direct, undefined);
    const encrypted = await disksBelow(on(layer('crypt', '/dev/mapper/c', [first])), known, {});
    assert.ok('why' in encrypted && encrypted.why.includes('crypt'));
  });
});
