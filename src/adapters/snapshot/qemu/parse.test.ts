import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseBelow, parseDevices, parseDirty, parseExports, parseJobs, parseNodes, parseWritten } from './parse.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const answer = (name: string): unknown => JSON.parse(transcript(`qmp-7.2-${name}.json`));
const diskBytes = 128 * 1024 * 1024;

describe('answers of QEMU', () => {
  it('lists nodes, with the bitmaps that have a name', () => {
    const nodes = parseNodes(answer('query-named-block-nodes'));
    const data = nodes.find(({ name }) => name === 'data0');
    assert.deepEqual([data?.driver, data?.bytes], ['qcow2', diskBytes]);
    assert.deepEqual(data?.bitmaps, [{ name: data?.bitmaps[0]?.name, recording: true, inconsistent: false }]);
    assert.match(data?.bitmaps[0]?.name ?? '', /^stillpoint-[0-9a-f]{12}-0$/);
    const filter = nodes.find(({ driver }) => driver === 'copy-before-write');
    assert.match(filter?.name ?? '', /w$/);
    assert.deepEqual(filter?.bitmaps, []);
    const broken = { 'node-name': 'd', drv: 'qcow2', image: { 'virtual-size': 0 } };
    const bitmap = { name: 'b', recording: false, inconsistent: true };
    assert.deepEqual(parseNodes([{ ...broken, 'dirty-bitmaps': [bitmap] }])[0]?.bitmaps, [bitmap]);
  });

  it('lists jobs and exports', () => {
    assert.deepEqual(
      parseJobs(answer('query-jobs')).map(({ status }) => status),
      ['running'],
    );
    assert.deepEqual(
      parseExports(answer('query-block-exports')).map(({ type }) => type),
      ['nbd', 'fuse'],
    );
    assert.deepEqual(parseJobs([]), []);
  });

  it('lists the disks of a machine, and what lies below their filters', () => {
    const devices = parseDevices(answer('query-block'));
    assert.deepEqual(
      devices.map(({ path }) => path),
      ['/machine/peripheral/vd0/virtio-backend', '/machine/peripheral/vd1/virtio-backend'],
    );
    assert.match(devices[0]?.node ?? '', /^stillpoint-[0-9a-f]{12}-0w$/);
    // A drive without a medium, and one that is no part of the machine.
    assert.deepEqual(parseDevices([{ qdev: 'cd' }, { inserted: { 'node-name': 'x' } }]), []);
    const below = parseBelow(answer('x-debug-query-block-graph'));
    assert.equal([...below].find(([name]) => name.endsWith('-0w'))?.[1], 'data0');
  });

  it('maps bitmaps and overlays', () => {
    const dirty = parseDirty(transcript('nbdinfo-1.14-map-dirty-bitmap.json'), diskBytes);
    assert.ok(dirty.length > 0 && dirty.every(({ offset, length }) => offset % 65_536 === 0 && length % 65_536 === 0));
    assert.deepEqual(parseWritten(transcript('qemu-img-7.2-map.json'), diskBytes), [{ offset: 0, length: 65_536 }]);
    // What is not understood counts as dirty and as written.
    assert.deepEqual(parseDirty('[{"offset":0,"length":7,"type":9}]', 7), [{ offset: 0, length: 7 }]);
    assert.deepEqual(parseWritten('[{"start":0,"length":7}]', 7), [{ offset: 0, length: 7 }]);
  });

  it('takes no map with a gap, and nothing for granted', () => {
    const odd = { code: 'command-failed' };
    for (const text of ['', '{}', '[1]', '[{"offset":1,"length":6,"type":0}]', '[{"offset":0,"length":6,"type":0}]']) {
      assert.throws(() => parseDirty(text, 7), odd, text);
    }
    assert.throws(() => parseDirty('[{"offset":-1,"length":6,"type":0}]', 7), odd);
    for (const value of [
      undefined,
      {},
      [3],
      [{}],
      [{ id: 'x' }],
      [{ image: {} }],
      [{ image: { 'virtual-size': 1.5 } }],
    ]) {
      assert.throws(() => parseNodes(value), odd);
      assert.throws(() => parseJobs(value), odd);
      assert.throws(() => parseExports(value), odd);
    }
    assert.throws(() => parseDevices(null), odd);
    assert.throws(() => parseDevices([{ qdev: 'x', inserted: {} }]), odd);
    for (const value of [null, [], { nodes: [] }, { nodes: [{ id: 'x', name: 'y' }], edges: [] }]) {
      assert.throws(() => parseBelow(value), odd);
    }
    const nodes = [
      { id: 1, name: 'one' },
      { id: 2, name: 'two' },
    ];
    const edge = { parent: 1, child: 2, name: 'backing' };
    const edges = [edge, { ...edge, name: 'file', child: 9 }, { ...edge, name: 'file', parent: 9 }];
    assert.deepEqual([...parseBelow({ nodes, edges })], []);
    assert.deepEqual([...parseBelow({ nodes, edges: [...edges, { ...edge, name: 'file' }] })], [['one', 'two']]);
  });
});
