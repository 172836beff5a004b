import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Finding } from './point.ts';
import { findingsOf, layerOf, layersOf } from './stack.ts';
import type { StorageLayer, StorageStack } from './storage.ts';

function layer(id: string, type: StorageLayer['type'], below: readonly StorageLayer[] = []): StorageLayer {
  const finding: Finding = { severity: 'warning', check: 'test', said: id };
  return { id, type, name: id, details: {}, findings: [finding], below };
}

/** Two members of an array on one disk, and a second file system below the first. */
function example(): StorageStack {
  const disk = layer('disk', 'disk');
  const array = layer('array', 'md', [layer('left', 'partition', [disk]), layer('right', 'partition', [disk])]);
  const inner = layer('inner', 'filesystem', [array]);
  const top = layer('mount', 'mount', [layer('outer', 'filesystem', [layer('loop', 'loop', [inner])])]);
  return { path: '/a', mountPoint: '/a', device: '/dev/loop0', fileSystem: 'ext4', top };
}

describe('a storage stack', () => {
  it('gives each layer once, from the top down', () => {
    assert.deepEqual(
      layersOf(example()).map(({ id }) => id),
      ['mount', 'outer', 'loop', 'inner', 'array', 'left', 'disk', 'right'],
    );
  });

  it('gives the uppermost layer of a type, or none', () => {
    assert.equal(layerOf(example(), 'filesystem')?.id, 'outer');
    assert.equal(layerOf(example(), 'lv'), undefined);
  });

  it('gives the findings of a shared layer once', () => {
    assert.equal(findingsOf(example()).filter(({ said }) => said === 'disk').length, 1);
    assert.equal(findingsOf(example()).length, 8);
  });
});
