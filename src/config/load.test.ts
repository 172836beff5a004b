import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { applications } from '../adapters/registry.ts';
import { StillpointError } from '../model/errors.ts';
import { defaultStateDirectory, findConfig, loadConfig, readConfig } from './load.ts';

async function newDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-config-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

const engines = applications.map(({ kind }) => kind).join(', ');
const head = 'repository: { store: { local: /backup }, passwordFile: /key }';

describe('loadConfig', () => {
  it('reads a whole file', async (t) => {
    const file = join(await newDirectory(t), 'stillpoint.yaml');
    await writeFile(
      file,
      `repository:
  store: { local: /var/backups/stillpoint }
  passwordCommand: [pass, show, stillpoint]
stateDirectory: /var/lib/sp
workloads:
  orders:
    application: { postgresql: { dataDirectory: /srv/pg, port: 5433 } }
    storage: [btrfs: {}, copy: { staging: /scratch }]
    hold: { budget: 2m }
    consistency: crash
    drill: { directory: /scratch }
  users: { application: { sqlite: { file: /srv/users.db } } }
`,
    );
    const config = await loadConfig(file);
    const { workloads, ...rest } = config;
    assert.deepEqual(rest, {
      file,
      repository: {
        store: { kind: 'local', config: '/var/backups/stillpoint' },
        password: { file: undefined, env: undefined, command: ['pass', 'show', 'stillpoint'] },
      },
      stateDirectory: '/var/lib/sp',
      notifyCommand: undefined,
      groups: new Map(),
    });
    assert.deepEqual([...workloads.keys()], ['orders', 'users']);
    const orders = workloads.get('orders');
    assert.equal(orders?.application.kind, 'postgresql');
    assert.equal(orders?.budgetMs, 120_000);
    assert.equal(orders?.consistency, 'crash');
    assert.equal(orders?.drillDirectory, '/scratch');
    assert.ok(orders !== undefined && orders.storage !== 'auto');
    assert.deepEqual(
      orders.storage.map((each) => each.kind),
      ['btrfs', 'copy'],
    );
    assert.deepEqual(workloads.get('users'), {
      name: 'users',
      application: {
        kind: 'sqlite',
        config: { file: '/srv/users.db', verify: { integrity: 'full' }, canary: false },
      },
      storage: 'auto',
      budgetMs: undefined,
      method: 'snapshot',
      consistency: 'application',
      changedBlocks: true,
      degradedStorage: 'refuse',
      drillDirectory: undefined,
      cluster: undefined,
      machines: undefined,
      splitLimits: {
        ...{ answer: 120_000, off: 900_000, boot: 900_000, service: 600_000, group: 600_000, whole: 14_400_000 },
        ...{
          attach: 600_000,
          fast: 14_400_000,
          act: 180_000,
          autoRecovery: 300_000,
          snapshot: 86_400_000,
          oneCopy: 3_600_000,
        },
        poll: 10_000,
      },
      fastRestore: false,
    });
  });

  describe('clusters', () => {
    const cluster = (hold: string, members: string): string => `${head}
workloads:
  orders:
    application: { iris: { instances: [IRIS] } }
    topology: { iris-mirror: { mirror: STAGE, instances: { db1: { instance: IRIS }, db2: { instance: IRIS } } } }
    members: ${members}
    hold: ${hold}
`;
    const stunOf = (hold: string) => {
      const found = readConfig(cluster(hold, '{ db1: {} }'), '/c.yaml').workloads.get('orders')?.cluster;
      return [found?.stunMs, found?.stunLogs];
    };

    it('take a bound of stuns, logs of them, or both', () => {
      assert.deepEqual(stunOf('{}'), [0, []]);
      assert.deepEqual(stunOf('{ stun: 800ms }'), [800, []]);
      assert.deepEqual(stunOf('{ stun: { bound: 2s } }'), [2000, []]);
      assert.deepEqual(stunOf('{ stun: { logs: [/v/vmware*.log] } }'), [undefined, ['/v/vmware*.log']]);
      assert.deepEqual(stunOf('{ stun: { bound: 2s, logs: [/v/vmware.log] } }'), [2000, ['/v/vmware.log']]);
      for (const hold of ['{ stun: {} }', '{ stun: { logs: [] } }', '{ stun: { logs: [vmware.log] } }', '{ stun: 5 }'])
        assert.throws(() => stunOf(hold), { code: 'config-invalid', message: /stun/ }, hold);
    });

    it('have no member that the topology cannot know', () => {
      const read = (members: string) => readConfig(cluster('{}', members), '/c.yaml');
      assert.ok(read('{ db1: {}, MACHINE/IRIS: {} }'));
      assert.throws(() => read('{ db1: {}, bd2: {} }'), {
        code: 'config-invalid',
        message: /bd2 is no member of the topology iris-mirror: did you mean db2\?/,
      });
      assert.throws(() => read('{ primary: {} }'), { message: /there is db1, db2/ });
    });
  });

  it('reads a group: parts on other hosts and here, and how they wait', () => {
    const { groups } = readConfig(
      `${head}
workloads: { users: { application: { sqlite: { file: /srv/users.db } } } }
groups:
  shop:
    parts:
      shard1: { reach: { ssh: { host: db1 } }, workload: orders, config: /etc/s.yaml, command: [/opt/stillpoint] }
      users: { workload: users }
    barrier: { budget: 3s, skew: 200ms }
`,
      '/c.yaml',
    );
    const shop = groups.get('shop');
    assert.deepEqual(
      { ...shop, parts: [] },
      { name: 'shop', parts: [], budgetMs: 3000, skewMs: 200, readyMs: 600_000 },
    );
    assert.equal(shop?.parts[0]?.reach?.kind, 'ssh');
    assert.deepEqual(shop?.parts[0]?.command, ['/opt/stillpoint']);
    assert.deepEqual(shop?.parts[1], {
      name: 'users',
      reach: undefined,
      workload: 'users',
      config: undefined,
      command: undefined,
    });
    const bare = readConfig(
      `${head}\nworkloads: ${users}\ngroups: { g: { parts: { a: { workload: users } } } }`,
      '/c.yaml',
    );
    assert.deepEqual(
      { ...bare.groups.get('g'), parts: [] },
      { name: 'g', parts: [], budgetMs: 5000, skewMs: null, readyMs: 600_000 },
    );
  });

  it('needs no workload, and has a place for the state', () => {
    const config = readConfig(head, '/c.yaml');
    assert.equal(config.workloads.size, 0);
    assert.equal(config.stateDirectory, defaultStateDirectory());
  });

  it('reads its own output again: another process gets the settings as plain data', () => {
    const read = (settings: unknown): unknown =>
      readConfig(
        `${head}\nworkloads: { a: { application: { sqlite: ${JSON.stringify(settings)} } } }`,
        '/c.yaml',
      ).workloads.get('a')?.application.config;
    const once = read({ file: '/a.db' });
    assert.deepEqual(read(once), once);
  });

  it('says that a file is missing', async (t) => {
    const file = join(await newDirectory(t), 'none.yaml');
    await assert.rejects(loadConfig(file), (error) => {
      assert.ok(error instanceof StillpointError);
      assert.equal(error.code, 'config-missing');
      assert.match(error.message, /none\.yaml cannot be read: ENOENT/);
      assert.match(error.hint ?? '', /stillpoint init/);
      return true;
    });
  });
});

