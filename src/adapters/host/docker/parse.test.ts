import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseIdentity, parseMounts, sourceOf } from './parse.ts';

const command = 'docker inspect c';

describe('parseMounts', () => {
  it('reads bind mounts, volumes and tmpfs', () => {
    const printed = JSON.stringify([
      { Type: 'bind', Source: '/srv/iris', Destination: '/data/', Mode: '', RW: true, Propagation: 'rprivate' },
      {
        Type: 'volume',
        Name: 'v',
        Source: '/var/lib/docker/volumes/v/_data',
        Destination: '/journal',
        Driver: 'local',
      },
      { Type: 'tmpfs', Destination: '/run' },
      { Type: 'bind', Source: '/', Destination: '/' },
    ]);
    assert.deepEqual(parseMounts(`${printed}\n`, command), [
      { destination: '/data', source: '/srv/iris' },
      { destination: '/journal', source: '/var/lib/docker/volumes/v/_data' },
      { destination: '/run', source: '' },
      { destination: '/', source: '/' },
    ]);
    assert.deepEqual(parseMounts('[]\n', command), []);
    assert.deepEqual(parseMounts('null\n', command), []);
  });

  it('names the command when it is not understood', () => {
    for (const odd of ['', 'Error', '{}', '[null]', '[7]', '[{}]', '[{"Destination":"/a","Source":7}]']) {
      assert.throws(() => parseMounts(odd, command), { code: 'command-failed', message: /`docker inspect c`/ }, odd);
    }
  });
});

describe('sourceOf', () => {
  const mounts = [
    { destination: '/data', source: '/srv/iris/' },
    { destination: '/data/journal', source: '/mnt/j' },
    { destination: '/data/tmp', source: '' },
    { destination: '/named', source: 'pipe' },
    { destination: '/host', source: '/' },
  ];

  it('takes the innermost mount, by whole names', () => {
    const places = {
      '/data': '/srv/iris',
      '/data/mgr/IRIS.DAT': '/srv/iris/mgr/IRIS.DAT',
      '/data/journal': '/mnt/j',
      '/data/journal/20261121.001': '/mnt/j/20261121.001',
      '/host': '/',
      '/host/etc': '/etc',
    };
    for (const [path, place] of Object.entries(places)) assert.equal(sourceOf(path, mounts), place);
  });

  it('knows no place in the layer of the container, in memory, or in what is no path', () => {
    for (const path of ['/', '/database', '/data/tmp/x', '/named/x']) assert.equal(sourceOf(path, mounts), undefined);
  });

  it('takes a mount of everything', () => {
    assert.equal(sourceOf('/a/b', [{ destination: '/', source: '/srv' }]), '/srv/a/b');
    assert.equal(sourceOf('/', [{ destination: '/', source: '/srv' }]), '/srv/');
  });
});

describe('parseIdentity', () => {
  it('is one pair of numbers or nothing', () => {
    assert.equal(parseIdentity('65024:131\n'), '65024:131');
    for (const odd of ['', '1:2', '1:2\n3:4\n', 'x:1\n', '?:?\n']) assert.equal(parseIdentity(odd), undefined);
  });
});
