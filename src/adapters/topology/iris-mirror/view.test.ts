import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { chooseMember } from '../../../model/choose-member.ts';
import { type ClusterMember, type ClusterView, memberOf } from '../../../model/cluster.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import type { Asked } from './instance.ts';
import { parseAnswers } from './parse.ts';
import { parseMessages } from '../../../platform/parse-iris-messages.ts';
import type { Listed } from './parse-qlist.ts';
import { viewOf } from './view.ts';

const rows: readonly string[] = [
  'NODEA/IRIS^Primary^Active^N/A^N/A^N/A^N/A^Failover^Primary',
  'NODEB/IRIS^Backup^Active^Active^Caught up^Active^Caught up^Failover^Backup',
  'NODEC/IRIS^Async^Async^Caught up^Caught up^Caught up^Caught up^Disaster Recovery^Connected',
];

const common: Readonly<Record<string, string>> = {
  mirrors: 'STAGE',
  detail: '',
  settings: '1',
  heldoff: '',
  mark: '',
  qos: '8000',
  arbiter: 'arbiter|2188',
  this: 'NODEA/IRIS^Primary^Active',
  other: 'NODEB/IRIS^Backup^Active',
  ready: '1^',
  dejournal: '',
  now: '2023-06-13 07:30:00',
};
const ofPrimary = {
  ...common,
  ...{ member: '1', primary: '1', backup: '0', async: '0', status: 'PRIMARY', type: 'Failover', self: 'NODEA/IRIS' },
  ...{ transfer: '-1', apply: '-1,not connected' },
};
const ofBackup = {
  ...common,
  ...{ member: '1', primary: '0', backup: '1', async: '0', status: 'BACKUP', type: 'Failover', self: 'NODEB/IRIS' },
  ...{ transfer: '0', apply: '0', this: common['other'] ?? '', other: common['this'] ?? '' },
};
const ofAsync = {
  ...common,
  ...{ member: '2', primary: '0', backup: '0', async: '1', status: 'CONNECTED', self: 'NODEC/IRIS' },
  ...{ type: 'Disaster Recovery', transfer: '0', apply: '0', this: '^^', other: '^^', dejournal: 'running' },
};

interface Said {
  readonly values?: Readonly<Record<string, string | undefined>>;
  readonly rows?: readonly string[] | undefined;
  readonly databases?: readonly string[] | undefined;
  readonly missing?: readonly string[] | undefined;
  readonly listed?: Partial<Listed> | undefined;
  readonly log?: string | undefined;
  readonly used?: number;
}

const listed: Listed = {
  state: 'running',
  status: 'running',
  note: 'since Mon Jun 12 22:00:00 2023',
  health: 'ok',
  memberType: '',
  mirrorStatus: '',
  dataDirectory: '/isc',
  configuration: 'iris.cpf',
};

function numbered(name: string, lines: readonly string[] | undefined): string {
  if (lines === undefined) return '';
  return `${lines.map((line, at) => `SP:${name}=${at + 1}^${line}\n`).join('')}SP:${name}s=${lines.length}\n`;
}

function member(name: string, base: Readonly<Record<string, string>>, said: Said = {}): Asked {
  const values = Object.entries({ ...base, ...said.values }).filter(([, value]) => value !== undefined);
  const state = base['status'] === 'PRIMARY' ? 'Normal' : 'Dejournaling';
  const output = [
    ...values.map(([key, value]) => `SP:${key}=${value}\n`),
    numbered('row', 'rows' in said ? said.rows : rows),
    numbered('database', 'databases' in said ? said.databases : [`APP^${state}`]),
    numbered('missing', 'missing' in said ? said.missing : []),
    'SP:end=x\n',
  ].join('');
  return {
    name,
    member: base['self'] ?? '',
    listed: 'listed' in said && said.listed === undefined ? undefined : { ...listed, ...said.listed },
    answers: parseAnswers(output, 'x'),
    refusal: undefined,
    log: 'log' in said && said.log === undefined ? undefined : parseMessages(said.log ?? '').entries,
    space: said.used === undefined ? { freeBytes: 1e9, usedPercent: 10 } : { freeBytes: 1e6, usedPercent: said.used },
  };
}

