import assert from 'node:assert/strict';
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { localHost } from '../../../src/adapters/host/local/host.ts';
import { layersOf } from '../../../src/model/stack.ts';
import type { StorageStack } from '../../../src/model/storage.ts';
import { closeArrayClone, openArrayClone, type ArrayMember } from '../../../src/platform/array-clone.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import type { Guest } from '../guest/guest.ts';
import { node, project } from '../guest/guest.ts';
import {
  differences,
  inventory,
  makeArray,
  makeFileSystem,
  makeGroup,
  makePool,
  makeThick,
  makeThin,
  writes,
} from '../guest/storage.ts';
import type { Scenario } from '../scenario.ts';

const mib = 1024 ** 2;
const stateDirectory = '/tmp/stillpoint-state';

interface Opened {
  readonly what: string;
  readonly content: string;
  readonly bytes: boolean;
  readonly openMs: number;
  readonly left: readonly string[];
}

interface Result {
  readonly opened: readonly Opened[];
  readonly copiesChanged: readonly string[];
  readonly originalsChanged: readonly string[];
  readonly killed: readonly { readonly afterMs: number; readonly left: readonly string[] }[];
  readonly refused: readonly string[];
  readonly writable: readonly boolean[];
}

async function sha(guest: Guest, path: string): Promise<string> {
  return (await guest.check(['sha256sum', path])).split(' ')[0] ?? '';
}

/** Superblocks of array, physical volume and file systems; not what a running array counts. */
async function identity(guest: Guest): Promise<readonly string[]> {
  const found: string[] = [];
  for (const index of [0, 1, 2, 3]) {
    const said = await guest.check(['mdadm', '--examine', '--export', guest.disk(index)]);
    found.push(said.replace(/^MD_(EVENTS|UPDATE_TIME)=.*$/gm, ''));
  }
  found.push(await guest.check(['blkid', '-p', '/dev/md0', '/dev/vg0/x', '/dev/vg0/e']));
  found.push(await guest.check(['pvs', '--noheadings', '-o', 'pv_name,pv_uuid,vg_name,vg_uuid,vg_seqno']));
  const stat = await readFile('/proc/mdstat', 'utf8');
  found.push(/^md0 : .*$/m.exec(stat)?.[0] ?? '');
  return found;
}

/** All file systems are frozen while the members are copied one after the other: one instant. Disks 4 and 5 and two files are the copies. */
async function copyMembers(guest: Guest, mounts: readonly string[]): Promise<readonly string[]> {
  const files = [join('/mnt/images', 'c.img'), join('/mnt/images', 'd.img')];
  const copies = [guest.disk(4), guest.disk(5), ...files];
  await mkdir('/mnt/images', { recursive: true });
  for (const mount of mounts) await guest.check(['fsfreeze', '--freeze', mount]);
  try {
    for (const [index, copy] of copies.entries()) {
      await guest.check(['dd', `if=${guest.disk(index)}`, `of=${copy}`, 'bs=1M', 'conv=sparse', 'status=none']);
    }
    for (const file of files) await truncate(file, 512 * mib);
  } finally {
    for (const mount of mounts) await guest.check(['fsfreeze', '--unfreeze', mount]);
  }
  return copies;
}

function membersOf(stack: StorageStack, copies: readonly string[], guest: Guest): readonly ArrayMember[] {
  const disks = layersOf(stack).filter(({ type }) => type === 'disk');
  return [0, 1, 2, 3].flatMap((index) => {
    const disk = disks.find(({ name }) => name === guest.disk(index));
    return disk === undefined ? [] : [{ original: disk.id, device: copies[index] ?? '' }];
  });
}