const workload = (text: string): string =>
  `${head}\nworkloads: { a: { application: { sqlite: { file: /a.db } }, ${text} } }`;

const users = '{ users: { application: { sqlite: { file: /a.db } } } }';

/** A configuration and the exact lines that it is answered with, without the name of the file. */
const bad: readonly [string, string, readonly string[]][] = [
  [
    'a group without parts, and one with keys of a workload',
    `${head}\ngroups:\n  g: { parts: {} }\n  h: { parts: { a: { workload: a, storage: auto } } }`,
    [
      '3:8: groups.g.parts needs at least one part',
      '4:35: unknown key groups.h.parts.a.storage; the keys here are reach, workload, config, command',
    ],
  ],
  [
    'a group that has the name of a workload, and parts that are not here or are here twice',
    `${head}\nworkloads: ${users}\ngroups:\n  users: { parts: { a: { workload: users }, b: { workload: users }, c: { workload: x } } }`,
    [
      '4:3: there is a workload users too: give the group another name',
      '4:45: b is the same workload as a',
      '4:69: there is no workload x in this file: say where it is',
    ],
  ],
  ['an empty file', '', ['1:1: the configuration must be a map, but is empty; {} is an empty map']],
  ['a list', '- 1', ['1:1: the configuration must be a map, but is a list']],
  [
    'no YAML',
    'a: [',
    ['1:5: not YAML: flow sequence in block collection must be sufficiently indented and end with a ]'],
  ],
  ['an unknown tag', `${head}\nstateDirectory: !x /a`, ['2:17: not YAML: unresolved tag: !x']],
  ['two documents', `${head}\n---\na: 1`, ['2:1: a second YAML document begins here; the file may hold one']],
  ['a key twice', `${head}\nstateDirectory: /a\nstateDirectory: /b`, ['3:1: this key stands twice in one map']],
  ['no repository', 'workloads: {}', ['1:1: repository is missing']],
  [
    'misspelt keys, each with the right one, and no complaint that the right one is missing',
    'repository: { store: { locl: /r }, password-file: /p }\nstateDirectoy: /x\nworkload: {}',
    [
      '1:24: unknown key repository.store.locl; did you mean local?',
      '1:36: unknown key repository.password-file; did you mean passwordFile?',
      '2:1: unknown key stateDirectoy; did you mean stateDirectory?',
      '3:1: unknown key workload; did you mean workloads?',
    ],
  ],
  [
    'a key one level too high',
    workload('budget: 5s'),
    ['2:61: unknown key workloads.a.budget; did you mean hold.budget?'],
  ],
  [
    'a key that resembles nothing',
    `${head}\nfoo: 1`,
    ['2:1: unknown key foo; the keys here are repository, stateDirectory, notify, workloads, groups'],
  ],
  [
    'a key inside a list',
    workload('storage: [ { btrf: {} } ]'),
    ['2:74: unknown key workloads.a.storage[0].btrf; did you mean btrfs?'],
  ],
  [
    'a key of an adapter',
    `${head}\nworkloads: { a: { application: { sqlite: { file: /a.db, cannary: true } } } }`,
    ['2:57: unknown key workloads.a.application.sqlite.cannary; did you mean canary?'],
  ],
  ['a missing unit', workload('hold: { budget: 5 }'), ['2:77: workloads.a.hold.budget needs a unit, such as 5s']],
  [
    'a missing unit in text',
    workload('hold: { budget: "0.5" }'),
    ['2:77: workloads.a.hold.budget needs a unit, such as 0.5s'],
  ],
  [
    'an unknown unit',
    workload('hold: { budget: 5 minutes }'),
    ['2:77: workloads.a.hold.budget must be a duration such as 500ms, 5s, 2m or 1h'],
  ],
  [
    'a list as a duration',
    workload('hold: { budget: [] }'),
    ['2:69: workloads.a.hold.budget must be a duration such as 500ms, 5s, 2m or 1h'],
  ],
  [
    'a budget of nothing',
    workload('hold: { budget: 0s }'),
    ['2:77: workloads.a.hold.budget must be more than 0s and at most 24h'],
  ],
  [
    'a budget of more than a day',
    workload('hold: { budget: 25h }'),
    ['2:77: workloads.a.hold.budget must be more than 0s and at most 24h'],
  ],
  [
    'relative paths',
    'repository: { store: { local: backup }, passwordFile: key }\nstateDirectory: state',
    [
      '1:31: repository.store.local must be an absolute path',
      '1:55: repository.passwordFile must be an absolute path',
      '2:17: stateDirectory must be an absolute path',
    ],
  ],
  [
    'no password, two passwords, an empty one',
    'repository: { store: { local: /r } }',
    ['1:1: repository needs exactly one of passwordFile, passwordEnv, passwordCommand'],
  ],
  [
    'two passwords',
    'repository: { store: { local: /r }, passwordFile: /p, passwordEnv: P }',
    ['1:1: repository needs exactly one of passwordFile, passwordEnv, passwordCommand'],
  ],
  [
    'an empty command and an argument that is no text',
    'repository: { store: { local: /r }, passwordCommand: [] }\nstateDirectory: 7',
    ['1:37: repository.passwordCommand must not be empty', '2:17: stateDirectory must be text, but is a number'],
  ],
  [
    'an empty variable name',
    'repository: { store: { local: /r }, passwordEnv: "" }',
    ['1:50: repository.passwordEnv must not be empty'],
  ],
  [
    'no application',
    `${head}\nworkloads: { a: {}, b: { application: {} } }`,
    [
      '2:14: workloads.a.application is missing',
      `2:26: workloads.b.application needs exactly one application: ${engines}`,
    ],
  ],
  [
    'two applications',
    `${head}\nworkloads: { a: { application: { sqlite: { file: /a.db }, postgresql: {} } } }`,
    [`2:19: workloads.a.application needs exactly one application: ${engines}`],
  ],
  [
    'neither file nor files',
    `${head}\nworkloads: { a: { application: { sqlite: {} } } }`,
    ['2:34: workloads.a.application.sqlite needs either `file` or `files`, and not both'],
  ],
  ['a storage that is none', workload('storage: btrfs'), ['2:70: workloads.a.storage must be auto or a list']],
  ['an empty list', workload('storage: []'), ['2:61: workloads.a.storage must not be empty']],
  [
    'a provider without settings',
    workload('storage: [ { copy: } ]'),
    ['2:80: workloads.a.storage[0].copy must be a map, but is empty; {} is an empty map'],
  ],
  [
    'a wrong word',
    workload('consistency: aplication'),
    ['2:74: workloads.a.consistency must be application or crash; did you mean application?'],
  ],
  [
    'a wrong word that resembles nothing',
    workload('consistency: none'),
    ['2:74: workloads.a.consistency must be application or crash'],
  ],
  [
    'a workload name that is no file name',
    `${head}\nworkloads: { a/b: { application: { sqlite: { file: /a.db } } } }`,
    [
      '2:14: workloads.a/b: a workload name has 1 to 63 letters, digits, dots, dashes or underscores, and begins with a letter or digit',
    ],
  ],
  [
    'a number out of range and a password in the wrong place, which is not quoted',
    `${head}\nworkloads: { a: { application: { postgresql: { port: 99999, password: hunter2 } } } }`,
    [
      '2:54: workloads.a.application.postgresql.port must be at most 65535',
      '2:71: workloads.a.application.postgresql.password must be a map, but is text',
    ],
  ],
  [
    'a reach for an engine that is not reached by commands',
    workload('reach: { docker: { container: c } }'),
    ['2:61: workload a cannot have a reach: the adapter sqlite works on this machine only'],
  ],
  [
    'two reaches',
    workload('reach: { docker: { container: c }, kubernetes: { namespace: n, pod: p } }'),
    ['2:61: workloads.a.reach needs exactly one reach: docker, kubernetes, ssh'],
  ],
  [
    'a container that would be taken for an option',
    workload('reach: { docker: { container: -t, user: "a b" } }'),
    [
      '2:91: workloads.a.reach.docker.container must be the name or id of a container',
      '2:101: workloads.a.reach.docker.user must be a user, or user:group, by name or number',
    ],
  ],
  [
    'our own files among the live data',
    `repository: { store: { local: /srv/pg/backup }, passwordFile: /key }
stateDirectory: /srv/pg
workloads:
  a: { application: { postgresql: { dataDirectory: /srv/pg/ } }, drill: { directory: /srv/x/../pg/y } }`,
    [
      '1:31: the repository (/srv/pg/backup) lies inside /srv/pg/, the live data of workload a',
      '2:17: stateDirectory (/srv/pg) lies inside /srv/pg/, the live data of workload a',
      '4:86: workloads.a.drill.directory (/srv/x/../pg/y) lies inside /srv/pg/, the live data of workload a',
    ],
  ],
  [
    'the place of a value behind an alias',
    `${head}\nworkloads:\n  a: &a\n    application: { sqlite: { file: /a.db } }\n    hold: { budget: 5 }\n  b: *a`,
    [
      '5:21: workloads.a.hold.budget needs a unit, such as 5s',
      '5:21: workloads.b.hold.budget needs a unit, such as 5s',
    ],
  ],
];