function silent(name: string, of: string, more: Partial<Asked> = {}): Asked {
  const refusal = { login: false, said: 'its session did not end in time' };
  return { name, member: of, listed, answers: undefined, refusal, log: undefined, space: undefined, ...more };
}

const view = (db1: Asked, db2: Asked, ...more: readonly Asked[]): ClusterView => viewOf('STAGE', [db1, db2, ...more]);
const well = () => view(member('db1', ofPrimary), member('db2', ofBackup));
const find = (seen: ClusterView, name: string): ClusterMember => {
  const found = memberOf(seen, name);
  assert.ok(found, `${name} in the view`);
  return found;
};
const state = (seen: ClusterView): readonly string[] =>
  seen.members.map(({ name, role, health }) => [name, role, health].join(' '));
const checks = (seen: ClusterView, name: string): unknown =>
  find(seen, name).findings.map(({ severity, check }) => `${severity} ${check}`);

describe('a mirror that is well', () => {
  it('is seen whole, by the names of the configuration where there are any', () => {
    const seen = well();
    assert.deepEqual(state(seen), ['db1 primary healthy', 'db2 backup healthy', 'NODEC/IRIS async healthy']);
    assert.deepEqual(
      seen.members.map(({ mayTakeOver, transfer, apply, findings }) => [
        mayTakeOver,
        transfer?.ms,
        apply?.ms,
        findings,
      ]),
      [
        [false, undefined, undefined, []],
        [true, 0, 0, []],
        [false, 0, 0, []],
      ],
    );
    assert.deepEqual(
      [seen.quorum.kind, seen.quorum.health, seen.failover.detectionMs, seen.failover.heldOff, seen.findings],
      ['arbiter', 'healthy', 8000, false, []],
    );
    const choice = chooseMember({
      view: seen,
      policy: 'prefer-standby',
      reachable: new Set(['db1', 'db2']),
      maxLagMs: 0,
    });
    assert.equal(choice.member, 'db2');
    assert.equal(failoverMargin(seen, 'db1', { stunMs: 3749, holdMs: 0 }).allowed, true);
    assert.equal(failoverMargin(seen, 'db1', { stunMs: 3750, holdMs: 0 }).allowed, false);
  });

  it('is seen from one member too, and by an async one', () => {
    assert.deepEqual(state(viewOf('STAGE', [member('db1', ofPrimary)])), [
      'db1 primary healthy',
      'NODEB/IRIS backup healthy',
      'NODEC/IRIS async healthy',
    ]);
    const dr = viewOf('STAGE', [member('dr', ofAsync)]);
    assert.deepEqual(state(dr), ['dr async healthy', 'NODEA/IRIS primary healthy', 'NODEB/IRIS backup healthy']);
    assert.equal(dr.quorum.health, 'unknown');
    assert.equal(dr.failover.heldOff, undefined);
  });

  it('is understood as it was published', () => {
    const file = join(import.meta.dirname, '../../../../test/transcripts/iris-member-status-list.txt');
    const published = readFileSync(file, 'utf8').trim().split('\n').slice(1);
    const [first = '', second = ''] = published.map((line) => line.split(':')[0]);
    const values = { self: first, this: `${first}^Primary^Active`, other: `${second}^Backup^Active` };
    const list = published.map((line) => line.replaceAll(':', '^').replace(/\^$/, ''));
    const seen = viewOf('STAGE', [member('db1', { ...ofPrimary, ...values }, { rows: list })]);
    assert.deepEqual(state(seen), [
      'db1 primary healthy',
      'DBSL2.EXAMPLE/STAGE backup healthy',
      'DRSL.EXAMPLE/STAGE async healthy',
    ]);
    assert.deepEqual(
      seen.members.map(({ transfer, apply }) => [transfer?.caughtUp, apply?.caughtUp]),
      [
        [undefined, undefined],
        [true, true],
        [true, true],
      ],
    );
  });

  it('needs no arbiter, and then says who is asked', () => {
    const none = { values: { arbiter: '' } };
    const seen = view(member('db1', ofPrimary, none), member('db2', ofBackup, none));
    assert.deepEqual([seen.quorum.kind, seen.quorum.health], ['none', 'healthy']);
    assert.match(seen.failover.said, /agent controlled, trouble timeout 16000 ms/);
    const quick = { values: { arbiter: '', qos: '2000' } };
    assert.match(view(member('db1', ofPrimary, quick), member('db2', ofBackup, quick)).failover.said, /5000 ms/);
  });
});

