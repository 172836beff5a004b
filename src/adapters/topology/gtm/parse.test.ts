import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  complaintOf,
  isDenied,
  parseAcknowledged,
  parseInstance,
  parseJournalFiles,
  parseJournalHeader,
  parseOwners,
  parsePool,
  parseProcesses,
  parseReceived,
  parseReceiver,
  parseRegions,
  poolTrouble,
} from './parse.ts';

function transcript(name: string): string {
  return readFileSync(new URL(`../../../../test/transcripts/gtm-7.0-${name}.txt`, import.meta.url), 'utf8');
}

describe('the instance file', () => {
  it('that was never used', () => {
    assert.deepEqual(parseInstance(transcript('repl-instance-new')), {
      ...{ instance: 'A', rootPrimary: false, open: false, next: 0n, supplementary: false },
      ...{ group: undefined, poolMemory: undefined, secondaries: [], history: [] },
    });
  });

  it('of a root primary that runs', () => {
    const { group, poolMemory, history, ...rest } = parseInstance(transcript('repl-instance-primary')) ?? {};
    assert.deepEqual(rest, {
      ...{ instance: 'A', rootPrimary: true, open: true, next: 1n, supplementary: false, secondaries: ['B'] },
    });
    assert.match(group ?? '', /^A\.\d+\.20261121\d{6}$/);
    assert.match(poolMemory ?? '', /^\d+$/);
    assert.deepEqual(
      history?.map(({ primary, start }) => [primary, start]),
      [['A', 1n]],
    );
  });

  it('after a switchover, with both histories', () => {
    const { rootPrimary, history } = parseInstance(transcript('repl-instance-switched')) ?? {};
    assert.equal(rootPrimary, false);
    assert.deepEqual(
      history?.map(({ primary, start, creator }) => [primary, start, creator]),
      [
        ['A', 1n, '15647'],
        ['B', 4n, '16133'],
      ],
    );
    assert.match(history?.[1]?.created ?? '', /^2026\/11\/21 \d\d:\d\d:\d\d$/);
  });

  it('after a crash', () => {
    assert.equal(parseInstance(transcript('repl-instance-crashed'))?.open, true);
  });

  it('of which a line is missing', () => {
    const whole = transcript('repl-instance-primary');
    const without = (line: RegExp): ReturnType<typeof parseInstance> =>
      parseInstance(
        whole
          .split('\n')
          .filter((each) => !line.test(each))
          .join('\n'),
      );
    for (const line of [/^HDR Instance Name/, /^HDR Journal Sequence/, /^HDR Root Primary  /, /^HDR Crash/]) {
      assert.equal(without(line), undefined, String(line));
    }
    for (const line of [/LMS Group Instance/, /LMS Group Creator/, /LMS Group Create Time/]) {
      assert.equal(without(line)?.group, undefined, String(line));
    }
    assert.equal(without(/Journal Pool Shm Id/)?.poolMemory, undefined);
    assert.deepEqual(without(/Root Primary Instance Name/)?.history, []);
    assert.deepEqual(without(/: Start Sequence/)?.history, []);
    assert.deepEqual(
      without(/HST.*Creat/)?.history.map(({ created, creator }) => created + creator),
      [''],
    );
    assert.deepEqual(without(/SLT.*Secondary/)?.secondaries, []);
    const odd = parseInstance(whole.replace(/(HDR Root Primary +)TRUE/, '$1MAYBE'));
    assert.equal(odd, undefined);
    assert.equal(parseInstance(whole.replace(/(HDR Journal Sequence Number +)\d+ \[.*/, '$1none'))?.next, 0n);
  });
});

describe('the pool', () => {
  it('of a primary', () => {
    const { sources, ...rest } = parsePool(transcript('repl-pool-primary')) ?? { sources: [] };
    assert.deepEqual(rest, { posted: 3n, updatesDisabled: false, frozen: undefined });
    assert.deepEqual(
      sources.map(({ pid, ...each }) => ({ ...each, runs: pid > 0 })),
      [{ secondary: 'B', mode: 'ACTIVE', state: 'SENDING_JNLRECS', runs: true }],
    );
  });

  it('of a primary that nobody is connected to', () => {
    assert.equal(parsePool(transcript('repl-pool-waiting'))?.sources[0]?.state, 'WAITING_FOR_CONNECTION');
  });

  it('of a replica', () => {
    const { posted, updatesDisabled, sources } = parsePool(transcript('repl-pool-replica')) ?? {};
    assert.deepEqual([posted, updatesDisabled], [3n, true]);
    assert.deepEqual(
      sources?.map(({ secondary, mode, state }) => [secondary, mode, state]),
      [['A', 'PASSIVE', 'START']],
    );
  });

  it('of an instance that is frozen, with and without a comment', () => {
    const frozen = transcript('repl-pool-frozen');
    assert.equal(parsePool(frozen)?.frozen, 'backup');
    assert.equal(parsePool(frozen.replace(/(Freeze Comment +)backup/, '$1a word or two'))?.frozen, 'a word or two');
    assert.equal(parsePool(frozen.replace(/^CTL Freeze Comment.*\n/m, ''))?.frozen, '');
  });

  it('that is none', () => {
    const none = transcript('repl-pool-none');
    const crashed = transcript('repl-pool-crashed');
    assert.deepEqual([parsePool(none), poolTrouble(none)], [undefined, 'closed']);
    assert.deepEqual([parsePool(crashed), poolTrouble(crashed)], [undefined, 'crashed']);
    assert.equal(poolTrouble('%GTM-E-REPLINSTOPEN, Error opening'), undefined);
  });

  it('of which something is missing is never "not frozen"', () => {
    const whole = transcript('repl-pool-primary');
    for (const line of [/^CTL Freeze .*\n/m, /^CTL Journal Seqno.*\n/m, /^CTL Updates Disabled.*\n/m]) {
      assert.equal(parsePool(whole.replace(line, '')), undefined, String(line));
    }
    assert.deepEqual(parsePool(whole.replace(/^SRC.*Source Server Pid.*\n/m, ''))?.sources, []);
    assert.deepEqual(parsePool(whole.replace(/^SRC.*Secondary Instance Name.*\n/m, ''))?.sources, []);
    const bare = whole.replace(/^SRC.*Source Server Mode.*\n/m, '').replace(/^SRC.*Processing State.*\n/m, '');
    assert.deepEqual(
      parsePool(bare)?.sources.map(({ mode, state }) => [mode, state]),
      [['unknown', 'unknown']],
    );
  });
});

describe('servers', () => {
  it('their figures', () => {
    assert.deepEqual([...parseAcknowledged(transcript('repl-backlog-primary'))], [['B', 3n]]);
    assert.deepEqual([...parseAcknowledged(transcript('repl-backlog-replica'))], [['A', 0n]]);
    const wentBack = transcript('repl-backlog-primary').replace(/(sent +: )\d+/, (_, what: string) => `${what}2`);
    assert.deepEqual([...parseAcknowledged(wentBack)], [['B', 2n]]);
    assert.deepEqual([...parseAcknowledged(transcript('repl-backlog-primary').replace(/.*acknowledged.*\n/, ''))], []);
    assert.deepEqual([...parseAcknowledged(transcript('repl-backlog-primary').replace(/.* sent .*\n/, ''))], []);
    assert.deepEqual([...parseAcknowledged('%GTM-E-NOJNLPOOL, none')], []);
    assert.equal(parseReceived(transcript('repl-received')), 3n);
    assert.equal(parseReceived(transcript('repl-receiver-none')), undefined);
  });

  it('of a replica, dead or alive: the process tells which', () => {
    const alive = parseReceiver(transcript('repl-receiver-alive'));
    const dead = parseReceiver(transcript('repl-receiver-dead'));
    for (const each of [alive, dead]) assert.ok(each !== undefined && each.receiver > 0 && each.update > 0);
    assert.equal(parseReceiver(transcript('repl-receiver-none')), undefined);
    assert.equal(parseReceiver('PID 12 Receiver server is alive'), undefined);
  });

  it('as processes, with what is attached', () => {
    const text = [
      '       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime',
      '  10012388    1048577   600                    56 22838 22843      0   101   104   101   104 1795250739',
      '-559038737   76611659   666              11591680 22838 22843      3     0     0     0     0 1795250739',
      '12247 (mupip) S 1 12247 12247 0 -1 4194304',
      '12255 (mupip) T 1 12255 12255 0 -1 4194304',
      '12256 (mupip) Z 1 12255 12255 0 -1 4194304',
      '12257 (bash) S 1 12255 12255 0 -1 4194304',
    ].join('\n');
    const { mupip, attached } = parseProcesses(text);
    assert.deepEqual(
      [...mupip],
      [
        [12247, 'S'],
        [12255, 'T'],
      ],
    );
    assert.deepEqual(
      [...(attached ?? [])],
      [
        ['1048577', 0],
        ['76611659', 3],
      ],
    );
    assert.equal(parseProcesses('cat: /proc/sysvipc/shm: No such file or directory').attached, undefined);
  });
});

it('reads replication of regions', () => {
  assert.deepEqual(parseRegions(transcript('repl-dse-was-on')), [
    { region: 'DEFAULT', replication: 'ON', next: 6n },
    { region: 'SECOND', replication: 'WAS_ON', next: 20_007n },
  ]);
  const free = parseRegions(transcript('dse-all-free'));
  assert.ok(free?.length === 2 && free.every(({ replication }) => replication === 'OFF'));
  const odd = transcript('repl-dse-was-on').replaceAll(
    /Replication State +(\[WAS_ON\] OFF|ON)/g,
    'Replication State   ODD',
  );
  assert.ok(parseRegions(odd)?.every(({ replication }) => replication === 'unknown'));
  assert.equal(parseRegions(transcript('repl-dse-was-on').replaceAll(/Region Seqno.*/g, ''))?.[0]?.next, 0n);
  const one = transcript('repl-dse-was-on').replace(
    /^File.*$/m,
    '%GTM-E-REQROLLBACK, Error accessing database /srv/gtm/a/a.dat',
  );
  assert.equal(parseRegions(one), undefined);
  assert.equal(parseRegions(''), undefined);
});

it('reads who asks and who owns', () => {
  assert.deepEqual(parseOwners('0:0\n65534:65534\n'), [
    { uid: 0, gid: 0 },
    { uid: 65_534, gid: 65_534 },
  ]);
  for (const text of ['', '0:0\n', '0:0\n1:1\n2:2\n']) assert.equal(parseOwners(text), undefined);
});

it('says what a program complained of', () => {
  const denied =
    '%GTM-E-REPLINSTOPEN, Error opening replication instance file /srv/gtm/a/app.repl\n%SYSTEM-E-ENO13, Permission denied\n';
  assert.equal(complaintOf(denied), denied.trim().replace('\n', '; '));
  assert.deepEqual([isDenied(denied), isDenied('%SYSTEM-E-ENO2, No such file or directory')], [true, false]);
  assert.equal(complaintOf('one\ntwo\nthree\n\n'), 'two; three');
  assert.equal(complaintOf('%GTM-I-TEXT, only that'), '%GTM-I-TEXT, only that');
  assert.equal(complaintOf(' \n'), 'it said nothing');
});

describe('journal files', () => {
  it('are named by the dump of all regions', () => {
    assert.deepEqual(parseJournalFiles(transcript('dse-all-free')), ['/srv/gtm/g.mjl', '/srv/gtm/h.mjl']);
    assert.deepEqual(parseJournalFiles('Journal State  DISABLED'), []);
  });

  it('tell with which update they begin, and what came before', () => {
    const text = transcript('journal-header');
    assert.deepEqual(parseJournalHeader(text), { previous: '/srv/gtm/a/a.mjl_2026325195649_0', start: 51n });
    const first = text.replace(/(Prev journal file name) .*/, '$1 ');
    assert.deepEqual(parseJournalHeader(first), { previous: undefined, start: 51n });
    assert.equal(parseJournalHeader(text.replace(/ Start Region.*\n/, '')), undefined);
    assert.equal(parseJournalHeader('%GTM-E-FILENOTFND, File not found'), undefined);
  });
});
