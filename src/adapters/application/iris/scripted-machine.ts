import { StillpointError } from '../../../model/errors.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { Command, CommandResult, Exec } from '../../../platform/exec.ts';
import { silent } from '../../../platform/logger.ts';
import type { Platform } from '../../../ports/module.ts';

/** What one call does instead of what is documented. `ended: 'timeout'`: it never came back and was killed. */
export interface Deviation {
  readonly code?: number;
  readonly ended?: 'timeout';
  /** False: nothing happens in the engine. */
  readonly acts?: boolean;
  readonly stdout?: string;
}

export type Call = 'qlist' | 'list' | 'freeze' | 'thaw' | 'asked' | 'history' | 'script' | 'stat' | 'read' | 'touch';

export interface ScriptedInstance {
  readonly name: string;
  state: string;
  mirror: string;
  suspended: boolean;
  notJournaled: readonly string[];
  /** Answers of the session script, by name; undefined leaves one out. */
  answers: Record<string, string | undefined>;
}

/**
 * A machine with instances that exist only in the memory of one test: for faults that a process cannot be brought to at a chosen
 * moment. Time passes only when somebody sleeps, or by `pass`.
 */
export class ScriptedMachine {
  readonly instances: ScriptedInstance[] = [];
  readonly files = new Map<string, string>();
  /** Calls in the order in which they came, `freeze IRIS`. */
  readonly calls: string[] = [];
  readonly argvs: (readonly string[])[] = [];
  readonly commands: Command[] = [];
  #deviations: { readonly call: Call; readonly instance: string; readonly how: Deviation; times: number }[] = [];
  #nowMs = 1000;
  /** Runs after each call, for what others do meanwhile. */
  after: (call: string) => void = () => undefined;

  add(name: string, more: Partial<ScriptedInstance> = {}): ScriptedInstance {
    const instance: ScriptedInstance = {
      name,
      state: 'running, since Fri May 13 22:07:02 2016',
      mirror: '^',
      suspended: false,
      notJournaled: [],
      answers: {},
      ...more,
    };
    this.instances.push(instance);
    this.files.set(`/isc/${name}/iris.cpf`, `[Databases]\nIRISSYS=/isc/${name}/mgr/\nUSER=/isc/${name}/mgr/user/\n`);
    this.files.set(`/isc/${name}/mgr/messages.log`, 'old\n');
    return instance;
  }

  deviate(call: Call, instance: string, how: Deviation, times = Number.POSITIVE_INFINITY): void {
    this.#deviations.push({ call, instance, how, times });
  }

  pass(ms: number): void {
    this.#nowMs += ms;
  }

  log(instance: ScriptedInstance, file: string, method: string, said: string): void {
    const path = `/isc/${instance.name}/mgr/messages.log`;
    this.files.set(
      path,
      `${this.files.get(path) ?? ''}08/11/21-05:49:44:347 (18374) 0 [Utility.Event] Backup.General.${method}: ${said}\n`,
    );
    if (file === '') return;
    this.files.set(file, `${this.files.get(file) ?? ''}08/11/2021 05:49:43: Backup.General.${method}: ${said}\n`);
  }

  get clock(): Clock {
    return {
      now: () => ({ monoMs: this.#nowMs, wall: new Date(this.#nowMs).toISOString() }),
      monoMs: () => this.#nowMs,
      wallMs: () => this.#nowMs,
      sleep: async (ms) => this.pass(ms),
      after: () => () => undefined,
      every: () => () => undefined,
    };
  }

  platform(): Platform {
    const exec: Exec = {
      run: async (command) => this.#run(command),
      check: async (command) => this.#run(command),
      start: () => {
        throw new Error('nothing of this adapter stays running');
      },
      which: async (program) => (program === 'iris' ? '/usr/bin/iris' : undefined),
    };
    const host = {
      name: 'scripted',
      exec,
      pathHere: async (path: string) => path,
      stackOf: () => Promise.reject(new Error('no storage')),
      freeBytes: () => Promise.reject(new Error('no storage')),
    };
    return { exec, clock: this.clock, log: silent, host, stateDirectory: '/nonexistent' };
  }

  #run(command: Command): CommandResult {
    if (command.timeoutMs <= 0) throw new StillpointError('command-failed', 'a call without a limit');
    this.argvs.push(command.argv);
    this.commands.push(command);
    const startedMs = this.#nowMs;
    const { call, instance } = this.#name(command);
    const label = `${call} ${instance?.name ?? ''}`.trim();
    this.calls.push(label);
    const deviation = this.#take(call, instance?.name ?? '');
    let [code, stdout] = [0, ''];
    if (deviation?.acts !== false) [code, stdout] = this.#act(command, call, instance);
    const timedOut = deviation?.ended === 'timeout';
    this.#nowMs += timedOut ? command.timeoutMs : 1;
    this.after(label);
    return {
      argv: command.argv,
      exitCode: timedOut ? null : (deviation?.code ?? code),
      killedBy: timedOut ? 'SIGKILL' : null,
      timedOut,
      cancelled: command.signal?.aborted ?? false,
      stdout: deviation?.stdout ?? stdout,
      stderr: '',
      startedMs,
      endedMs: this.#nowMs,
    };
  }

  #take(call: string, instance: string): Deviation | undefined {
    const found = this.#deviations.find((each) => each.call === call && each.instance === instance && each.times > 0);
    if (found !== undefined) found.times -= 1;
    return found?.how;
  }