describe('a member that is not well', () => {
  const sick: readonly (readonly [string, Said])[] = [
    ['its own status', { values: { status: 'TRANSITION' } }],
    ['in trouble', { values: { detail: 'Trouble' } }],
    ['an unknown detail', { values: { detail: 'トラブル' } }],
    ['no status', { values: { status: undefined } }],
    ['the pair says catchup', { values: { this: 'NODEB/IRIS^Backup^Catchup' } }],
    ['another name', { values: { self: 'NODEX/IRIS' } }],
    ['another mirror', { values: { mirrors: 'OTHER' } }],
    ['no mirror', { values: { member: '0', mirrors: '', backup: '0', status: 'NOTINIT' } }],
    ['both roles', { values: { primary: '1' } }],
    ['no role', { values: { backup: '0' } }],
    ['hung', { listed: { health: 'hung' } }],
    ['starting', { listed: { state: 'changing' } }],
    ['a status of qlist that nobody knows', { listed: { state: 'unknown' } }],
    ['the instance went down meanwhile', { listed: { state: 'down' } }],
  ];
  for (const [what, said] of sick) {
    it(`by ${what}`, () => {
      const seen = view(member('db1', ofPrimary), member('db2', ofBackup, said));
      assert.notEqual(find(seen, 'db2').health, 'healthy');
      assert.equal(failoverMargin(seen, 'db1', { stunMs: 1, holdMs: 0 }).allowed, false, 'one member at a time');
    });
  }

  it('by the word of another: the worst that is said counts', () => {
    const of = (row: string) => {
      const others = { rows: [rows[0] ?? '', row, rows[2] ?? ''] };
      return view(member('db1', ofPrimary, others), member('db2', ofBackup));
    };
    const cases: readonly (readonly [string, string])[] = [
      ['NODEB/IRIS^Backup^Trouble^Active^Caught up^Active^Caught up^Failover^Backup', 'trouble'],
      ['NODEB/IRIS^Unknown^Down^N/A^N/A^N/A^N/A^Failover^Down', 'trouble'],
      ['NODEB/IRIS^Backup^活动^Active^Caught up^Active^Caught up^Failover^备机', 'unknown'],
    ];
    for (const [row, health] of cases) assert.equal(find(of(row), 'db2').health, health, row);
  });

  it('that is not asked is as the others say', () => {
    const down = 'NODEB/IRIS^Unknown^Down^N/A^N/A^N/A^N/A^Failover^Down';
    const pair = { other: 'NODEB/IRIS^^Down' };
    const seen = viewOf('STAGE', [
      member('db1', ofPrimary, { rows: [rows[0] ?? '', down, rows[2] ?? ''], values: pair }),
    ]);
    assert.deepEqual(state(seen), ['db1 primary healthy', 'NODEB/IRIS unknown down', 'NODEC/IRIS async healthy']);
    assert.equal(find(seen, 'NODEB/IRIS').mayTakeOver, true);
  });

  it('that does not answer is down where its instance is, else unknown', () => {
    const asked = member('db1', ofPrimary);
    assert.deepEqual(state(view(asked, silent('db2', 'NODEB/IRIS'))), [
      'db1 primary healthy',
      'db2 backup unknown',
      'NODEC/IRIS async healthy',
    ]);
    for (const [gone, health] of [
      ['down', 'down'],
      ['crashed', 'down'],
      ['changing', 'trouble'],
    ] as const) {
      const db2 = silent('db2', 'NODEB/IRIS', { listed: { ...listed, state: gone, status: gone } });
      assert.equal(find(view(asked, db2), 'db2').health, health);
      assert.match(find(view(asked, db2), 'db2').reported, new RegExp(`instance ${gone}`));
    }
    assert.equal(find(view(asked, silent('db2', 'NODEB/IRIS', { listed: undefined })), 'db2').health, 'unknown');
  });

  it('takes its role from qlist while nobody can log in, and none where voices differ', () => {
    const dr = silent('dr', 'NODED/IRIS', {
      listed: { ...listed, memberType: 'Disaster Recovery', mirrorStatus: 'Connected' },
    });
    assert.equal(find(view(member('db1', ofPrimary), dr), 'dr').role, 'async');
    const odd = silent('db2', 'NODEB/IRIS', { listed: { ...listed, memberType: 'Failover', mirrorStatus: 'Primary' } });
    assert.equal(find(view(member('db1', ofPrimary), odd), 'db2').role, 'unknown');
    const lone = silent('x', 'NODEX/IRIS', { refusal: undefined });
    const seen = view(member('db1', ofPrimary), lone);
    assert.deepEqual(
      [find(seen, 'x').role, find(seen, 'x').health, find(seen, 'x').mayTakeOver],
      ['unknown', 'unknown', true],
    );
    assert.match(find(seen, 'x').reported, /no answer/);
  });

  it('is nobody healthy when no list came through whole, or when a list does not name him', () => {
    const none = { rows: undefined };
    assert.deepEqual(state(view(member('db1', ofPrimary, none), member('db2', ofBackup, none))), [
      'db1 primary unknown',
      'db2 backup unknown',
    ]);
    const short = { rows: rows.slice(0, 1) };
    assert.deepEqual(state(view(member('db1', ofPrimary, short), member('db2', ofBackup, short))), [
      'db1 primary healthy',
      'db2 backup unknown',
    ]);
  });
});

