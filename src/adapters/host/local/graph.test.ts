import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { layersOf } from '../../../model/stack.ts';
import type { StorageLayer } from '../../../model/storage.ts';
import type { CommandResult, Exec } from '../../../platform/exec.ts';
import { gather } from './ask.ts';
import type { Facts } from './facts.ts';
import { layersOfFacts } from './graph.ts';
import { parseLsblk, type Block } from './parse.ts';
import { parseLvs, parsePvs, parseVgs } from './parse-lvm.ts';
import { parseMapperStatus, parseSignatures } from './parse-system.ts';

const signal = new AbortController().signal;

type Answers = Record<string, Pick<CommandResult, 'exitCode' | 'stdout' | 'stderr'>>;

function recorded(name: string): Answers {
  const file = join(import.meta.dirname, `../../../../test/transcripts/stack-6.1-${name}.json`);
  return (JSON.parse(readFileSync(file, 'utf8')) as { readonly commands: Answers }).commands;
}

/** Answers as a machine of the lab did. A command that it was never asked is a failure of the test. */
function replay(answers: Answers, missing: readonly string[] = []): Exec {
  const unused = (): never => assert.fail('not used here');
  return {
    run: ({ argv }) => {
      const answer = answers[argv.join(' ')] ?? assert.fail(`nobody recorded \`${argv.join(' ')}\``);
      const none = { killedBy: null, timedOut: false, cancelled: false, startedMs: 0, endedMs: 0 };
      return Promise.resolve({ ...none, ...answer, argv });
    },
    check: unused,
    start: unused,
    which: (program) => Promise.resolve(missing.includes(program) ? undefined : `/usr/sbin/${program}`),
  };
}

async function factsOf(name: string, device: string, missing: readonly string[] = []): Promise<Facts> {
  const facts = await gather(replay(recorded(name), missing), [device], signal);
  // Recorded as root, whoever runs the test.
  return typeof facts === 'string' ? assert.fail(facts) : { ...facts, asRoot: true };
}

function stackOf(facts: Facts, files: ReadonlyMap<string, StorageLayer> = new Map()): readonly StorageLayer[] {
  const [top] = layersOfFacts(facts, files);
  return layersOf({ top: top ?? assert.fail('no layer') });
}

const named = (layers: readonly StorageLayer[]): readonly string[] => layers.map(({ type, name }) => `${type} ${name}`);
const said = (layers: readonly StorageLayer[]): readonly string[] =>
  layers.flatMap(({ findings }) => findings.map((each) => `${each.severity}: ${each.said}`));
const group = [
  'vg vg0',
  'pv /dev/md0',
  'md /dev/md0',
  ...['a', 'b', 'c', 'd'].map((letter) => `disk /dev/ubd${letter}`),
  'pv /dev/ubde',
  'disk /dev/ubde',
  'pv /dev/ubdf',
  'disk /dev/ubdf',
];

describe('layers of a recorded machine', () => {
  it('go from a thin volume through its pool to all disks of its group', async () => {
    const layers = stackOf(await factsOf('thin', '/dev/mapper/vg0-thin'));
    assert.deepEqual(named(layers), [
      'lv vg0/thin',
      'thin-pool vg0/pool',
      'lv vg0/pool_tmeta',
      ...group,
      'lv vg0/pool_tdata',
    ]);
    assert.deepEqual(said(layers), []);
    const [thin, pool] = layers;
    assert.match(thin?.id ?? '', /^lv:\w{6}(-\w{4}){5}-\w{6}$/);
    assert.equal(thin?.details['dm'], 'vg0-thin');
    assert.equal(thin.details['pool'], 'pool');
    assert.equal(pool?.details['dm'], 'vg0-pool-tpool');
    assert.equal(pool.details['chunkBytes'], '65536');
    const array = layers.find(({ type }) => type === 'md');
    assert.equal(array?.id, `md:${array?.details['uuid']}`);
    assert.deepEqual([array?.details['level'], array?.details['metadata']], ['raid10', '1.2']);
  });

  it('go from a mirrored volume through its images', async () => {
    const layers = stackOf(await factsOf('pair', '/dev/mapper/vg0-pair'));
    const images = ['pair_rimage_0', 'pair_rmeta_1', 'pair_rimage_1'].map((name) => `lv vg0/${name}`);
    assert.deepEqual(named(layers), ['lv vg0/pair', 'lv vg0/pair_rmeta_0', ...group, ...images]);
    assert.equal(layers[0]?.details['segtype'], 'raid1');
    assert.deepEqual(said(layers), []);
  });

  it('go on behind a loop device with the stack of its file', async () => {
    const file: StorageLayer = { id: 'mount:/x', type: 'mount', name: '/x', details: {}, findings: [], below: [] };
    const facts = await factsOf('loop', '/dev/loop0');
    assert.deepEqual(named(stackOf(facts, new Map([['7:0', file]]))), ['loop /dev/loop0', 'mount /x']);
    assert.equal(stackOf(facts)[0]?.details['backingFile'], '/mnt/thick/image');
  });

  it('say that the array is degraded, which disk failed, and that a volume moves', async () => {
    assert.deepEqual(said(stackOf(await factsOf('degraded', '/dev/mapper/vg0-my--data'))), [
      'error: /dev/md0 is degraded: 1 of its 4 members are missing',
      'error: ubdd of /dev/md0 is faulty',
    ]);
    const moving = stackOf(await factsOf('moving', '/dev/mapper/vg0-mover'));
    assert.deepEqual(named(moving).slice(0, 2), ['lv vg0/mover', 'lv vg0/pvmove0']);
    assert.ok(said(moving).includes('error: vg0/pvmove0 is being moved to another physical volume (pvmove)'));
  });
});