describe('a bad configuration is answered with every problem, its place and the way out', () => {
  for (const [title, text, lines] of bad) {
    it(title, () => {
      assert.throws(
        () => readConfig(text, '/c.yaml'),
        (error) => {
          assert.ok(error instanceof StillpointError, String(error));
          assert.equal(error.code, 'config-invalid');
          const said = lines.map((line) => `/c.yaml:${line}`);
          const message = said.length === 1 ? said[0] : `/c.yaml has ${said.length} problems\n  ${said.join('\n  ')}`;
          assert.equal(error.message, message);
          assert.match(error.hint ?? '', /stillpoint config schema/);
          return true;
        },
      );
    });
  }

  it('a directory beside the live data, with a name that begins alike, is none of it', () => {
    readConfig(
      `repository: { store: { local: /srv/pg-backup }, passwordFile: /key }
workloads: { a: { application: { postgresql: { dataDirectory: /srv/pg } } } }`,
      '/c.yaml',
    );
  });
});

describe('reach', () => {
  it('goes with the application, with its defaults', () => {
    const { workloads } = readConfig(
      `${head}\nworkloads: { a: { application: { iris: {} }, reach: { kubernetes: { namespace: n, pod: p } } }, b: { application: { iris: {} } } }`,
      '/c.yaml',
    );
    assert.deepEqual(workloads.get('a')?.application.reach, {
      kind: 'kubernetes',
      config: { namespace: 'n', pod: 'p', program: 'kubectl' },
    });
    assert.equal(workloads.get('b')?.application.reach, undefined);
  });
});

describe('findConfig', () => {
  it('takes the named file, then the environment', async () => {
    const env = { STILLPOINT_CONFIG: '/env.yaml' };
    assert.equal(await findConfig('rel.yaml', env), resolve('rel.yaml'));
    assert.equal(await findConfig(undefined, env), '/env.yaml');
  });

  it('looks at the usual places last', async (t) => {
    const before = process.cwd();
    t.after(() => process.chdir(before));
    const directory = await newDirectory(t);
    process.chdir(directory);
    const none = await findConfig(undefined, { STILLPOINT_CONFIG: '' }).catch((error: unknown) => error);
    if (none instanceof StillpointError) assert.equal(none.code, 'config-missing');
    else assert.equal(none, '/etc/stillpoint/stillpoint.yaml');
    await writeFile(join(directory, 'stillpoint.yaml'), head);
    assert.equal(await findConfig(undefined, {}), join(process.cwd(), 'stillpoint.yaml'));
  });
});
