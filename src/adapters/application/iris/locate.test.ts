import assert from 'node:assert/strict';
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import type { Finding } from '../../../model/point.ts';
import type { Command, CommandResult } from '../../../platform/exec.ts';
import type { Copy, Located } from '../../../ports/application.ts';
import { irisConfig } from './config.ts';
import { Control } from './control.ts';
import { locate } from './locate.ts';
import { verify } from './verify.ts';

const never = new AbortController().signal;

/** The coreutils are real; of the engine there is only a list of instances, and what a session prints. */
class Machine {
  qlist: string;
  session = '';
  pathHere: (path: string) => Promise<string | undefined> = (path) => Promise.resolve(path);
  /** Replaces the output of one program. */
  instead: Readonly<Record<string, (command: Command) => string | undefined>> = {};

  constructor(qlist: string) {
    this.qlist = qlist;
  }

  control(config: object = {}): Control {
    const platform = realPlatform('/nonexistent');
    const answer = (command: Command, stdout: string): CommandResult => ({
      argv: command.argv,
      exitCode: 0,
      killedBy: null,
      timedOut: false,
      cancelled: false,
      stdout,
      stderr: '',
      startedMs: 0,
      endedMs: 1,
    });
    const exec = {
      ...platform.exec,
      which: async (program: string) => (program === 'iris' ? '/fake/iris' : undefined),
      run: async (command: Command) => {
        const [program, verb] = command.argv;
        if (program === '/fake/iris') return answer(command, verb === 'qlist' ? this.qlist : this.session);
        const stdout = this.instead[program]?.(command);
        return stdout === undefined ? platform.exec.run(command) : answer(command, stdout);
      },
    };
    const host = { ...platform.host, exec, pathHere: this.pathHere };
    return new Control(irisConfig.parse(config), { ...platform, exec, host }, () => Promise.reject(new Error('none')));
  }
}

interface Disk {
  readonly root: string;
  readonly install: string;
  readonly machine: Machine;
}

async function newDisk(t: TestContext, cpf: (root: string) => string, fields = ''): Promise<Disk> {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'sp-iris-')));
  t.after(() => rm(root, { recursive: true, force: true }));
  const install = join(root, 'isc');
  for (const directory of ['mgr/user', 'mgr/journal', 'mgr/iristemp']) {
    await mkdir(join(install, directory), { recursive: true });
  }
  for (const directory of ['mgr', 'mgr/user']) await writeFile(join(install, directory, 'IRIS.DAT'), 'data');
  await writeFile(join(install, 'iris.cpf'), cpf(root));
  const line = `IRIS^${install}^2024.1^running, since Fri May 13 22:07:02 2016^iris.cpf^1^2^3^ok^IRIS^${fields}`;
  return { root, install, machine: new Machine(`${line}\n`) };
}

const plainCpf = (root: string): string =>
  `[Databases]\nIRISSYS=${root}/isc/mgr/\nUSER=user/\nFAR=/far/,ECP\n[Journal]\nCurrentDirectory=${root}/isc/mgr/journal/\n`;

const compare = (a: string, b: string): number => a.localeCompare(b);