/** Facts out of transcripts of one machine: kernel name dm-N is device 253:N there. */
function factsOfTranscripts(volume: string): Facts {
  const text = (name: string): string =>
    readFileSync(join(import.meta.dirname, '../../../../test/transcripts', name), 'utf8');
  const roots = parseLsblk(text(`lsblk-2.38-lv-${volume}.json`), 'lsblk');
  const blocks = new Map<string, Block>();
  const walk = (block: Block): void => {
    blocks.set(block.number, block);
    for (const each of block.below) walk(each);
  };
  for (const root of roots) walk(root);
  const mappers = new Map<string, { name: string; uuid: string }>();
  for (const [, minor, name, uuid] of text('sysfs-6.1-dm-healthy.txt').matchAll(
    /dm-(\d+)\/dm\/name:(.*)\n.*\/dm\/uuid:(.*)\n/g,
  )) {
    mappers.set(`253:${minor}`, { name: name ?? '', uuid: uuid ?? '' });
  }
  const physical = parsePvs(text('pvs-2.03.16-healthy.json'), 'pvs');
  const block = roots[0] ?? assert.fail();
  const physicalBlocks = new Map(
    physical.map(({ device }, index) => {
      const known = [...blocks.values()].find(({ path }) => path === device);
      const kernelName = device.slice('/dev/'.length);
      return [
        device,
        known ?? { ...block, below: [], type: 'disk', path: device, kernelName, number: `98:10${index}` },
      ];
    }),
  );
  for (const each of physicalBlocks.values()) blocks.set(each.number, each);
  return {
    asRoot: true,
    roots,
    blocks,
    mappers,
    loops: new Map(),
    arrays: new Map(),
    groups: new Map([
      [
        'vg0',
        {
          volumes: parseLvs(text('lvs-2.03.16-healthy.json'), 'lvs'),
          group: parseVgs(text('vgs-2.03.16-healthy.json'), 'vgs'),
          physical,
        },
      ],
    ]),
    physicalBlocks,
    status: parseMapperStatus(text('dmsetup-1.02.185-status-healthy.txt')),
    links: new Map(),
    chassis: undefined,
    signatures: parseSignatures(text('blkid-2.38-export.txt')),
    writableLoops: new Map(),
  };
}

describe('kinds of volumes', () => {
  const volumesOf = (name: string): readonly string[] =>
    named(stackOf(factsOfTranscripts(name)).filter(({ type }) => type === 'lv' || type === 'thin-pool'));

  it('lie on their parts', () => {
    const below = {
      st: [],
      d1: [],
      // A snapshot reads what it has no copy of from its origin.
      d1_s: ['lv vg0/d1'],
      t1: ['thin-pool vg0/pool', 'lv vg0/pool_tmeta', 'lv vg0/pool_tdata'],
      r1: ['rmeta_0', 'rimage_0', 'rmeta_1', 'rimage_1'].map((part) => `lv vg0/r1_${part}`),
      m1: ['lv vg0/m1_mimage_0', 'lv vg0/m1_mimage_1'],
      c1: ['lv vg0/cpool_cpool_cdata', 'lv vg0/cpool_cpool_cmeta', 'lv vg0/c1_corig'],
      w1: ['lv vg0/wcache_cvol', 'lv vg0/w1_wcorig'],
    };
    for (const [name, parts] of Object.entries(below)) assert.deepEqual(volumesOf(name), [`lv vg0/${name}`, ...parts]);
  });

  it('are one layer for all their devices, under the device that may be used', () => {
    const layers = stackOf(factsOfTranscripts('d1_s'));
    const origin = layers.find(({ name }) => name === 'vg0/d1');
    assert.deepEqual([origin?.details['path'], origin?.details['dm']], ['/dev/mapper/vg0-d1', 'vg0-d1']);
    assert.equal(layers.filter(({ type }) => type === 'vg').length, 1);
    assert.equal(layers.filter(({ type }) => type === 'pv').length, 3);
    // Its own snapshot carries the same file system, and is no clone.
    assert.deepEqual(
      said(stackOf(factsOfTranscripts('d1'))).filter((each) => each.includes('clone')),
      [],
    );
  });

  it('say where a physical volume cannot be seen', () => {
    const facts = factsOfTranscripts('st');
    assert.ok(
      said(stackOf({ ...facts, physicalBlocks: new Map() })).includes(
        'warning: the health of /dev/ubde could not be asked: its device cannot be seen',
      ),
    );
  });
});

