import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  bendIndex,
  checkFindings,
  complaintsIn,
  dataSetOf,
  globalPrivileges,
  isOn,
  logPositionsOf,
  isTooOld,
  lastWords,
  listeningSockets,
  memberFrom,
  missingOf,
  parseLink,
  parseVersion,
  prefixLength,
  replicaFiles,
  systemFiles,
  variablesOf,
} from './parse.ts';

const server = { hostname: 'db1', port: '3306', server_id: '7', read_only: 'OFF', log_bin: 'ON', gtid_slave_pos: '' };
const channel = { Slave_IO_Running: 'Yes', Slave_SQL_Running: 'Yes', Master_Server_Id: '3', Connection_name: '' };
const stopped = { ...channel, Slave_IO_Running: 'No', Slave_SQL_Running: 'No' };

describe('what a MariaDB server says of itself', () => {
  it('reads variables, also those without a value', () => {
    const rows = [{ Variable_name: 'port', Value: '3306' }, { Variable_name: 'x', Value: null }, { Value: 'y' }];
    assert.deepEqual(variablesOf(rows), { port: '3306', x: '', '': 'y' });
    const positions = [
      { Variable_name: 'Innodb_lsn_current', Value: '52' },
      { Variable_name: 'Innodb_lsn_flushed', Value: '41' },
    ];
    assert.deepEqual(logPositionsOf(positions), { current: 52, flushed: 41 });
    assert.deepEqual(logPositionsOf([]), { current: Number.NaN, flushed: Number.NaN });
    assert.deepEqual(['ON', '1', 'YES', 'OFF', undefined].map(isOn), [true, true, true, false, false]);
  });

  it('tells MariaDB from MySQL, and old from new', () => {
    const told = (text: string): unknown => {
      const version = parseVersion(text);
      return version === undefined ? undefined : [version.text, version.isMariadb, isTooOld(version)];
    };
    assert.deepEqual(told('10.11.19-MariaDB-0+deb12u1-log'), ['10.11.19', true, false]);
    assert.deepEqual(told('mariadbd  Ver 11.4.2-MariaDB for Linux on x86_64'), ['11.4.2', true, false]);
    assert.deepEqual(told('10.4.34-MariaDB'), ['10.4.34', true, true]);
    assert.deepEqual(told('8.0.36'), ['8.0.36', false, true]);
    assert.equal(told('nothing'), undefined);
  });

  it('calls who takes writes primary, and one without a binary log a server of its own', () => {
    assert.deepEqual(memberFrom(server, []), { member: 'db1:3306', role: 'primary', epoch: '7 after nobody' });
    assert.equal(memberFrom({ ...server, log_bin: 'OFF' }, []).role, 'standalone');
    assert.equal(memberFrom({ ...server, read_only: 'ON' }, []).role, 'primary');
    assert.equal(memberFrom(server, [stopped]).role, 'primary', 'a person made it primary');
    assert.deepEqual(memberFrom({}, []), { member: ':', role: 'standalone', epoch: ' after nobody' });
  });

  it('gives a primary another epoch once it had followed somebody', () => {
    const epoch = memberFrom({ ...server, gtid_slave_pos: '1-3-9, 0-3-12' }, []).epoch;
    assert.equal(epoch, '7 after 0-3-12,1-3-9');
  });

  it('calls who follows a replica, with an epoch that does not move with its position', () => {
    const replica = memberFrom({ ...server, read_only: 'ON', gtid_slave_pos: '0-3-12' }, [channel]);
    assert.deepEqual(replica, { member: 'db1:3306', role: 'replica', epoch: '7 from 3' });
    assert.equal(memberFrom({ ...server, read_only: 'READ_ONLY' }, [stopped]).role, 'replica');
    assert.equal(memberFrom(server, [channel]).role, 'replica', 'it takes writes and follows');
    assert.equal(memberFrom(server, [{ ...stopped, Slave_SQL_Running: 'Yes' }]).role, 'replica');
    assert.equal(
      memberFrom(server, [
        { ...channel, Master_Server_Id: '9' },
        { ...channel, Master_Server_Id: null },
      ]).epoch,
      '7 from ,9',
    );
  });

  it('names the files from which a replica goes on', () => {
    assert.deepEqual(replicaFiles([channel, {}]), ['master.info', 'relay-log.info', 'multi-master.info']);
    assert.deepEqual(replicaFiles([{ Connection_name: 'East' }]).slice(3), ['master-east.info', 'relay-log-east.info']);
  });
});