describe('iris: locate', () => {
  it('names the installation once, and leaves lock files out of it', async (t) => {
    const { install, machine } = await newDisk(t, plainCpf);
    const located = await locate(machine.control(), never);
    assert.deepEqual(
      located.paths.map(({ path, name, kind }) => [path, name, kind]),
      [[install, 'IRIS.data', 'directory']],
    );
    assert.deepEqual(
      located.paths[0]?.leftOut.map(({ relative, match }) => [relative, match]),
      [
        ['mgr/iris.lck', 'entry'],
        ['mgr/user/iris.lck', 'entry'],
      ],
    );
    assert.equal(located.holdKind, 'writes-stopped');
    assert.equal(located.facts['IRIS.databases'], `${install}/mgr\n${install}/mgr/user`);
    assert.equal(located.member.role, 'standalone');
    assert.ok(located.bytes > 0);
  });

  it('follows links out of the installation, and names what lies there', async (t) => {
    const { root, install, machine } = await newDisk(
      t,
      (at) =>
        `[Databases]\nIRISSYS=${at}/isc/mgr/\nBIG=${at}/link/\n[config]\nwijdir=${at}/wij/\n[Journal]\nCurrentDirectory=${at}/j1/\nAlternateDirectory=${at}/j2/\n`,
    );
    for (const name of ['big', 'wij', 'j1', 'j2']) await mkdir(join(root, name));
    await symlink(join(root, 'big'), join(root, 'link'));
    const located = await locate(machine.control(), never);
    assert.deepEqual(
      located.paths.map(({ path, role }) => `${role} ${path}`).toSorted(compare),
      [
        `data ${join(root, 'big')}`,
        `configuration ${install}`,
        `journal ${join(root, 'j1')}`,
        `journal ${join(root, 'j2')}`,
        `journal ${join(root, 'wij')}`,
      ].toSorted(compare),
    );
    assert.equal(new Set(located.paths.map(({ name }) => name)).size, 5);
  });

  it('names a database apart that is mounted inside the installation: no snapshot around it shows it', async (t) => {
    const { install, machine } = await newDisk(t, plainCpf);
    machine.instead = {
      stat: ({ argv }) => {
        if (!argv.includes('%d %F')) return undefined;
        const paths = argv.slice(argv.indexOf('--') + 1);
        return paths.map((path) => `${path.endsWith('/user') ? 77 : 66} directory\n`).join('');
      },
    };
    const { paths } = await locate(machine.control(), never);
    assert.deepEqual(
      paths.map(({ path }) => path),
      [install, join(install, 'mgr/user')],
    );
    assert.ok(paths[0]?.leftOut.some(({ relative, match }) => relative === 'mgr/user' && match === 'contents'));
    assert.deepEqual(
      paths[1]?.leftOut.map(({ relative }) => relative),
      ['iris.lck'],
    );
  });

  it('names paths as they are seen from this machine, and leaves an installation out that comes with an image', async (t) => {
    const { root, install, machine } = await newDisk(t, plainCpf);
    const durable = join(root, 'dur');
    await mkdir(join(durable, 'mgr'), { recursive: true });
    await writeFile(join(durable, 'iris.cpf'), `[Databases]\nIRISSYS=${durable}/mgr/\nUSER=${install}/mgr/user/\n`);
    machine.qlist = machine.qlist.replace('^IRIS^', `^IRIS^^^${durable}`);
    machine.pathHere = async (path) => (path.startsWith(install) ? undefined : path.replace(durable, '/srv/volume'));
    // A database that only the container has is in no snapshot of ours.
    await assert.rejects(locate(machine.control(), never), { code: 'path-outside-group' });
    machine.pathHere = async (path) =>
      path === install
        ? undefined
        : path.replace(join(install, 'mgr/user'), '/srv/other').replace(durable, '/srv/volume');
    const { paths, facts } = await locate(machine.control(), never);
    assert.deepEqual(
      paths.map(({ path }) => path),
      ['/srv/other', '/srv/volume'],
    );
    assert.equal(facts['IRIS.databases'], '/srv/volume/mgr\n/srv/other');
    assert.deepEqual(
      paths.map(({ leftOut }) => leftOut.map(({ relative }) => relative)),
      [['iris.lck'], ['mgr/iris.lck']],
    );
  });

  it('leaves excluded databases out, and says so', async (t) => {
    const { install, machine } = await newDisk(t, plainCpf);
    const { paths, facts } = await locate(machine.control({ exclude: ['USER'] }), never);
    const left = paths[0]?.leftOut.find(({ relative }) => relative === 'mgr/user');
    assert.match(left?.why ?? '', /USER is excluded/);
    assert.equal(facts['IRIS.databases'], `${install}/mgr`);
  });

  it('refuses a directory that is not there, a CPF that names no database, and an unsettled mirror', async (t) => {
    const missing = await newDisk(t, (root) => `[Databases]\nIRISSYS=${root}/isc/mgr/\nGONE=${root}/gone/\n`);
    await assert.rejects(locate(missing.machine.control(), never), { code: 'database-file' });
    const empty = await newDisk(t, () => '[Databases]\n');
    await assert.rejects(locate(empty.machine.control(), never), { code: 'database-file' });
    for (const mirror of ['Failover^Transition', 'Failover^Synchronizing', 'Indeterminate^']) {
      const unsettled = await newDisk(t, plainCpf, `${mirror}^`);
      await assert.rejects(locate(unsettled.machine.control(), never), { code: 'role-unsuitable' }, mirror);
    }
    const hung = await newDisk(t, plainCpf);
    hung.machine.qlist = hung.machine.qlist.replace('^ok^', '^hung^');
    await assert.rejects(locate(hung.machine.control(), never), { code: 'role-unsuitable' });
  });

  it('sees the role of a member and any change of it', async (t) => {
    const { machine } = await newDisk(t, plainCpf, 'Failover^Primary^');
    const before = await locate(machine.control(), never);
    assert.equal(before.member.role, 'primary');
    machine.qlist = machine.qlist.replace('Primary', 'Backup');
    const later = await locate(machine.control(), never);
    assert.equal(later.member.role, 'backup');
    assert.notEqual(later.member.epoch, before.member.epoch);
    assert.equal(later.identity, before.identity);
  });
});