describe('words that nobody knows', () => {
  const known = /^\s*(?:primary|backup|connected|active|async)\s*$/i;
  const unknown = fc
    .oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('プライマリ', 'バックアップ', '活动', '备机', '已连接', 'アクティブ'),
    )
    .filter((word) => !known.test(word) && !/[\^\r\n]/.test(word));

  it('never make a member healthy, wherever they stand', () => {
    fc.assert(
      fc.property(unknown, fc.constantFrom('status', 'display', 'own', 'detail', 'pair'), (word, where) => {
        const row = (rows[1] ?? '').split('^');
        if (where === 'status') row[2] = word;
        if (where === 'display') row[8] = word;
        const list = { rows: [rows[0] ?? '', row.join('^'), rows[2] ?? ''] };
        // An empty detail is the usual one.
        const detail = where === 'detail' && word.trim() !== '' ? word : where === 'detail' ? 'x' : '';
        const own: Said = {
          values: {
            ...(where === 'own' ? { status: word } : {}),
            ...(where === 'pair' ? { this: `NODEB/IRIS^Backup^${word}` } : {}),
            detail,
          },
        };
        const seen = view(member('db1', ofPrimary, list), member('db2', ofBackup, own));
        assert.notEqual(find(seen, 'db2').health, 'healthy');
      }),
    );
  });

  it('never give a member that is not asked a role, nor the right to be passed over', () => {
    fc.assert(
      fc.property(unknown, (word) => {
        const row = `NODEB/IRIS^${word}^${word}^${word}^${word}^${word}^${word}^${word}^${word}`;
        const seen = viewOf('STAGE', [
          member('db1', ofPrimary, { rows: [rows[0] ?? '', row], values: { other: undefined } }),
        ]);
        const { role, health, mayTakeOver, transfer } = find(seen, 'NODEB/IRIS');
        assert.deepEqual([role, mayTakeOver], ['unknown', true]);
        assert.notEqual(health, 'healthy');
        if (!/^\s*(?:n\/a|active|caught up|0+)?\s*$/i.test(word)) assert.notEqual(transfer?.caughtUp, true);
      }),
    );
  });
});

