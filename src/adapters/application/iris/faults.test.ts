/**
 * Each fault was found in a script or recipe that somebody published, or reported by somebody who ran one. The title names the
 * fault; the test shows that it cannot happen here.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { HoldToken } from '../../../model/hold.ts';
import type { Application, HoldSession } from '../../../ports/application.ts';
import { iris } from './application.ts';
import { freezeExpression, windowsLine } from './commands.ts';
import { irisConfig, limitsFor } from './config.ts';
import { methodExit } from './parse.ts';
import { parseQall, parseQlist } from './parse-instances.ts';
import { judgeIntegrity, parseIntegrity } from './parse-verify.ts';
import { type ScriptedInstance, ScriptedMachine } from './scripted-machine.ts';

const token: HoldToken = { runId: 'run-1', workload: 'w', engine: 'iris', identity: 'stillpoint:run-1' };
const never = new AbortController().signal;
const logOf = (name: string): string => `/isc/${name}/mgr/stillpoint-run-1-${name}.log`;

function applicationOn(machine: ScriptedMachine, config: object = {}): Application {
  return iris.create(irisConfig.parse(config), 'w', machine.platform(), () => Promise.resolve('secret'));
}

async function prepared(machine: ScriptedMachine, config: object = {}): Promise<HoldSession> {
  const session = await applicationOn(machine, config).openHold(token, 30_000);
  await session.prepare();
  return session;
}

function machineWith(...names: readonly string[]): ScriptedMachine {
  const machine = new ScriptedMachine();
  for (const name of names) machine.add(name);
  return machine;
}

const noneFrozen = (machine: ScriptedMachine): boolean => machine.instances.every((each) => !each.suspended);

function first(machine: ScriptedMachine): ScriptedInstance {
  const [instance] = machine.instances;
  assert.ok(instance !== undefined);
  return instance;
}

interface Fault {
  readonly from: string;
  readonly title: string;
  readonly run: () => Promise<void> | void;
}

const faults: readonly Fault[] = [
  {
    from: 'AWS DLM document',
    title: 'one of two instances is frozen, the second fails, and the first stays frozen',
    run: async () => {
      const machine = machineWith('ONE', 'TWO');
      machine.deviate('freeze', 'TWO', { code: 3, acts: false });
      const answer = await (await prepared(machine)).freeze();
      assert.equal(answer.frozen, false);
      assert.ok(noneFrozen(machine), 'without any further call');
      assert.ok(machine.calls.includes('thaw ONE') && machine.calls.includes('thaw TWO'));
    },
  },
  {
    from: 'AWS DLM document',
    title: 'the last exit code wins: a failed first instance is hidden by a good second one',
    run: async () => {
      const machine = machineWith('ONE', 'TWO');
      machine.deviate('freeze', 'ONE', { code: 3, acts: false });
      assert.equal((await (await prepared(machine)).freeze()).frozen, false);
      assert.ok(noneFrozen(machine));
    },
  },
  {
    from: 'AWS DLM document',
    title: 'a retry meets the freeze of the first try and takes it for its own, or thaws that of somebody else',
    run: async () => {
      const machine = machineWith('ONE', 'TWO');
      const [one] = machine.instances;
      if (one !== undefined) one.suspended = true;
      await assert.rejects(prepared(machine), { code: 'workload-busy' });
      assert.equal(one?.suspended, true, 'a freeze that is not ours stays');
      assert.ok(!machine.calls.some((call) => call.startsWith('freeze') || call.startsWith('thaw')));
    },
  },
  {
    from: 'AWS DLM document',
    title: 'the limit resumed the write daemon before the thaw, and the snapshot is kept as good',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      assert.equal((await session.freeze()).frozen, true);
      for (const each of machine.instances) each.suspended = false;
      assert.equal((await session.ask()).frozen, false);
      const thawed = await session.thaw();
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false]);
      assert.match(thawed.said, /Already resumed/);
    },
  },
  {
    from: 'open point',
    title: 'the limit fired, and a release writes "System resumed" all the same',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine, { wdSuspendLimit: '20s' });
      assert.equal((await session.freeze()).frozen, true);
      machine.pass(20_000);
      const thawed = await session.thaw();
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false]);
      assert.match(thawed.said, /WDSuspendLimit/);
    },
  },
  {
    from: 'AWS DLM document',
    title: 'the thaw waits for a question that needs a login, which a blocked instance does not take',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      await session.freeze();
      machine.deviate('asked', 'ONE', { ended: 'timeout' });
      machine.deviate('script', 'ONE', { ended: 'timeout' });
      machine.calls.length = 0;
      const thawed = await session.thaw();
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, true]);
      assert.equal(machine.calls[0], 'thaw ONE');
      assert.ok(!machine.calls.includes('asked ONE'));
    },
  },
  {
    from: 'AWS DLM document',
    title: 'ExternalSetHistory right after the thaw lets journals be purged for a backup that nobody has verified',
    run: async () => {
      const machine = machineWith('ONE');
      const application = applicationOn(machine);
      const session = await application.openHold(token, 30_000);
      await session.prepare();
      await session.freeze();
      await session.thaw();
      await session.close();
      assert.ok(!machine.calls.includes('history ONE'));
      await application.confirm?.({ id: 'p', cutAt: '2026-01-01T00:00:00Z' });
      assert.equal(machine.calls.at(-1), 'history ONE');
      machine.deviate('history', 'ONE', { code: 1, acts: false, stdout: '<ACCESS DENIED>' });
      await assert.rejects(application.confirm?.({ id: 'p', cutAt: '' }) ?? Promise.resolve(), {
        code: 'command-failed',
      });
    },
  },
  {
    from: 'AWS DLM document',
    title: 'LOGDIR=./ and an execution id that is never set: nobody knows where the log is and whose',
    run: async () => {
      const machine = machineWith('ONE');
      await (await prepared(machine)).freeze();
      const freeze = machine.argvs.find((argv) => argv.at(-1)?.includes('ExternalFreeze'));
      assert.ok(freeze?.at(-1)?.includes(`("${logOf('ONE')}","stillpoint run-1"`));
    },
  },
  {
    from: 'AWS DLM document, VMware scripts',
    title: 'no instance is found, and that is success',
    run: async () => {
      for (const stopped of [machineWith(), machineWith('ONE')]) {
        for (const each of stopped.instances) each.state = 'down, last used Thu Sep 15 18:58:30 2016';
        await assert.rejects(applicationOn(stopped).locate(never), { code: 'database-unreachable' });
        await assert.rejects(prepared(stopped), { code: 'database-unreachable' });
      }
    },
  },
  {
    from: 'AWS DLM document',
    title: 'a line of the list that nobody understands hides an instance',
    run: async () => {
      const machine = machineWith('ONE');
      machine.deviate('qlist', '', { stdout: 'ONE^/isc/ONE^1^running^iris.cpf^1^2^3\nsomething new\n' });
      machine.deviate('list', '', { code: 1 });
      await assert.rejects(prepared(machine), { code: 'database-unreachable' });
    },
  },
  {
    from: 'Azure scripts',
    title: 'exit code 5 is read as a failure',
    run: async () => {
      assert.equal(methodExit({ exitCode: 5, timedOut: false, cancelled: false }), 'yes');
      const machine = machineWith('ONE');
      assert.equal((await (await prepared(machine)).freeze()).frozen, true);
    },
  },
  {
    from: 'Azure scripts (the corrected ones)',
    title: 'every exit code but 3 is success',
    run: async () => {
      for (const code of [0, 1, 2, 4, 124, 126, 127, 137, 255]) {
        const machine = machineWith('ONE');
        machine.deviate('freeze', 'ONE', { code, acts: false });
        const answer = await (await prepared(machine)).freeze();
        assert.equal(answer.frozen, false, String(code));
        assert.ok(answer.said.includes(`exited with ${code}`), answer.said);
      }
    },
  },
  {
    from: 'Azure scripts',
    title: 'ExternalFreeze(0): the log file is called 0',
    run: () => {
      const expression = freezeExpression({
        log: '/l',
        text: '',
        switchJournal: true,
        freezeTimeoutS: 10,
        wdSuspendLimitS: 10,
      });
      assert.ok(expression.includes('ExternalFreeze("/l",'));
    },
  },
  {
    from: 'Azure scripts',
    title: 'the thaw’s test has a syntax error, so that a failed thaw goes unnoticed',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      await session.freeze();
      machine.deviate('thaw', 'ONE', { code: 3, acts: false });
      machine.deviate('stat', 'ONE', { acts: false });
      const thawed = await session.thaw();
      assert.equal(thawed.thawed, false);
      assert.equal(machine.instances[0]?.suspended, true);
      await session.close();
      assert.ok(machine.files.has(logOf('ONE')), 'the log stays as the sign of a hold');
      assert.equal((await applicationOn(machine).status(token)).state, 'frozen');
    },
  },
  {
    from: 'Kubernetes script',
    title: 'the thaw is called whatever the freeze did, and nobody looks at its result',
    run: async () => {
      const machine = machineWith('ONE');
      machine.deviate('freeze', 'ONE', { ended: 'timeout' });
      machine.deviate('thaw', 'ONE', { code: 3, acts: false });
      machine.deviate('stat', 'ONE', { acts: false });
      const session = await prepared(machine);
      assert.equal((await session.freeze()).frozen, false);
      const thawed = await session.thaw();
      assert.equal(thawed.thawed, false, 'still suspended, and said so');
    },
  },
  {
    from: 'Kubernetes script',
    title: 'a thaw that fails once leaves the instance frozen for good',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      await session.freeze();
      machine.deviate('thaw', 'ONE', { code: 3, acts: false }, 1);
      const thawed = await session.thaw();
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, true]);
    },
  },
  {
    from: 'Kubernetes script',
    title: 'status neither 5 nor 3: no message, and the cut goes on',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      await session.freeze();
      machine.deviate('asked', 'ONE', { code: 1, acts: false });
      const asked = await session.ask();
      assert.equal(asked.frozen, false);
      assert.match(asked.said, /exited with 1/);
    },
  },
  {
    from: 'Kubernetes script',
    title: 'exit code 5 alone is taken for a freeze',
    run: async () => {
      const silent = machineWith('ONE');
      silent.deviate('freeze', 'ONE', { code: 5, acts: false });
      assert.equal((await (await prepared(silent)).freeze()).frozen, false, 'the log says nothing');
      const denied = machineWith('ONE');
      denied.deviate('asked', 'ONE', { code: 3 }, 1);
      assert.equal((await (await prepared(denied)).freeze()).frozen, false, 'the engine denies it');
      assert.ok(noneFrozen(denied));
    },
  },
  {
    from: 'Kubernetes script',
    title: 'the thaw runs before the cut, because something else ended first',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      await session.freeze();
      machine.pass(10_000);
      assert.equal((await session.ask()).frozen, true);
      assert.ok(!machine.calls.includes('thaw ONE'), 'nobody thaws but on the word');
      assert.equal((await session.thaw()).heldThroughout, true);
    },
  },
  {
    from: 'Kubernetes script, VMware scripts',
    title: 'no limit in the engine: a killed script leaves it frozen',
    run: async () => {
      const machine = machineWith('ONE');
      await (await prepared(machine)).freeze();
      const freeze = machine.argvs.find((argv) => argv.at(-1)?.includes('ExternalFreeze'));
      assert.match(freeze?.at(-1) ?? '', /,1,,,,35,,,35\)$/);
      first(machine).answers = { formal: 'LogFile,Text,SwitchJournalFile' };
      first(machine).suspended = false;
      await assert.rejects(prepared(machine), /no WDSuspendLimit/);
      assert.ok(await prepared(machine, { requireSuspendLimit: false }));
    },
  },
  {
    from: 'Kubernetes script',
    title: 'a killed script leaves it frozen, and nobody else can thaw',
    run: async () => {
      const machine = machineWith('ONE', 'TWO');
      await (await prepared(machine)).freeze();
      const stranger = applicationOn(machine);
      assert.equal((await stranger.status(token)).state, 'frozen');
      const thawed = await stranger.thaw(token);
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false]);
      assert.ok(noneFrozen(machine));
      assert.equal((await stranger.thaw(token)).thawed, true, 'again');
      assert.ok(!machine.files.has(logOf('ONE')), 'nothing is left behind');
    },
  },
  {
    from: 'Kubernetes script',
    title: '-it: the command wants a terminal that is not there, or waits for an answer on it',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      await session.freeze();
      await session.thaw();
      for (const { argv, timeoutMs } of machine.commands) {
        assert.ok(!argv.some((each) => /^-(?:it|ti|t|i)$/.test(each)), argv.join(' '));
        assert.ok(timeoutMs > 0 && timeoutMs <= 30_000, `${argv.join(' ')} has a limit`);
      }
      const sessions = machine.commands.filter(({ argv }) => argv[1] === 'session');
      assert.ok(
        sessions.every(({ stdin }) => typeof stdin === 'string'),
        'standard input ends',
      );
    },
  },
  {
    from: 'CronJob of a container guide',
    title: 'set -e: exit code 5 aborts the script between freeze and thaw',
    run: async () => {
      const machine = machineWith('ONE', 'TWO');
      const session = await prepared(machine);
      assert.equal((await session.freeze()).frozen, true);
      assert.equal((await session.thaw()).thawed, true);
      assert.ok(noneFrozen(machine));
    },
  },
  {
    from: 'Operator’s liveness check',
    title: '"running" in qlist is taken for "not frozen"',
    run: async () => {
      const machine = machineWith('ONE');
      await (await prepared(machine)).freeze();
      machine.deviate('asked', 'ONE', { ended: 'timeout' });
      assert.equal((await applicationOn(machine).status(token)).state, 'unknown');
    },
  },
  {
    from: 'Mirror samples',
    title: 'the result of mounting or dismounting is not looked at',
    run: () => {
      const report = parseIntegrity('No Errors were found.');
      assert.equal(judgeIntegrity('1', report, ['/copy/a'], []).sound, false);
    },
  },
  {
    from: 'VMware scripts',
    title: 'a stray argument after a cut redirection',
    run: async () => {
      const machine = machineWith('ONE');
      await (await prepared(machine)).freeze();
      for (const argv of machine.argvs.filter((each) => each[1] === 'session')) {
        assert.ok(argv.length === 4 || argv.length === 5, argv.join(' '));
      }
    },
  },
  {
    from: 'VMware scripts',
    title: 'a freeze timeout of 1800 s, above what the engine is said to take',
    run: () => {
      for (const budgetMs of [1_000, 1_800_000]) {
        assert.ok(limitsFor(irisConfig.parse({}), budgetMs).freezeTimeoutS <= 600);
      }
    },
  },
  {
    from: 'VMware scripts',
    title: 'the thaw visits only instances that are listed as up',
    run: async () => {
      const machine = machineWith('ONE');
      await (await prepared(machine)).freeze();
      for (const state of ['starting or stopping', 'incomplete start or stop, logins disabled', 'sign-on inhibited']) {
        const one = machine.instances[0];
        if (one !== undefined) [one.state, one.suspended] = [state, true];
        machine.files.set(logOf('ONE'), '08/11/2021 05:49:44: Backup.General.ExternalFreeze: System suspended\n');
        assert.equal((await applicationOn(machine).thaw(token)).thawed, true, state);
        assert.ok(noneFrozen(machine), state);
      }
    },
  },
  {
    from: 'VMware scripts',
    title: 'the list of instances hangs with an instance, and the thaw with it',
    run: async () => {
      const machine = machineWith('ONE');
      await (await prepared(machine)).freeze();
      machine.deviate('qlist', '', { ended: 'timeout', acts: false });
      machine.deviate('list', '', { ended: 'timeout', acts: false });
      const beganMs = machine.clock.monoMs();
      const named = await applicationOn(machine, { instances: ['ONE'] }).thaw(token);
      assert.equal(named.thawed, true, named.said);
      assert.ok(noneFrozen(machine));
      assert.ok(machine.clock.monoMs() - beganMs <= 12_000);
      const unnamed = await applicationOn(machine).thaw(token);
      assert.equal(unnamed.thawed, false, 'nobody knows which instances there are: an alarm');
    },
  },
  {
    from: 'Epic site script',
    title: 'the default instance is called >CACHE',
    run: () => {
      const row = parseQall('up >CACHE             2018.1.5.659.0    1972   /usr/cachesys/')[0];
      assert.deepEqual([row?.name, row?.isDefault], ['CACHE', true]);
    },
  },
  {
    from: 'Ansible module',
    title: 'the whole output is split, so that two instances become one with 25 fields',
    run: () => {
      const line = (name: string): string =>
        `${name}^/isc/${name}^2024.1^running^iris.cpf^1^2^3^ok^IRIS^^^/isc/${name}`;
      const { instances } = parseQlist(`${line('ONE')}\n${line('TWO')}\n`);
      assert.deepEqual(
        instances.map(({ name, directory }) => [name, directory]),
        [
          ['ONE', '/isc/ONE'],
          ['TWO', '/isc/TWO'],
        ],
      );
    },
  },
  {
    from: 'Windows scripts',
    title: '%%SYS where nothing takes away the second percent sign',
    run: async () => {
      const machine = machineWith('ONE');
      await (await prepared(machine)).freeze();
      assert.ok(machine.argvs.every((argv) => !argv.some((each) => each.includes('%%'))));
      assert.ok(!windowsLine('C:\\b', 'C:\\m', 'x', 'prompt').includes('%%'));
      assert.ok(windowsLine('C:\\b', 'C:\\m', 'x', 'cmd-file').includes('-U%%SYS'));
    },
  },
  {
    from: 'Windows scripts, Unix too',
    title: 'a login is asked for, and the answer is waited for without end',
    run: async () => {
      for (const stdout of ['Username: ', '<ACCESS DENIED>', '<LICENSE LIMIT EXCEEDED>', 'IRIS not up (2)']) {
        const machine = machineWith('ONE');
        machine.deviate('script', 'ONE', { acts: false, code: 1, stdout });
        await assert.rejects(
          prepared(machine),
          (error: { code?: string }) => /^database-/.test(error.code ?? ''),
          stdout,
        );
        assert.ok(noneFrozen(machine));
      }
    },
  },
  {
    from: 'a site that could not log in any more',
    title: 'the thaw’s session cannot start at all, and nothing else is tried',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      await session.freeze();
      machine.deviate('thaw', 'ONE', { ended: 'timeout', acts: false });
      const thawed = await session.thaw();
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false]);
      assert.ok(noneFrozen(machine));
      assert.ok(machine.argvs.some((argv) => argv.join(' ') === '/usr/bin/iris stat ONE -W'));
    },
  },
  {
    from: 'documentation',
    title: 'a database that is not journaled loses its updates when the system crashes in the freeze',
    run: async () => {
      const known = machineWith('ONE');
      first(known).answers = { journaled: '2=/isc/ONE/mgr/user' };
      await assert.rejects(prepared(known), /not journaled: \/isc\/ONE\/mgr\/user/);
      const late = machineWith('ONE');
      first(late).notJournaled = ['/isc/ONE/mgr/user/'];
      assert.equal((await (await prepared(late)).freeze()).frozen, false);
      assert.ok(noneFrozen(late));
      const allowed = machineWith('ONE');
      first(allowed).notJournaled = ['/isc/ONE/mgr/irislocaldata/'];
      assert.equal((await (await prepared(allowed)).freeze()).frozen, true);
    },
  },
  {
    from: 'documentation',
    title: 'journaling is stopped, or the mirror member is not settled, and the freeze is made all the same',
    run: async () => {
      for (const answers of [
        { journal: 'Suspended' },
        { member: '1', mirror: 'TRANSITION' },
        { member: '1', mirror: 'BACKUP', ready: '0|Dejournaling is stopped' },
        { member: '1', mirror: undefined },
      ]) {
        const machine = machineWith('ONE');
        first(machine).answers = answers;
        await assert.rejects(prepared(machine), (error: { code?: string }) =>
          /^(?:freeze-failed|role-unsuitable)$/.test(error.code ?? ''),
        );
        assert.ok(!machine.calls.includes('freeze ONE'));
      }
    },
  },
  {
    from: 'own review',
    title: 'somebody else thaws and freezes again while the volumes are cut',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      await session.freeze();
      const [one] = machine.instances;
      assert.ok(one !== undefined);
      machine.log(one, '', 'ExternalThaw', 'System resumed');
      machine.log(one, '', 'ExternalFreeze', 'System suspended');
      assert.equal((await session.ask()).frozen, true, 'the question cannot see it');
      const thawed = await session.thaw();
      assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false]);
    },
  },
  {
    from: 'own review',
    title: 'the freeze comes to its end after everybody has thawed',
    run: async () => {
      const machine = machineWith('ONE');
      machine.deviate('freeze', 'ONE', { ended: 'timeout', acts: false });
      const session = await prepared(machine);
      const [one] = machine.instances;
      assert.ok(one !== undefined);
      let late = true;
      machine.after = (call) => {
        if (call !== 'thaw ONE' || !late) return;
        late = false;
        machine.log(one, logOf('ONE'), 'ExternalFreeze', 'System suspended');
        one.suspended = true;
      };
      assert.equal((await session.freeze()).frozen, false);
      assert.ok(noneFrozen(machine));
    },
  },
  {
    from: 'own review',
    title: 'a freeze of somebody else is thawed by the recovery of an old run',
    run: async () => {
      const machine = machineWith('ONE');
      const [one] = machine.instances;
      if (one !== undefined) one.suspended = true;
      const thawed = await applicationOn(machine).thaw(token);
      assert.equal(thawed.thawed, false, 'it may be ours after all: an alarm');
      assert.equal(one?.suspended, true);
      assert.equal((await applicationOn(machine).status(token)).state, 'unknown');
    },
  },
  {
    from: 'own review',
    title: 'the thaw waits for the command that gives the password',
    run: async () => {
      const machine = machineWith('ONE');
      await (await prepared(machine)).freeze();
      const config = irisConfig.parse({ login: { user: 'backup', password: { command: ['vault'] } } });
      const hanging = iris.create(config, 'w', machine.platform(), () => new Promise(() => undefined));
      const thawed = await hanging.thaw(token);
      assert.equal(thawed.thawed, true);
      assert.ok(noneFrozen(machine));
    },
  },
  {
    from: 'own review',
    title: 'the engine counts more databases that are not journaled than it names',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine);
      machine.after = (call) => {
        if (call !== 'freeze ONE') return;
        const said = 'Warning, 2 databases are not journalled, data will be lost in them';
        machine.log(first(machine), logOf('ONE'), 'ExternalFreeze', said);
      };
      assert.equal((await session.freeze()).frozen, false);
      assert.ok(noneFrozen(machine));
    },
  },
  {
    from: 'own review',
    title: 'the password stands in the list of processes',
    run: async () => {
      const machine = machineWith('ONE');
      const session = await prepared(machine, { login: { user: 'backup', password: { env: 'X' } } });
      await session.freeze();
      await session.thaw();
      assert.ok(machine.argvs.flat().every((each) => !each.includes('secret')));
      const asked = machine.commands.find(({ argv }) => argv.at(-1)?.includes('IsWDSuspendedExt'));
      assert.equal(asked?.stdin, 'backup\nsecret\n');
    },
  },
];

describe('iris: faults of published scripts', () => {
  for (const { from, title, run } of faults) it(`${from}: ${title}`, async () => run());
});
