import assert from 'node:assert/strict';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isWithin, mountPointsBelow, parseMountPoints, pathExists, writeDurably } from './files.ts';

describe('files', () => {
  let directory = '';
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'stillpoint-files-'));
  });
  after(async () => {
    await rm(directory, { recursive: true });
  });

  it('writes a file whole, replaces one, and leaves nothing beside it', async () => {
    const file = join(directory, 'state');
    await writeDurably(file, 'one');
    assert.equal((await lstat(file)).mode & 0o777, 0o600);
    await writeDurably(file, new Uint8Array([116, 119, 111]), 0o640);
    assert.equal(await readFile(file, 'utf8'), 'two');
    assert.equal((await lstat(file)).mode & 0o777, 0o640);
    assert.deepEqual(await readdir(directory), ['state']);
  });

  it('leaves the old file and no part behind when it fails', async () => {
    const target = join(directory, 'taken');
    await mkdir(join(target, 'inside'), { recursive: true });
    await assert.rejects(writeDurably(target, 'x'), /EISDIR|ENOTEMPTY|EEXIST/);
    assert.deepEqual(await readdir(target), ['inside']);
    assert.deepEqual(
      (await readdir(directory)).filter((name) => name.endsWith('.tmp')),
      [],
    );
    await rm(target, { recursive: true });
    await assert.rejects(writeDurably(join(directory, 'none', 'x'), 'x'), { code: 'ENOENT' });
  });

  it('sees dangling links, and no file below a file', async () => {
    const link = join(directory, 'link');
    await symlink('nowhere', link);
    assert.equal(await pathExists(link), true);
    assert.equal(await pathExists(join(directory, 'nothing')), false);
    assert.equal(await pathExists('/etc/passwd/x'), false);
  });

  it('tells below from beside', () => {
    assert.equal(isWithin('/a/b', '/a/b'), true);
    assert.equal(isWithin('/a/b/c', '/a/b'), true);
    assert.equal(isWithin('/a/bc', '/a/b'), false);
    assert.equal(isWithin('/a', '/'), true);
  });

  it('finds what is mounted below a directory, with its escapes', async () => {
    const text =
      '22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n23 22 0:21 / /with\\040blank\\134 rw shared:1 - tmpfs tmpfs rw\n';
    assert.deepEqual(parseMountPoints(text), ['/', '/with blank\\']);
    assert.ok((await mountPointsBelow('/')).includes('/proc'));
    assert.ok(!(await mountPointsBelow('/proc')).includes('/proc'));
  });
});