describe('lags of a member', () => {
  it('are the worst of its own figures and of what is told', () => {
    const of = (own: Record<string, string>, time = 'Active', plain = 'Active') => {
      const row = `NODEB/IRIS^Backup^Active^${plain}^Caught up^${time}^Caught up^Failover^Backup`;
      const list = { rows: [rows[0] ?? '', row, rows[2] ?? ''] };
      return find(view(member('db1', ofPrimary, list), member('db2', ofBackup, { ...list, values: own })), 'db2');
    };
    assert.deepEqual(of({ transfer: '3' }).transfer, { ms: 3000, caughtUp: undefined });
    assert.deepEqual(of({ apply: '-1,gone' }).apply, { ms: 0, caughtUp: true });
    assert.deepEqual(of({}, '4 seconds behind', '123456').transfer, { ms: 4000, caughtUp: undefined });
    assert.equal(of({}, 'Disconnected on 06/13/2023 07:16:26').transfer?.caughtUp, false);
    assert.equal(of({}, 'Warning! Dejournaling is stopped.').transfer?.caughtUp, false);
  });
});

describe('who decides', () => {
  it('is an arbiter that is proved only by a pair that is ready', () => {
    const cases: readonly (readonly [Record<string, string | undefined>, RegExp])[] = [
      [{ ready: '0^Arbiter mode is not on' }, /Arbiter mode is not on/],
      [{ ready: undefined }, /no failover member says/],
      [{ ready: '0^' }, /no failover member says/],
      [{ settings: '0' }, /whether there is an arbiter is not known/],
    ];
    for (const [values, said] of cases) {
      const { quorum } = view(member('db1', ofPrimary, { values }), member('db2', ofBackup, { values }));
      assert.deepEqual([quorum.kind, quorum.health], ['arbiter', 'unknown']);
      assert.match(quorum.said, said);
    }
    const one = view(member('db1', ofPrimary), member('db2', ofBackup, { values: { ready: '0^Lost' } }));
    assert.equal(one.quorum.health, 'unknown', 'both must say so');
  });

  it('acts after the smallest timeout, and an unknown one refuses', () => {
    const seen = view(member('db1', ofPrimary), member('db2', ofBackup, { values: { qos: '5000' } }));
    assert.equal(seen.failover.detectionMs, 5000);
    assert.deepEqual(
      seen.findings.map(({ check }) => check),
      ['qos'],
    );
    const none = { values: { qos: '' } };
    const blind = view(member('db1', ofPrimary, none), member('db2', ofBackup, none));
    assert.equal(blind.failover.detectionMs, undefined);
    assert.deepEqual(
      failoverMargin(blind, 'db1', { stunMs: 1, holdMs: 0 }).risks.map(({ code }) => code),
      ['detection-unknown'],
    );
    const long = { values: { qos: '60000' } };
    assert.match(
      view(member('db1', ofPrimary, long), member('db2', ofBackup, long)).findings[0]?.said ?? '',
      /60000 ms/,
    );
  });

  it('is held off only if all know it, and for who is primary now', () => {
    const held = (db1: string, db2: string) =>
      view(
        member('db1', ofPrimary, { values: { heldoff: db1 } }),
        member('db2', ofBackup, { values: { heldoff: db2 } }),
      );
    assert.equal(held('NODEA/IRIS', 'nodea/iris').failover.heldOff, true);
    assert.deepEqual(held('NODEA/IRIS', 'NODEA/IRIS').findings, []);
    const half = held('NODEA/IRIS', '');
    assert.equal(half.failover.heldOff, false);
    assert.match(half.findings[0]?.said ?? '', /db1: NODEA\/IRIS, db2: nobody/);
    assert.equal(held('NODEB/IRIS', 'NODEB/IRIS').failover.heldOff, false, 'the backup alone may be primary');
    const lost = viewOf('STAGE', [member('db1', ofPrimary, { values: { settings: '0' } })]);
    assert.equal(lost.failover.heldOff, undefined);
  });
});

