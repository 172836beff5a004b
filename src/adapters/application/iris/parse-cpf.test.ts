import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseCpf, parseSections } from './parse-cpf.ts';

const file = `[ConfigFile]
Product=IRIS
Version=2021.100

[Databases]
IRISSYS=/usr/irissys/mgr/
IRISTEMP=/usr/irissys/mgr/iristemp/
USER=/data/user/,,1
REMOTE=/far/away/,ECPSERVER
EMPTY=

[config]
wijdir=/iris/wij/
console=,
; a comment=1
# another=1
nonsense

[Journal]
AlternateDirectory=/iris/journal2/
CurrentDirectory=/iris/journal1/
JournalFilePrefix=H_
currentdirectory=/iris/journal3/
[Databases]
LATE=relative/
`;

describe('iris: CPF', () => {
  it('tells where files lie', () => {
    const cpf = parseCpf(file.replaceAll('\n', '\r\n'));
    assert.deepEqual(cpf.databases, [
      { name: 'IRISSYS', directory: '/usr/irissys/mgr', remote: false },
      { name: 'IRISTEMP', directory: '/usr/irissys/mgr/iristemp', remote: false },
      { name: 'USER', directory: '/data/user', remote: false },
      { name: 'REMOTE', directory: '/far/away', remote: true },
      { name: 'LATE', directory: 'relative', remote: false },
    ]);
    assert.equal(cpf.currentJournalDirectory, '/iris/journal3', 'the last one counts');
    assert.equal(cpf.alternateJournalDirectory, '/iris/journal2');
    assert.equal(cpf.journalPrefix, 'H_');
    assert.equal(cpf.wijDirectory, '/iris/wij');
    assert.equal(cpf.console, '');
  });

  it('has empty values for what is not there', () => {
    const cpf = parseCpf('[config]\nconsole=/var/log/iris.log,0\n');
    assert.deepEqual(cpf, {
      databases: [],
      currentJournalDirectory: '',
      alternateJournalDirectory: '',
      journalPrefix: '',
      wijDirectory: '',
      console: '/var/log/iris.log',
    });
    assert.equal(parseCpf('[Databases]\nROOT=/\n').databases[0]?.directory, '/');
  });

  it('never throws', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseCpf(text)));
    assert.equal(parseSections('a=1\n').size, 0, 'what stands before the first section is nobody’s');
  });
});