describe('iris: verify', () => {
  async function findings(machine: Machine, located: Located, config: object): Promise<readonly Finding[]> {
    const copy: Copy = { at: (path) => path, required: located.paths, facts: located.facts, scratch: '/nonexistent' };
    const all: Finding[] = [];
    for await (const finding of verify(machine.control(config), copy, never)) all.push(finding);
    return all;
  }
  const errors = (all: readonly Finding[]): readonly string[] =>
    all.filter(({ severity }) => severity === 'error').map(({ check }) => check);

  it('says that nothing was asked when no instance is configured for it', async (t) => {
    const { machine } = await newDisk(t, plainCpf);
    const all = await findings(machine, await locate(machine.control(), never), {});
    assert.deepEqual(errors(all), []);
    assert.ok(all.some(({ severity, check }) => severity === 'warning' && check === 'integrity'));
  });

  it('finds a lock file, a missing database and a log that ends outside of a freeze', async (t) => {
    const { install, machine } = await newDisk(t, plainCpf);
    const located = await locate(machine.control(), never);
    await writeFile(join(install, 'mgr/user/iris.lck'), '');
    await rm(join(install, 'mgr/IRIS.DAT'));
    const log = join(install, 'mgr/messages.log');
    const line = '08/11/21-05:49:44:347 (18374) 0 [Utility.Event] Backup.General.';
    await writeFile(log, `${line}ExternalFreeze: System suspended\n`);
    const inside = await findings(machine, located, {});
    assert.deepEqual(errors(inside).toSorted(), ['files', 'lock']);
    assert.ok(inside.some(({ check, severity }) => check === 'window' && severity === 'info'));
    await writeFile(log, `${line}ExternalFreeze: System suspended\n${line}ExternalThaw: Resuming system\n`);
    const outside = await findings(machine, located, {});
    assert.ok(outside.some(({ check, severity }) => check === 'window' && severity === 'warning'));
  });

  it('goes by the engine’s words only, and never on an instance that is backed up or in a mirror', async (t) => {
    const { install, machine } = await newDisk(t, plainCpf);
    const located = await locate(machine.control(), never);
    const config = { instances: ['IRIS'], verify: { instance: 'VERIFY' } };
    assert.deepEqual(errors(await findings(machine, located, config)), ['integrity'], 'no answers');
    machine.session = 'SP:member=1\n';
    assert.deepEqual(errors(await findings(machine, located, config)), ['integrity'], 'a mirror member');
    const dirs = [`${install}/mgr`, `${install}/mgr/user`];
    machine.session = `SP:member=0\n${dirs.map((dir) => `SP:mounted=1=${dir}/\n`).join('')}SP:integrity=1\n`;
    assert.deepEqual(errors(await findings(machine, located, config)), []);
    machine.session = machine.session.replace('integrity=1', 'integrity=0');
    assert.deepEqual(errors(await findings(machine, located, config)), ['integrity']);
    machine.session = machine.session.replace('integrity=0', 'integrity=1').replace('mounted=1', 'mounted=0');
    assert.deepEqual(errors(await findings(machine, located, config)), ['integrity']);
    const same = { instances: ['IRIS'], verify: { instance: 'IRIS' } };
    machine.session = `SP:member=0\n${dirs.map((dir) => `SP:mounted=1=${dir}/\n`).join('')}SP:integrity=1\n`;
    assert.deepEqual(errors(await findings(machine, located, same)), ['integrity'], 'the live instance itself');
  });

  it('takes a point that names no databases for broken', async (t) => {
    const { machine } = await newDisk(t, plainCpf);
    const located = await locate(machine.control(), never);
    assert.deepEqual(errors(await findings(machine, { ...located, facts: {} }, {})), ['facts']);
  });
});
