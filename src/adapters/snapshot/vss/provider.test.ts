import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { snapshotProviderContract } from '../../../../test/contract/snapshot-provider.ts';
import { vssStandIn } from '../../../../test/doubles/vss/machine.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../../../model/storage.ts';
import type { Exec } from '../../../platform/exec.ts';
import type { SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { configWith } from './config.ts';

const { signal } = new AbortController();
const sqlServer = '{A65FAA63-5EA8-4EBC-9DBD-A0C4DB26912A}';

function directoryPath(path: string, more: Partial<RequiredPath> = {}): RequiredPath {
  return { path, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [], ...more };
}

async function listed(provider: SnapshotProvider, group: readonly Volume[]): Promise<SnapshotRef[]> {
  const found: SnapshotRef[] = [];
  for await (const ref of provider.list(group)) found.push(ref);
  return found;
}

snapshotProviderContract('vss, on a stand-in', async () => {
  const machine = await vssStandIn(1);
  if ('skip' in machine) return machine;
  return {
    directory: machine.here[0] ?? '',
    create: () => machine.create(),
    atomicity: 'one-instant',
    dispose: () => machine[Symbol.asyncDispose](),
  };
});

describe('vss', () => {
  it('cuts all volumes as one set, tells its limits, and claims nothing without a host', async (t) => {
    const machine = await vssStandIn(2);
    if ('skip' in machine) {
      t.skip(machine.skip);
      return;
    }
    await using _ = machine;
    const [d = '', e = ''] = machine.here;
    const paths = [directoryPath(d), directoryPath(join(e, ''), { name: 'log' })];
    assert.deepEqual(await machine.create({ host: undefined }).locate(paths, signal), []);
    const provider = machine.create({ writers: [sqlServer] });
    const group = await provider.locate(paths, signal);
    assert.deepEqual(
      group.map(({ holds }) => holds),
      [['data'], ['log']],
    );
    await provider.prepare(group, signal);
    const cut = await provider.cut(group, 'stillpoint-1', signal);
    assert.equal(cut.atomicity, 'one-instant');
    assert.match(cut.how, /the shadow copy and not the live volume.*cloud or array snapshot.*cannot be taken inside/);
    assert.match(machine.create().atomicity(group).how, /no writer was named/);
    assert.equal(cut.spans.length, 1);
    assert.equal((await machine.shadows()).length, 2);
    const [first, second] = cut.cuts.map(({ snapshot }) => snapshot);
    assert.ok(first !== undefined && second !== undefined);

    // One of two goes; the log that names both stays until the other goes too.
    await provider.delete(first);
    assert.deepEqual(await listed(provider, group), [second]);
    await provider.delete(second);
    assert.deepEqual([await machine.shadows(), await listed(provider, group)], [[], []]);
  });

  it('makes nothing when VSS fails, says why, and what to do', async (t) => {
    const machine = await vssStandIn(1);
    if ('skip' in machine) {
      t.skip(machine.skip);
      return;
    }
    await using _ = machine;
    const provider = machine.create();
    const group = await provider.locate([directoryPath(machine.here[0] ?? '')], signal);
    await provider.prepare(group, signal);
    const cases = [
      ['veto', /provider vetoed.*0x80042306/, /shadowstorage/],
      ['timeout', /did not freeze or thaw in time/, /list writers/],
      ['silent', /names no shadow copy of vss:D:/, /stillpoint check/],
      ['writer-failed', /SqlServerWriter is in state 8 \(Non-retryable error\)/, /stillpoint check/],
    ] as const;
    for (const [fault, message, hint] of cases) {
      await machine.setFault(fault);
      await assert.rejects(provider.cut(group, `stillpoint-${fault}`, signal), { code: 'cut-failed', message, hint });
      assert.deepEqual(await machine.shadows(), [], fault);
    }
    await machine.setFault('not-elevated');
    await assert.rejects(provider.prepare(group, signal), { code: 'command-failed', hint: /Administrators/ });
    await assert.rejects(provider.predict(group, 'none', signal), { code: 'command-failed', hint: /Administrators/ });
    await assert.rejects(provider.cut(group, 'stillpoint-x', signal), {
      code: 'cut-failed',
      message: /VSS refused the user/,
      hint: /Administrators/,
    });
  });

  it('goes by the writers that are named, and tells of others', async (t) => {
    const machine = await vssStandIn(1);
    if ('skip' in machine) {
      t.skip(machine.skip);
      return;
    }
    await using _ = machine;
    const path = directoryPath(machine.here[0] ?? '');
    const system = machine.create({ writers: ['{E8132975-6F93-4464-A53E-1050253AE220}'] });
    const sql = machine.create({ writers: [sqlServer] });
    const absent = machine.create({ writers: ['{00000000-0000-0000-0000-000000000000}'] });
    const group = await system.locate([path], signal);
    await system.prepare(group, signal);
    await machine.setFault('writer-failed');
    await system.cut(group, 'stillpoint-1', signal);
    const found = async (provider: SnapshotProvider): Promise<readonly string[]> =>
      (await provider.predict(group, 'none', signal)).findings.map(({ severity }) => severity);
    assert.deepEqual(await found(system), ['warning']);
    assert.deepEqual(await found(sql), ['error']);
    assert.deepEqual(await found(absent), ['error', 'warning']);
    assert.deepEqual(await found(machine.create()), ['warning', 'info']);
    await assert.rejects(absent.cut(group, 'stillpoint-2', signal), { code: 'cut-failed', message: /is gone/ });
    assert.equal((await machine.shadows()).length, 1);
  });

  it('reads ids in every language, and refuses writers that it cannot read', async (t) => {
    const machine = await vssStandIn(1);
    if ('skip' in machine) {
      t.skip(machine.skip);
      return;
    }
    await using _ = machine;
    const provider = machine.create();
    const group = await provider.locate([directoryPath(machine.here[0] ?? '')], signal);
    await provider.prepare(group, signal);
    const [one] = (await provider.cut(group, 'stillpoint-1', signal)).cuts;
    assert.ok(one !== undefined);
    await machine.setLanguage('zh');
    assert.deepEqual(await listed(provider, group), [one.snapshot]);
    await assert.rejects(provider.prepare(group, signal), {
      code: 'command-failed',
      message: /does not speak English/,
    });
    await assert.rejects(provider.cut(group, 'stillpoint-2', signal), { code: 'cut-failed', hint: /display language/ });
    assert.equal((await machine.shadows()).length, 1, 'the ids of what was made were read all the same');
    await provider.delete(one.snapshot);
    assert.deepEqual(await machine.shadows(), []);
  });

  it('deletes by id what its own log names, and no other shadow copy', async (t) => {
    const machine = await vssStandIn(1);
    if ('skip' in machine) {
      t.skip(machine.skip);
      return;
    }
    await using _ = machine;
    const calls: string[] = [];
    const watch = (exec: Exec): Exec => ({
      ...exec,
      run: (command) => {
        if (command.stdin !== undefined) calls.push(Buffer.from(command.stdin).toString());
        return exec.run(command);
      },
    });
    const provider = machine.create({}, watch);
    const path = machine.here[0] ?? '';
    await writeFile(join(path, 'file'), 'x');
    const group = await provider.locate([directoryPath(path)], signal);
    await provider.prepare(group, signal);
    const stranger = await machine.addStranger();
    const [cut] = (await provider.cut(group, 'stillpoint-1', signal)).cuts;
    assert.ok(cut !== undefined);
    // Opened and never closed, as after a crash.
    const open = await provider.open(cut.snapshot);
    assert.equal(await readFile(open.at(join(path, 'file')) ?? '', 'utf8'), 'x');
    await assert.rejects(machine.create().open(cut.snapshot), { code: 'command-failed', message: /cannot be exposed/ });
    await machine.create({}, watch).delete(cut.snapshot);
    assert.deepEqual(await machine.shadows(), [stranger]);
    for (const label of ['stillpoint-a b', "stillpoint-'", 'stillpoint-\\..', 'daily']) {
      assert.throws(() => provider.refs(group, label), { code: 'undo-failed' });
    }
    const scripts = calls.join('');
    assert.match(scripts, /^delete shadows id \{[0-9a-f-]+\}\r$/m);
    assert.doesNotMatch(scripts, /delete shadows (?:all|oldest|volume|set|exposed)|end backup|volatile/);
    const told = machine.create({ completeBackup: true }, watch);
    await told.cut(group, 'stillpoint-2', signal);
    assert.match(calls.at(-1) ?? '', /create\r\nend backup\r\nexit/);
  });

  it('says that a shadow copy cannot be read from here without a drive for it', async (t) => {
    const machine = await vssStandIn(1);
    if ('skip' in machine) {
      t.skip(machine.skip);
      return;
    }
    await using _ = machine;
    const [here = ''] = machine.here;
    const provider = machine.create({ volumes: [{ volume: 'D:\\', here }] });
    const group = await provider.locate([directoryPath(here)], signal);
    await provider.prepare(group, signal);
    assert.match((await provider.predict(group, 'none', signal)).findings.at(-1)?.said ?? '', /not read from here/);
    const [cut] = (await provider.cut(group, 'stillpoint-1', signal)).cuts;
    assert.ok(cut !== undefined);
    await assert.rejects(provider.open(cut.snapshot), { code: 'io', hint: /exposedHere/ });
    await provider.delete(cut.snapshot);
    assert.deepEqual(await machine.shadows(), []);
  });

  it('takes the whole way through PowerShell, each program a process of its own', async (t) => {
    const machine = await vssStandIn(1);
    if ('skip' in machine) {
      t.skip(machine.skip);
      return;
    }
    await using _ = machine;
    const provider = machine.create({}, () => machine.exec);
    const path = machine.here[0] ?? '';
    await writeFile(join(path, 'file'), 'old');
    const group = await provider.locate([directoryPath(path)], signal);
    await provider.prepare(group, signal);
    const [cut] = (await provider.cut(group, 'stillpoint-1', signal)).cuts;
    assert.ok(cut !== undefined);
    await writeFile(join(path, 'file'), 'new');
    {
      await using open = await provider.open(cut.snapshot);
      assert.equal(await readFile(open.at(join(path, 'file')) ?? '', 'utf8'), 'old');
    }
    await assert.rejects(provider.cut(group, 'stillpoint-1', signal), {
      code: 'cut-failed',
      message: /a log of stillpoint-1/,
    });
    assert.deepEqual(await listed(provider, group), [cut.snapshot]);
    await provider.delete(cut.snapshot);
    assert.deepEqual(await machine.shadows(), []);
  });

  it('takes no setting that could become a command', () => {
    const config = configWith(z.strictObject({ shell: z.string() }));
    const ok = (more: object): boolean => config.safeParse(more).success;
    assert.equal(ok({}), true);
    assert.equal(ok({ host: { ssh: { shell: 'powershell' } } }), true);
    assert.equal(ok({ host: { ssh: { shell: 'sh' } } }), false);
    const guid = '\\\\?\\Volume{351b4712-0000-0000-0000-602200000000}\\';
    assert.equal(ok({ volumes: [{ volume: guid, here: '/d' }] }), true);
    for (const volume of ['D:', 'D:\\ alias x', 'D:\\\r\nexec c:\\x.cmd', "'", 'D:\\x']) {
      assert.equal(ok({ volumes: [{ volume, here: '/d' }] }), false, volume);
    }
    assert.equal(ok({ volumes: [{ volume: 'D:\\', here: '/d', expose: 'X:' }] }), false);
    for (const directory of ["C:\\a'b", 'C:\\a b', 'C:\\', '\\\\host\\share', 'C:\\a\nb'])
      assert.equal(ok({ directory }), false);
    assert.equal(ok({ writers: ['{x}'] }), false);
  });
});
