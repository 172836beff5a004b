import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { StorageLayer, StorageStack } from '../model/storage.ts';
import { systemExec } from '../platform/exec.ts';
import { plain } from './format.ts';
import { stackDocument, stackLines } from './stack.ts';

function layer(type: StorageLayer['type'], name: string, more: Partial<StorageLayer> = {}): StorageLayer {
  return { id: `${type}:${name}`, type, name, details: {}, findings: [], below: [], ...more };
}

const disks = ['a', 'b'].map((name) => layer('disk', `/dev/sd${name}`, { details: { size: '1073741824' } }));
const array = layer('md', '/dev/md0', {
  details: { level: 'raid1', size: '1073741824', state: 'clean' },
  findings: [{ severity: 'error', check: 'md', said: '/dev/md0 is degraded' }],
  below: disks,
});
const group = layer('vg', 'vg0', { below: [layer('pv', '/dev/md0', { below: [array] })] });
const pool = layer('thin-pool', 'vg0/pool', {
  details: { dataPercent: '12.5' },
  below: [layer('lv', 'vg0/pool_tmeta', { below: [group] }), layer('lv', 'vg0/pool_tdata', { below: [group] })],
});
const stack: StorageStack = {
  path: '/srv/db',
  mountPoint: '/srv',
  device: '/dev/mapper/vg0-data',
  fileSystem: 'xfs',
  top: layer('mount', '/srv', { details: { options: 'rw' }, below: [layer('filesystem', 'xfs', { below: [pool] })] }),
};

describe('stackLines', () => {
  it('draws a tree in which a shared layer stands once', () => {
    assert.deepEqual(stackLines(stack, plain), [
      '/srv/db',
      'mount /srv  rw',
      '└─ file system xfs',
      '   └─ thin pool vg0/pool  data 12.5 %',
      '      ├─ LV vg0/pool_tmeta',
      '      │  └─ VG vg0',
      '      │     └─ PV /dev/md0',
      '      │        └─ array /dev/md0  raid1, 1.0 GiB, clean',
      '      │           │  error    md: /dev/md0 is degraded',
      '      │           ├─ disk /dev/sda  1.0 GiB',
      '      │           └─ disk /dev/sdb  1.0 GiB',
      '      └─ LV vg0/pool_tdata',
      '         └─ VG vg0  (see above)',
    ]);
  });
});

describe('stillpoint stack', () => {
  it('needs no configuration, and says when there is no such path', async () => {
    const stillpoint = (...more: string[]) =>
      systemExec.run({
        argv: [process.execPath, join(import.meta.dirname, '../main.ts'), 'stack', '--json', ...more],
        timeoutMs: 60_000,
      });
    const seen = await stillpoint('/proc/self');
    const document = JSON.parse(seen.stdout) as { readonly schema: string; readonly stack: { readonly top: string } };
    assert.deepEqual([seen.exitCode, document.schema, document.stack.top], [0, 'stillpoint/1', 'mount:/proc']);
    const missing = await stillpoint('/no/such/path');
    assert.equal(missing.exitCode, 5);
    assert.match(missing.stdout, /"code": "io"/);
    assert.equal((await stillpoint()).exitCode, 2);
  });
});

describe('stackDocument', () => {
  it('lists every layer once, and names what it lies on', () => {
    const document = stackDocument(stack) as {
      top: string;
      layers: readonly { id: string; below: readonly string[] }[];
    };
    assert.equal(document.top, 'mount:/srv');
    const ids = document.layers.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    assert.deepEqual(document.layers.find(({ id }) => id === 'lv:vg0/pool_tdata')?.below, ['vg:vg0']);
    for (const { below } of document.layers) for (const id of below) assert.ok(ids.includes(id), id);
  });
});
