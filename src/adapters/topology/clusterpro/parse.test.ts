import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { hasSucceeded, parseCluster, parseMirror, parseMonitors, parseRatio } from './parse.ts';

function transcript(name: string): string {
  return readFileSync(join(import.meta.dirname, '../../../../test/transcripts', `clusterpro-${name}.txt`), 'utf8');
}

const notUnderstood = (command: string) => ({ code: 'command-failed', message: new RegExp(`\`${command}`) });

describe('parseMirror', () => {
  it('reads state and colours by the order of the names', () => {
    assert.deepEqual(parseMirror(transcript('clpmdstat-normal'), 'md1'), {
      status: 'Normal',
      colours: new Map([
        ['server1', 'GREEN'],
        ['server2', 'GREEN'],
      ]),
    });
    assert.deepEqual(parseMirror(transcript('clpmdstat-recovering'), 'md1'), {
      status: 'Recovering',
      colours: new Map([
        ['server1', 'YELLOW'],
        ['server2', 'YELLOW'],
      ]),
    });
    assert.deepEqual(parseMirror(transcript('clpmdstat-no-construction'), 'md1'), {
      status: 'No Construction',
      colours: new Map([
        ['server1', 'RED'],
        ['server2', 'GRAY'],
      ]),
    });
  });

  it('refuses what is another resource, cut short or of other columns', () => {
    const good = transcript('clpmdstat-normal');
    const odd = [
      '',
      'Error: The mirror agent does not run.\n',
      good.replace('md1', 'md2'),
      good.replace('server1 server2', 'server1'),
      good.replace(' GREEN GREEN', ' GREEN'),
      good.replace('Mirror Color', 'Farbe'),
      good.replace(/-+\n/, ''),
      good.split('\n').slice(0, 1).join('\n'),
      good.split('\n').slice(0, 2).join('\n'),
      good.split('\n').slice(0, 3).join('\n'),
    ];
    for (const each of odd)
      assert.throws(() => parseMirror(each, 'md1'), notUnderstood('clpmdstat --mirror md1'), each);
  });
});

describe('parseCluster', () => {
  it('reads servers with what is below them, and groups with where they are', () => {
    const { cluster, servers, parts, groups } = parseCluster(transcript('clpstat-long'));
    assert.equal(cluster, 'orders-cluster');
    assert.deepEqual(
      [...servers],
      [
        ['server1', 'Online'],
        ['server2', 'Online Pending'],
      ],
    );
    assert.deepEqual(
      [...(parts.get('server2') ?? [])],
      [
        ['lankhb1', 'Caution'],
        ['pingnp1', 'Error'],
      ],
    );
    assert.deepEqual(
      [...groups],
      [
        ['failover1', { status: 'Online', current: 'server1' }],
        ['failover2', { status: 'Offline', current: undefined }],
        ['a-group-whose-name-is-31-long-x', { status: 'Online Failure', current: 'server2' }],
      ],
    );
  });

  it('refuses what was cut short or has lines that it does not know', () => {
    const good = transcript('clpstat-long');
    const odd = [
      '',
      'Error: The cluster does not run.\n',
      good.replace(/ =+\n$/, ''),
      good.replace('  Cluster : ', '  Grappe : '),
      good.replace('  <server>', '  <?>'),
      good.replace('  <server>\n', ''),
      good.replace('   *server1 ..........................: Online', '   server1 is online'),
      good.replace('  <server>', '  <unheard>'),
    ];
    for (const each of odd) assert.throws(() => parseCluster(each), notUnderstood('clpstat --long'), each);
  });

  it('passes over rows below nothing', () => {
    const { groups, parts } = parseCluster(
      [
        ' ===  CLUSTER STATUS  ===',
        '  Cluster : c',
        '  <server>',
        '      hb : Normal',
        '  <group>',
        '      current : s',
        ' ===',
      ].join('\n'),
    );
    assert.deepEqual([groups.size, parts.size], [0, 0]);
  });
});

describe('parseMonitors', () => {
  it('reads the state on each server, by the names that stand in the head', () => {
    const found = parseMonitors(transcript('clpstat-m'));
    assert.deepEqual(
      [...(found.get('mdw1') ?? [])],
      [
        ['server1', 'Online'],
        ['server2', 'Online Pending'],
      ],
    );
    assert.deepEqual(
      [...(found.get('psqlw1') ?? [])],
      [
        ['server1', 'Suspend'],
        ['server2', 'Offline'],
      ],
    );
  });

  it('reads names that stand there themselves', () => {
    const text = transcript('clpstat-m')
      .replace(/ +\*server0.*\n.*\n/, '')
      .replaceAll('server0', 'one');
    assert.equal(parseMonitors(text).get('psqlw1')?.get('one'), 'Suspend');
  });

  it('refuses what was cut short or has lines that it does not know', () => {
    const good = transcript('clpstat-m');
    const odd = [
      '',
      good.replace(/ =+\n$/, ''),
      good.replace('  Cluster : ', '  Grappe : '),
      good.replace('    server0 [o] : Online', '    server0: Online'),
      good.replace('  Monitor0 [mdw1 : Normal]\n', ''),
      good.replace(/ =+ {2}MON.*\n/, ''),
    ];
    for (const each of odd) assert.throws(() => parseMonitors(each), notUnderstood('clpstat -m'), each);
  });
});

describe('parseRatio and hasSucceeded', () => {
  it('take their own lines and nothing else', () => {
    assert.equal(parseRatio('present toratio : 20\n'), 20);
    for (const odd of ['', 'present toratio :\n', 'Error: x\n'])
      assert.throws(() => parseRatio(odd), notUnderstood('clptoratio -s'));
    assert.equal(hasSucceeded('Command succeeded.\n'), true);
    assert.equal(hasSucceeded('clpbackup.sh : Shutting down...\nCommand succeeded.\n\n'), true);
    for (const odd of ['', 'Command succeeded.\nbut\n', 'Command failed.\n']) assert.equal(hasSucceeded(odd), false);
  });
});