describe('nobody can say', () => {
  it('who is primary when two say so themselves', () => {
    assert.throws(() => view(member('db1', ofPrimary), member('db2', { ...ofPrimary, self: 'NODEB/IRIS' })), {
      code: 'cluster-unknown',
      message: /more than one primary: db1 .* and db2/,
    });
  });

  it('anything when nobody answers, and rights are another matter', () => {
    assert.throws(
      () => viewOf('STAGE', [silent('db1', 'NODEA/IRIS'), silent('db2', 'NODEB/IRIS', { refusal: undefined })]),
      {
        code: 'cluster-unknown',
        message: /db1: its session did not end in time; db2: no answer/,
      },
    );
    const refused = silent('db1', 'NODEA/IRIS', { refusal: { login: true, said: 'the login was refused' } });
    assert.throws(() => viewOf('STAGE', [refused]), { code: 'database-login' });
  });

  it('is no error while there is no primary', () => {
    const waits = { values: { primary: '0', backup: '0', status: 'TRANSITION' } };
    const seen = view(member('db1', ofPrimary, waits), member('db2', ofBackup, waits));
    assert.deepEqual(state(seen).slice(0, 2), ['db1 unknown trouble', 'db2 unknown trouble']);
    assert.match(seen.epoch, /^nobody; db1 since .*; db2 since /);
  });
});

describe('the epoch', () => {
  it('is the primary and the start of its instance', () => {
    assert.equal(well().epoch, 'db1 since Mon Jun 12 22:00:00 2023');
    const again = { listed: { note: 'since Tue Jun 13 07:00:00 2023' } };
    assert.notEqual(view(member('db1', ofPrimary, again), member('db2', ofBackup)).epoch, well().epoch);
    assert.equal(view(member('db1', ofPrimary), member('db2', ofBackup, again)).epoch, well().epoch);
  });

  it('is made of the other failover members where the primary’s machine is not asked', () => {
    const of = (note: string, dr = 'x') =>
      viewOf('STAGE', [member('db2', ofBackup, { listed: { note } }), member('dr', ofAsync, { listed: { note: dr } })])
        .epoch;
    assert.equal(of('since 1'), 'NODEA/IRIS; db2 since 1');
    assert.notEqual(of('since 1'), of('since 2'));
    assert.equal(of('since 1', 'y'), of('since 1', 'z'));
    assert.match(
      view(member('db1', ofPrimary, { listed: undefined }), member('db2', ofBackup)).epoch,
      /^db1; db1 not known; db2 since/,
    );
  });
});

