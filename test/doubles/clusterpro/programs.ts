import {
  backupPost,
  backupPre,
  breakMirror,
  milliseconds,
  restorePost,
  restorePre,
  resume,
  suspend,
  type Answer,
} from './actions.ts';
import { takeFault, type World } from './world.ts';
import type { Fault, Server } from './state.ts';
import { lsblk, lsblkJson, mdstat, monitorStat, stat } from './texts.ts';

const succeeded: Answer = { out: 'Command succeeded.\n', code: 0 };

function failed(said: string, code = 1): Answer {
  return { out: '', err: `Error: ${said}\n`, code };
}

/** As the client of SSH ends whose server is not there. */
function refused(server: string, how = 'Connection refused'): Answer {
  return { out: '', err: `ssh: connect to host ${server} port 22: ${how}\n`, code: 255 };
}

function option(args: readonly string[], name: string): string | undefined {
  const at = args.indexOf(name);
  return at === -1 ? undefined : args[at + 1];
}

type Program = (world: World, server: Server, args: readonly string[]) => Answer;

function answered(problem: string | undefined): Answer {
  return problem === undefined ? succeeded : failed(problem);
}

function phases(pre: typeof backupPre, post: typeof backupPost): Program {
  return (world, server, args) => {
    const [phase, ...rest] = args;
    const options: Record<string, true> = {};
    for (const each of rest) options[each.replace(/^--/, '')] = true;
    if (phase === '--pre') return pre(world, server, options);
    return phase === '--post' ? post(world, server, options) : failed('Invalid option.', 2);
  };
}

function onServer(world: World, server: Server, args: readonly string[]): Server | undefined {
  const name = option(args, '-h');
  return name === undefined ? server : world.state.servers.find((each) => each.name === name);
}

const needsService = (program: Program): Program => {
  return (world, server, args) => (server.service ? program(world, server, args) : failed('Cluster is stopped.', 1));
};

/** Names of the executables in the directory `bin/SERVER`. */
export const programs: Readonly<Record<string, Program>> = {
  clpmdstat: needsService((world, _, args) =>
    option(args, '--mirror') === 'md1' ? { out: mdstat(world), code: 0 } : failed('The resource name is invalid.'),
  ),
  clpstat: needsService((world, server, args) => ({
    out: args.includes('-m') ? monitorStat(world, server.name) : stat(world, server.name),
    code: 0,
  })),
  clpgrp: needsService((world, server, args) => {
    const on = onServer(world, server, args);
    if (on === undefined) return failed('Invalid server name.');
    if (args.includes('-t')) return answered(world.stopGroup(true));
    return args.includes('-s') ? answered(world.startGroup(on)) : failed('Invalid option.', 2);
  }),
  clpmonctrl: needsService((world, server, args) => {
    const on = onServer(world, server, args);
    const monitor = option(args, '-m');
    if (on === undefined || monitor === undefined) return failed('Invalid option.', 2);
    if (args.includes('-s')) return answered(suspend(world, monitor, on));
    return args.includes('-r') ? answered(resume(world, monitor, on)) : failed('Invalid option.', 2);
  }),
  clpmdctrl: needsService((world, server, args) => {
    const [action, resource] = args;
    if (resource !== 'md1') return failed('The resource name is invalid.');
    if (action === '--break') {
      const problem = breakMirror(world, server);
      return problem === undefined ? { out: 'md1: Isolated completed successfully\n', code: 0 } : failed(problem);
    }
    if (action !== '--recovery') return failed('Invalid option.', 2);
    const problem = world.startRecovery();
    return problem === undefined ? { out: 'Command succeeded.\n', code: 0 } : failed(problem);
  }),
  clptoratio: needsService((world, _, args) => {
    if (args.includes('-s')) return { out: `present toratio : ${world.state.ratio}\n`, code: 0 };
    if (args.includes('-i')) {
      world.setRatio(1);
      return succeeded;
    }
    const forMs = milliseconds(option(args, '-t') ?? '');
    const ratio = Number(option(args, '-r'));
    if (!(ratio >= 1 && ratio <= 10_000) || Number.isNaN(forMs)) return failed('Invalid option.', 2);
    world.setRatio(ratio, forMs);
    return succeeded;
  }),
  'clpbackup.sh': phases(backupPre, backupPost),
  'clprestore.sh': phases(restorePre, restorePost),
  lsblk: (world, server, args) => ({ out: (args.includes('--json') ? lsblkJson : lsblk)(world, server.name), code: 0 }),
  // Of the system, not of the cluster. That `--pre` and `--post` disable and enable this unit is a guess.
  cat: (_, server) => ({ out: `boot-${server.name}-${server.boots}\n`, code: 0 }),
  systemctl: (_, server) => ({
    out: [
      'LoadState=loaded',
      `ActiveState=${server.service ? 'active' : 'inactive'}`,
      `UnitFileState=${server.startup === 'auto' ? 'enabled' : 'disabled'}`,
      '',
    ].join('\n'),
    code: 0,
  }),
};

/** One command on one server. `hang` in the answer's place: it is to hang. */
export function runProgram(world: World, name: string, program: string, args: readonly string[]): Answer | 'hang' {
  const server = world.server(name);
  const line = [program, ...args].join(' ');
  world.state.calls.push({ server: name, what: line });
  if (server.power !== 'running') return refused(name);
  if (server.silentFromMs !== null) return refused(name, 'Connection timed out');
  const fault = takeFault(world.state, line, name);
  if (fault?.how === 'hangs') return 'hang';
  if (fault?.how === 'lost') return refused(name, 'Connection reset by peer');
  if (fault?.how === 'fails') return injected(fault);
  const run = programs[program];
  if (run === undefined) return { out: '', err: `${program}: command not found\n`, code: 127 };
  if (fault?.how === 'does-nothing') return { out: fault.said ?? succeeded.out, code: 0 };
  const answer = run(world, server, args);
  return fault?.how === 'acts-then-lost' ? refused(name, 'Connection reset by peer') : answer;
}

function injected({ said, code }: Fault): Answer {
  return failed(said ?? 'Internal error. Check if memory or OS resources are sufficient.', code ?? 1);
}
