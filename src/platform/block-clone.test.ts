import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { closeBlockClone, openBlockClone } from './block-clone.ts';
import { systemExec, type Exec } from './exec.ts';

async function stateDirectory(t: { after(clean: () => Promise<void>): void }): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-clone-'));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

/** What each program would have been asked, in order; all of them succeed but one. */
function scripted(fails: string): { readonly exec: Exec; readonly asked: readonly (readonly string[])[] } {
  const asked: (readonly string[])[] = [];
  const answers: Readonly<Record<string, string>> = { blockdev: '2048\n', losetup: '/dev/loop77\n' };
  const result = (argv: readonly string[]) => ({
    argv,
    exitCode: argv[0] === fails ? 1 : 0,
    killedBy: null,
    timedOut: false,
    cancelled: false,
    stdout: answers[argv[0] ?? ''] ?? '',
    stderr: argv[0] === fails ? 'no such thing here' : '',
    startedMs: 0,
    endedMs: 0,
  });
  const run: Exec['run'] = (command) => {
    asked.push(command.argv);
    return Promise.resolve(result(command.argv));
  };
  return {
    asked,
    exec: {
      ...systemExec,
      run,
      async check(command) {
        const ended = await run(command);
        if (ended.exitCode !== 0) throw new Error(ended.stderr);
        return ended;
      },
    },
  };
}

const request = { name: 'stillpoint-x-0123456789', device: '/dev/vg0/x', fileSystem: 'xfs' } as const;

describe('block clone', () => {
  it('puts the device under an overlay and mounts only that, read-only, beside an original of the same UUID', async (t) => {
    const state = await stateDirectory(t);
    const { exec, asked } = scripted('none');
    const clone = await openBlockClone({ ...request, exec, stateDirectory: state });
    assert.ok(clone.mountPoint.startsWith(join(state, 'mounts', request.name)));
    const table = asked.find(([program, verb]) => program === 'dmsetup' && verb === 'create')?.at(-1);
    assert.equal(table, '0 2048 snapshot /dev/vg0/x /dev/loop77 N 8');
    const mount = asked.find(([program]) => program === 'mount');
    assert.deepEqual(mount?.slice(1, 5), ['-t', 'xfs', '-o', 'ro,nouuid,nosuid,nodev']);
    assert.deepEqual(mount?.slice(5), [clone.device, clone.mountPoint]);
    assert.ok(!mount?.includes(request.device));
    await clone[Symbol.asyncDispose]();
    await clone[Symbol.asyncDispose]();
    assert.deepEqual(await readdir(join(state, 'mounts')), []);
  });

  it('leaves nothing behind and gives a hint where the kernel cannot do it', async (t) => {
    const state = await stateDirectory(t);
    for (const fails of ['losetup', 'dmsetup', 'mount']) {
      await assert.rejects(openBlockClone({ ...request, exec: scripted(fails).exec, stateDirectory: state }), {
        code: 'command-failed',
        message: /no such thing here/,
        hint: /dm-snapshot/,
      });
      assert.deepEqual(await readdir(join(state, 'mounts')), []);
    }
  });

  it('refuses a file system that mixes up its devices, and a name that is no name', async (t) => {
    const state = await stateDirectory(t);
    const { exec, asked } = scripted('none');
    await assert.rejects(openBlockClone({ ...request, exec, stateDirectory: state, fileSystem: 'btrfs' }), {
      code: 'command-failed',
    });
    await assert.rejects(openBlockClone({ ...request, exec, stateDirectory: state, name: '../x' }), /cannot name/);
    await assert.rejects(closeBlockClone({ exec, stateDirectory: state, name: 'a/b' }), /cannot name/);
    assert.deepEqual(asked, []);
  });

  it('takes away what a dead process left when it opens again, and what anybody left when it closes, but no stranger', async (t) => {
    const state = await stateDirectory(t);
    const { exec } = scripted('none');
    const mounts = join(state, 'mounts');
    const living = await openBlockClone({ ...request, exec, stateDirectory: state });
    const dead = `${request.name}+999999999.1.1`;
    const strangers = [`${request.name}-other+999999999.1.1`, request.name];
    for (const name of [dead, ...strangers]) await mkdir(join(mounts, name));
    await writeFile(join(mounts, `${dead}.cow`), 'x');
    const second = await openBlockClone({ ...request, exec, stateDirectory: state });
    assert.notEqual(second.mountPoint, living.mountPoint);
    const now = await readdir(mounts);
    assert.ok(!now.some((name) => name.startsWith(dead)));
    assert.equal(now.filter((name) => name.startsWith(`${request.name}+`) && !name.endsWith('.cow')).length, 2);
    await closeBlockClone({ exec, stateDirectory: state, name: request.name });
    assert.deepEqual((await readdir(mounts)).toSorted(), strangers.toSorted());
  });

  it('never removes the files of something that is mounted or put where the clone was', async (t) => {
    const state = await stateDirectory(t);
    const { exec } = scripted('none');
    const clone = await openBlockClone({ ...request, exec, stateDirectory: state });
    const file = join(clone.mountPoint, 'precious');
    await writeFile(file, 'x');
    await assert.rejects(closeBlockClone({ exec, stateDirectory: state, name: request.name }), { code: 'undo-failed' });
    assert.equal(await readFile(file, 'utf8'), 'x');
  });

  it('detaches a loop device that was left on a store, by the file that it lies on', async (t) => {
    if (process.getuid?.() !== 0) {
      t.skip('needs root: attaches a loop device');
      return;
    }
    const state = await stateDirectory(t);
    const dead = join(state, 'mounts', `${request.name}+999999999.1.1`);
    await mkdir(dead, { recursive: true });
    await writeFile(`${dead}.cow`, new Uint8Array(1024 * 1024));
    const attached = await systemExec.run({
      argv: ['losetup', '--find', '--show', `${dead}.cow`],
      timeoutMs: 10_000,
    });
    if (attached.exitCode !== 0) {
      t.skip(`needs loop devices: ${attached.stderr.trim()}`);
      return;
    }
    await closeBlockClone({ exec: systemExec, stateDirectory: state, name: request.name });
    const listed = await systemExec.check({ argv: ['losetup', '--list'], timeoutMs: 10_000 });
    assert.ok(!listed.stdout.includes(dead));
    assert.deepEqual(await readdir(join(state, 'mounts')), []);
  });
});