describe('findings', () => {
  const of = (base: Readonly<Record<string, string>>, said: Said) =>
    viewOf('STAGE', [member(base === ofAsync ? 'dr' : base === ofBackup ? 'db2' : 'db1', base, said)]);

  it('stand against a member whose databases are not all there', () => {
    const cases: readonly (readonly [Readonly<Record<string, string>>, Said, unknown])[] = [
      [ofBackup, { databases: ['APP^Dejournaling Stopped', 'X^Dejournaling'] }, ['error databases']],
      [ofBackup, { databases: ['APP^停止'] }, ['error databases']],
      [ofBackup, { databases: ['APP^'] }, ['error databases']],
      [ofBackup, { databases: undefined }, ['error databases']],
      [ofBackup, { missing: ['APP', 'X'] }, ['error missing']],
      [ofBackup, { missing: undefined }, ['error missing']],
      [ofPrimary, { databases: undefined, missing: undefined }, ['warning databases', 'warning missing']],
      [ofAsync, { values: { dejournal: 'shut down' } }, ['error dejournal']],
      [ofAsync, { values: { dejournal: undefined } }, ['error dejournal']],
      [ofBackup, { values: { self: undefined, mirrors: '' } }, ['error name', 'error mirror']],
      [ofBackup, { listed: { health: 'alert' } }, ['warning health']],
      [ofBackup, { listed: { health: 'warn' } }, ['warning health']],
      [ofBackup, { used: 90 }, ['warning journal-disk']],
    ];
    for (const [base, said, expected] of cases) {
      const seen = of(base, said);
      assert.deepEqual(checks(seen, seen.members[0]?.name ?? ''), expected, JSON.stringify(said));
    }
  });

  it('quote the log of the last hour, the newest lines of it', () => {
    const line = (at: string, text: string, severity = 2) =>
      `06/13/23-${at}:000 (1) ${severity} [Utility.Event] ${text}\n`;
    const many = Array.from({ length: 7 }, (_, n) => line(`07:1${n}:00`, `Arbiter connection lost ${n}`)).join('');
    const seen = of(ofPrimary, {
      log: line('06:00:00', 'Mirror is old') + many + line('07:20:00', 'Becoming primary mirror server'),
    });
    assert.deepEqual(checks(seen, 'db1'), ['warning takeover', ...Array(5).fill('warning messages'), 'info messages']);
    assert.deepEqual(
      find(seen, 'db1')
        .findings.map(({ said }) => said)
        .filter((_, at) => at === 0 || at === 1 || at === 6),
      [
        '07:20:00 (its time): Becoming primary mirror server',
        '07:12:00 (its time): Arbiter connection lost 2',
        'and 2 more within the last hour',
      ],
    );
    assert.deepEqual(checks(of(ofPrimary, { log: undefined }), 'db1'), ['warning messages']);
    assert.deepEqual(checks(of(ofPrimary, { values: { now: undefined } }), 'db1'), ['warning messages']);
  });

  it('quote alerts.log, but nothing twice', () => {
    const line = (at: string, text: string, severity = 2) => `06/13/23-${at}:000 (1) ${severity} [E] ${text}\n`;
    const lost = line('07:10:00', 'Arbiter connection lost');
    const seen = (alerts: string, log = lost) =>
      viewOf('STAGE', [{ ...member('db1', ofPrimary, { log }), alerts: parseMessages(alerts) }]);
    const disk = line('07:11:00', 'Disk of the printer is full', 3);
    const told = lost + disk + line('06:00:00', 'Old one') + line('07:12:00', 'No alert', 1);
    assert.deepEqual(checks(seen(told), 'db1'), ['warning messages', 'warning alerts']);
    assert.match(
      JSON.stringify(find(seen(told), 'db1').findings),
      /07:11:00 \(its time\), alerts\.log: Disk of the printer/,
    );
    const unread = viewOf('STAGE', [
      { ...member('db1', ofPrimary, { log: undefined }), alerts: parseMessages(told) },
      { ...member('db2', ofBackup, { values: { now: undefined } }), alerts: parseMessages(told) },
    ]);
    assert.deepEqual(checks(unread, 'db1'), ['warning messages', 'warning alerts', 'warning alerts']);
    assert.deepEqual(checks(unread, 'db2'), ['warning messages']);
    assert.deepEqual(checks(seen(disk.repeat(7), ''), 'db1'), [
      ...Array<string>(5).fill('warning alerts'),
      'info alerts',
    ]);
    assert.deepEqual(checks(seen('', ''), 'db1'), []);
    assert.deepEqual(checks(seen('who knows\n', ''), 'db1'), ['info alerts']);
  });

  it('say of a silent member why, and of a disk that is not known that', () => {
    const seen = view(member('db1', ofPrimary), silent('db2', 'NODEB/IRIS'));
    assert.deepEqual(checks(seen, 'db2'), ['warning session']);
    const blind = viewOf('STAGE', [{ ...member('db1', ofPrimary), space: undefined }]);
    assert.deepEqual(checks(blind, 'db1'), ['warning journal-disk']);
  });
});