describe('privileges', () => {
  const wanted = ['RELOAD', 'BINLOG MONITOR', 'REPLICA MONITOR'];
  const of = (...grants: readonly string[]): readonly string[] =>
    missingOf(globalPrivileges(grants.map((text) => ({ 'Grants for x': text }))), wanted);

  it('are those on everything, by old names too', () => {
    assert.deepEqual(of('GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION'), []);
    assert.deepEqual(of('GRANT RELOAD, BINLOG MONITOR, SLAVE MONITOR ON *.* TO `b`@`%`'), []);
    assert.deepEqual(
      of('GRANT RELOAD ON *.* TO `b`@`%`', 'GRANT `monitor` TO `b`@`%`', 'GRANT SUPER ON *.* TO `r`'),
      [],
    );
    assert.deepEqual(of('GRANT ALL PRIVILEGES ON `app`.* TO `b`@`%`'), wanted);
    assert.deepEqual(missingOf(globalPrivileges([{ a: null }]), ['RELOAD']), ['RELOAD']);
  });
});

describe('files of MariaDB', () => {
  it('reads the list of the system tablespace', () => {
    assert.deepEqual(systemFiles('ibdata1:12M;/more/ibdata2:1G:autoextend;'), [
      { path: 'ibdata1', rest: '12M', raw: false },
      { path: '/more/ibdata2', rest: '1G:autoextend', raw: false },
    ]);
    assert.deepEqual(
      systemFiles('/dev/sda:3Graw;/dev/sdb:3Gnewraw').map(({ raw }) => raw),
      [true, true],
    );
  });

  it('reads a link to a tablespace', () => assert.equal(parseLink('/ext/app/t.ibd\n'), '/ext/app/t.ibd'));

  it('bends the absolute lines of an index', () => {
    const bent = bendIndex('./bin.000001\n/log/bin.000002\n', (path) => `/copy${path}`);
    assert.equal(bent, './bin.000001\n/copy/log/bin.000002\n');
  });

  it('takes the UUID of a real control file', () => {
    const real = Buffer.from('fefe0c01e25b6ae7e5e411f1a42a02fc000000011e001600002034be', 'hex');
    assert.equal(dataSetOf(real), 'e25b6ae7e5e411f1a42a02fc00000001');
    assert.equal(dataSetOf(real.subarray(0, 10)), undefined);
    assert.equal(dataSetOf(Buffer.alloc(52)), undefined);
  });

  it('finds listening sockets', () => {
    const table = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 28147 /run/mysqld/mysqld.sock
0000000000000000: 00000003 00000000 00000000 0001 03 28150 /run/mysqld/mysqld.sock
0000000000000000: 00000002 00000000 00010000 0001 01 28151 @abstract`;
    assert.deepEqual([...listeningSockets(table)], [['28147', '/run/mysqld/mysqld.sock']]);
  });
});

describe('words of a copy', () => {
  const bad = '2026-11-21 20:10:20 0 [ERROR] InnoDB: Operating system error number 13 in a file operation.';

  it('are complaints if they say so', () => {
    const said = complaintsIn(`2026-11-21 20:10:20 0 [Note] InnoDB: Using io_uring\n${bad}\n`);
    assert.deepEqual(said, ['[ERROR] InnoDB: Operating system error number 13 in a file operation.']);
    assert.equal(complaintsIn(`${bad}\n`.repeat(25)).at(-1), 'and 5 more');
    assert.equal(
      lastWords(`${bad}\nthe end\n`),
      '[ERROR] InnoDB: Operating system error number 13 in a file operation.',
    );
    assert.equal(lastWords('one\nlast\n'), 'last');
  });

  it('of CHECK TABLE are damage, unless nobody checks such a table', () => {
    const of = (kind: string | null, text: string | null): readonly string[] =>
      checkFindings('`a`.`t`', [{ Msg_type: kind, Msg_text: text }]).map((each) => `${each.severity} ${each.said}`);
    assert.deepEqual(of('status', 'OK'), []);
    assert.deepEqual(of('note', "The storage engine for the table doesn't support check"), []);
    assert.deepEqual(of('status', 'Corrupt'), ['error `a`.`t`: Corrupt']);
    assert.deepEqual(of('Error', 'Page 3 is corrupted'), ['error `a`.`t`: Page 3 is corrupted']);
    assert.deepEqual(of('Warning', '1 client is using it'), ['warning `a`.`t`: 1 client is using it']);
    assert.deepEqual(of('Error', "Unknown storage engine 'SPIDER'"), [
      "warning `a`.`t`: Unknown storage engine 'SPIDER'",
    ]);
    assert.deepEqual(of('Error', null), ['error `a`.`t`: ']);
    assert.deepEqual(of(null, null), []);
  });

  it('of a canary are a prefix or none', () => {
    assert.equal(prefixLength(0, 0, 0), 0);
    assert.equal(prefixLength(3, 1, 3), 3);
    assert.equal(prefixLength(3, 1, 4), undefined);
    assert.equal(prefixLength(3, 2, 3), undefined);
  });
});