export const scenario: Scenario = {
  name: 'array-clone',
  full: true,
  about: 'copied members of a RAID10 with LVM are put together beside the running original, which does not notice',
  disks: ['a', 'b', 'c', 'd', 'copy-a', 'copy-b'].map((name) => ({ name, bytes: 512 * mib })),
  memMiB: 1536,
  timeoutMs: 15 * 60_000,
  async run(guest, { full }) {
    const exec = systemExec;
    const array = await makeArray(0, 'raid10', [0, 1, 2, 3]);
    await makeGroup('vg0', [array]);
    const x = await makeFileSystem('xfs', await makeThick('vg0', 'x', 320), 'x');
    await makePool('vg0', 'pool', 160);
    const e = await makeFileSystem('ext4', await makeThin('vg0', 'pool', 'e', 96), 'e');
    const sums = new Map<string, string>();
    for (const mount of [x, e]) {
      await writeFile(join(mount, 'said'), `as it was on ${mount}`);
      await guest.check([
        'dd',
        'if=/dev/urandom',
        `of=${mount}/bytes`,
        'bs=1M',
        'count=8',
        'conv=fsync',
        'status=none',
      ]);
      sums.set(mount, await sha(guest, `${mount}/bytes`));
    }
    const host = localHost(exec);
    const stacks = new Map<string, StorageStack>();
    for (const mount of [x, e]) stacks.set(mount, await host.stackOf(mount, new AbortController().signal));
    const stackOf = (mount: string): StorageStack => stacks.get(mount) ?? assert.fail();
    const copies = await copyMembers(guest, [x, e]);
    const copySums: string[] = [];
    for (const copy of copies) copySums.push(await sha(guest, copy));
    // The originals go on.
    for (const mount of [x, e]) await writeFile(join(mount, 'said'), 'later');
    await guest.check(['sync']);
    const before = await inventory();
    const identityBefore = await identity(guest);
    const opened: Opened[] = [];
    for (const [mount, newFileSystemUuid] of [
      [x, false],
      [e, false],
      [x, true],
      [e, true],
    ] as const) {
      const stack = stackOf(mount);
      const members = membersOf(stack, copies, guest);
      const from = systemClock.monoMs();
      const clone = await openArrayClone({ exec, stateDirectory, name: 'clone', members, stack, newFileSystemUuid });
      const openMs = Math.round(systemClock.monoMs() - from);
      const content = await readFile(join(clone.mountPoint, 'said'), 'utf8');
      const bytes = (await sha(guest, join(clone.mountPoint, 'bytes'))) === sums.get(mount);
      guest.log(await guest.check(['blkid', '-p', clone.device]));
      await clone[Symbol.asyncDispose]();
      opened.push({
        what: `${mount} ${newFileSystemUuid}`,
        content,
        bytes,
        openMs,
        left: differences(before, await inventory()),
      });
    }

    // Killed somewhere in the middle of opening; another process closes.
    const killed: { afterMs: number; left: readonly string[] }[] = [];
    const stack = stackOf(x);
    const request = { stateDirectory, name: 'killed', members: membersOf(stack, copies, guest), stack };
    await writeFile('/tmp/request.json', JSON.stringify(request));
    for (const afterMs of full ? [200, 700, 1500, 2500, 3500, 5000, 7000, 9000] : [1000, 4000]) {
      const child = exec.start({
        argv: [node, join(project, 'test/lab/scenarios/array-clone/open.ts'), '/tmp/request.json'],
      });
      await child.firstLine((line) => line === 'opening', 60_000);
      await systemClock.sleep(afterMs);
      child.kill('SIGKILL');
      await child.exited;
      // A command that it had started may still be at work.
      await systemClock.sleep(1500);
      await closeArrayClone({ exec, stateDirectory, name: 'killed' });
      killed.push({ afterMs, left: differences(before, await inventory()) });
    }

    const refused: string[] = [];
    const members = membersOf(stack, copies, guest);
    const replaced = (device: string): readonly ArrayMember[] =>
      members.map((member, index) => (index === 0 ? { ...member, device } : member));
    const empty = '/mnt/images/empty.img';
    await writeFile(empty, '');
    await truncate(empty, 512 * mib);
    const copied = '/mnt/images/again.img';
    await guest.check(['cp', '--sparse=always', copies[2] ?? '', copied]);
    const strange = [...members, { original: 'block:1:1', device: '/dev/null' }];
    for (const wrong of [members.slice(1), strange, replaced(empty), replaced(copied)]) {
      const clone = openArrayClone({ exec, stateDirectory, name: 'wrong', members: wrong, stack });
      refused.push(
        await clone.then(
          () => 'opened',
          (error: Error & { code?: string }) => `${error.code ?? ''}: ${error.message}`,
        ),
      );
    }
    const copiesChanged: string[] = [];
    for (const [index, copy] of copies.entries()) {
      if ((await sha(guest, copy)) !== copySums[index]) copiesChanged.push(copy);
    }
    const identityAfter = await identity(guest);
    return {
      opened: opened as unknown as [],
      copiesChanged,
      originalsChanged: identityAfter.filter((each, index) => each !== identityBefore[index]),
      killed,
      refused,
      left: differences(before, await inventory()),
      writable: [await writes(x), await writes(e)],
    };
  },
  assess(json, { full }) {
    const result = json as unknown as Result & { readonly left: readonly string[] };
    assert.equal(result.opened.length, 4);
    for (const each of result.opened) {
      assert.match(each.content, /^as it was on /, each.what);
      assert.ok(each.bytes, each.what);
      assert.deepEqual(each.left, [], each.what);
    }
    assert.equal(result.killed.length, full ? 8 : 2);
    for (const { afterMs, left } of result.killed) assert.deepEqual(left, [], `killed after ${afterMs} ms`);
    assert.match(result.refused[0] ?? '', /^volume-unsafe: no copy is given for/);
    assert.match(result.refused[1] ?? '', /^volume-unsafe: the stack has no disk block:1:1/);
    assert.match(result.refused[2] ?? '', /^cut-failed: .* is no member of an array/);
    assert.match(result.refused[3] ?? '', /^cut-failed: the array cannot be assembled/, 'the same disk twice');
    assert.deepEqual(result.copiesChanged, []);
    assert.deepEqual(result.originalsChanged, []);
    assert.deepEqual(result.left, []);
    assert.deepEqual(result.writable, [true, true]);
  },
};