describe('what could not be asked', () => {
  it('keeps LVM and blkid away from a suspended device, and says so', async () => {
    const answers = recorded('suspended');
    assert.deepEqual(
      Object.keys(answers).filter((command) => /^(lvs|vgs|pvs|blkid)/.test(command)),
      [],
    );
    const layers = stackOf(await factsOf('suspended', '/dev/mapper/vg0-my--data'));
    // The names and the group are known all the same, from device-mapper; only physical volumes elsewhere are not.
    assert.deepEqual(named(layers).slice(0, 4), ['lv vg0/my-data', 'vg vg0', 'pv /dev/md0', 'md /dev/md0']);
    const why = '/dev/mapper/vg0-my--data is suspended, and asking could block';
    assert.deepEqual(said(layers), [
      `warning: the health of vg0/my-data could not be asked: ${why}`,
      'error: /dev/mapper/vg0-my--data is suspended: all writes to it wait',
      `warning: whether a clone of /dev/mapper/vg0-my--data stands beside it could not be looked for: ${why}`,
      `warning: the health of volume group vg0 could not be asked: ${why}`,
    ]);
  });

  it('is a finding of each layer whose program is missing', async () => {
    const facts = await factsOf('thin', '/dev/mapper/vg0-thin', ['lvs', 'dmsetup', 'mdadm', 'blkid', 'find']);
    const layers = stackOf({ ...facts, asRoot: true });
    assert.equal(layers.find(({ type }) => type === 'thin-pool')?.name, 'vg0/pool');
    assert.deepEqual(
      said(layers).filter((each) => each.includes('vg0/pool ')),
      [
        'error: the health of vg0/pool could not be asked: the program lvs is missing',
        'error: the health of vg0/pool could not be asked: the program dmsetup is missing',
      ],
    );
    assert.match(said(stackOf({ ...facts, asRoot: false })).join('\n'), /warning: the health of vg0\/pool could/);
    // The kernel itself tells an array's state and UUID.
    const array = layers.find(({ type }) => type === 'md');
    assert.deepEqual(array?.findings, []);
    assert.match(array?.id ?? '', /^md:/);
    assert.ok(
      said(layers).includes('warning: the health of volume group vg0 could not be asked: the program lvs is missing'),
    );
  });

  it('is an error for an array of which the kernel shows nothing', async () => {
    const facts = await factsOf('degraded', '/dev/mapper/vg0-my--data');
    const layers = stackOf({ ...facts, arrays: new Map() });
    assert.deepEqual(layers.find(({ type }) => type === 'md')?.findings, [
      { severity: 'error', check: 'md', said: 'the health of /dev/md0 could not be asked: nothing is known of it' },
    ]);
  });

  it('is a finding of a volume that LVM or device-mapper does not list', async () => {
    const facts = await factsOf('thin', '/dev/mapper/vg0-thin');
    const vg0 = facts.groups.get('vg0');
    assert.ok(typeof vg0 === 'object');
    const layers = stackOf({ ...facts, groups: new Map([['vg0', { ...vg0, volumes: [] }]]), status: new Map() });
    const found = said(layers).filter((each) => each.includes('vg0/thin '));
    assert.deepEqual(found, [
      'warning: the health of vg0/thin could not be asked: lvs does not list it',
      'warning: the health of vg0/thin could not be asked: dmsetup does not show vg0-thin',
    ]);
  });

  it('is why there are no facts when lsblk knows no device', async () => {
    const answers: Answers = {};
    const exec: Exec = {
      ...replay(answers),
      run: ({ argv }) =>
        Promise.resolve({
          argv,
          exitCode: 32,
          stdout: '',
          stderr: 'lsblk: /dev/x: not a block device\n',
          killedBy: null,
          timedOut: false,
          cancelled: false,
          startedMs: 0,
          endedMs: 0,
        }),
    };
    assert.equal(await gather(exec, ['/dev/x'], signal), 'lsblk: /dev/x: not a block device');
    assert.equal(await gather(replay({}, ['lsblk']), ['/dev/x'], signal), 'the program lsblk is missing');
  });
});

describe('a physical volume that is missing or doubled', () => {
  it('has a layer of its own, or a warning of its group', async () => {
    const facts = await factsOf('thin', '/dev/mapper/vg0-thin');
    const vg0 = facts.groups.get('vg0');
    assert.ok(typeof vg0 === 'object');
    const [first, second, third] = vg0.physical;
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    const physical = [
      first,
      { ...second, device: '[unknown]', missing: true },
      { ...third, device: '/dev/loop7', attr: 'd--' },
    ];
    const layers = stackOf({
      ...facts,
      groups: new Map([['vg0', { ...vg0, group: { ...vg0.group, missing: 1 }, physical }]]),
    });
    assert.ok(named(layers).includes(`pv missing physical volume ${second.uuid}`));
    assert.ok(!named(layers).includes('pv /dev/loop7'));
    assert.deepEqual(said(layers), [
      'error: volume group vg0 lacks 1 of its physical volumes',
      `warning: /dev/loop7 is a duplicate of physical volume ${third.uuid}: a clone stands beside the original`,
    ]);
  });
});