  #name({ argv, stdin }: Command): { readonly call: string; readonly instance: ScriptedInstance | undefined } {
    const [program, verb = '', name = ''] = argv;
    const expression = argv[4] ?? '';
    const instance = this.instances.find((each) => each.name === name);
    const others: Readonly<Record<string, string>> = { cat: 'read', tail: 'read', stat: 'size' };
    if (program !== '/usr/bin/iris') return { call: others[program] ?? program, instance };
    if (verb !== 'session') return { call: verb, instance };
    const method = /\.(\w+)\(/.exec(expression)?.[1] ?? '';
    const calls: Readonly<Record<string, string>> = {
      ExternalFreeze: 'freeze',
      ExternalThaw: 'thaw',
      IsWDSuspendedExt: 'asked',
    };
    if (typeof stdin === 'string' && stdin.includes('ExternalSetHistory')) return { call: 'history', instance };
    return { call: calls[method] ?? (stdin === undefined ? 'unknown' : 'script'), instance };
  }

  #act(command: Command, call: string, instance: ScriptedInstance | undefined): [number, string] {
    const { argv } = command;
    const last = argv.at(-1) ?? '';
    switch (call) {
      case 'qlist':
        return [
          0,
          this.instances
            .map(
              (each) => `${each.name}^/isc/${each.name}^2024.1^${each.state}^iris.cpf^1^2^3^ok^IRIS^${each.mirror}^\n`,
            )
            .join(''),
        ];
      case 'freeze':
        return this.#freeze(last, instance);
      case 'thaw':
        return this.#thaw(last, instance);
      case 'asked':
        return [instance?.suspended === true ? 5 : 3, ''];
      case 'stat':
        if (instance !== undefined && last === '-W') instance.suspended = false;
        return [0, ''];
      case 'history':
        return [0, '%SYS>\nSP:history=1\n'];
      case 'script':
        return [0, this.#answers(instance)];
      case 'read':
        return this.#read(argv);
      case 'ls':
        return [
          0,
          [...this.files.keys()]
            .filter((path) => path.startsWith(`${last}/`))
            .map((path) => path.slice(last.length + 1))
            .join('\n'),
        ];
      case 'touch':
        this.files.set(last, this.files.get(last) ?? '');
        return [0, ''];
      case 'rm':
        this.files.delete(last);
        return [0, ''];
      case 'size': {
        const size = this.files.get(last)?.length;
        return size === undefined ? [1, ''] : [0, `${size}\n`];
      }
      default:
        return [0, ''];
    }
  }

  #read(argv: readonly string[]): [number, string] {
    const text = this.files.get(argv.at(-1) ?? '');
    if (text === undefined) return [1, ''];
    return [0, argv[0] === 'tail' ? text.slice(Number((argv[2] ?? '').slice(1)) - 1) : text];
  }

  #freeze(expression: string, instance: ScriptedInstance | undefined): [number, string] {
    if (instance === undefined) return [1, ''];
    const file = /ExternalFreeze\("([^"]*)"/.exec(expression)?.[1] ?? '';
    this.log(instance, file, 'ExternalFreeze', 'Suspending system');
    for (const each of instance.notJournaled)
      this.log(instance, file, 'ExternalFreeze', `Warning, ${each} is not being journalled`);
    this.log(
      instance,
      file,
      'ExternalFreeze',
      'Start a journal restore for this backup with journal file: /j/20210811.003',
    );
    this.files.set(file, `${this.files.get(file) ?? ''}\nJournal marker set at\noffset 262272 of /j/20210811.003\n`);
    this.log(instance, file, 'ExternalFreeze', 'System suspended');
    instance.suspended = true;
    return [5, ''];
  }

  #thaw(expression: string, instance: ScriptedInstance | undefined): [number, string] {
    if (instance === undefined) return [1, ''];
    const file = /ExternalThaw\("([^"]*)"/.exec(expression)?.[1] ?? '';
    this.log(instance, file, 'ExternalThaw', 'Resuming system');
    this.log(instance, file, 'ExternalThaw', instance.suspended ? 'System resumed' : 'Already resumed');
    instance.suspended = false;
    return [5, ''];
  }

  #answers(instance: ScriptedInstance | undefined): string {
    const answers = {
      version: 'IRIS for UNIX 2024.1',
      journal: 'Normal',
      suspended: instance?.suspended === true ? '1' : '0',
      mirror: 'NOTINIT',
      member: '0',
      formal:
        'LogFile,Text,SwitchJournalFile,TimeOut,Hibernate,Verbose,ExternalFreezeTimeOut,Username,Password,WDSuspendLimit,&RequiredFile',
      required: '/j/20210811.001',
      ...instance?.answers,
    };
    return Object.entries(answers)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `\n%SYS>\nSP:${name}=${value}\n`)
      .join('');
  }
}
