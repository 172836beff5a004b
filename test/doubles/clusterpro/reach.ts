import { join } from 'node:path';
import { z } from 'zod';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec, type Command, type CommandResult, type Exec } from '../../../src/platform/exec.ts';
import type { ReachModule } from '../../../src/ports/module.ts';
import type { ClusterproStandIn } from './stand-in.ts';

interface Settings {
  readonly host: string;
}

/** A reach in the form of that over SSH: what the client itself says with 255 is an end that nobody knows. */
function reach(execOf: (server: string) => Exec['run']): ReachModule<Settings> {
  return {
    kind: 'ssh',
    config: z.strictObject({ host: z.string() }),
    create: ({ host }, local) => {
      const run: Exec['run'] = async (command) => {
        const result = await execOf(host)(command);
        return result.exitCode === 255 ? { ...result, exitCode: null } : result;
      };
      return { ...local, name: host, exec: { ...local.exec, run } };
    },
  };
}

/** Every command a process of its own, which lives on when its caller dies. */
export function processReach(root: string): ReachModule<Settings> {
  return reach((server) => (command) => {
    const [program, ...args] = command.argv;
    return systemExec.run({ ...command, argv: [join(root, 'bin', server, program), ...args] });
  });
}

/** What a test does around each command; one that never comes back is a caller that was killed there. */
export interface Around {
  readonly before?: (command: Command) => void | Promise<void>;
  readonly after?: (command: Command) => void | Promise<void>;
}

/** In this process, for the sake of speed; what hangs is at its limit at once. */
export function quickReach(standIn: ClusterproStandIn, around: Around = {}): ReachModule<Settings> {
  return reach((server) => async (command): Promise<CommandResult> => {
    await around.before?.(command);
    const startedMs = systemClock.monoMs();
    const cancelled = command.signal?.aborted === true;
    const [program, ...args] = command.argv;
    const ended = cancelled ? { exitCode: null, stdout: '', stderr: '' } : standIn.run(server, program, ...args);
    const timedOut = ended.exitCode === null && !cancelled;
    const endedMs = systemClock.monoMs();
    await around.after?.(command);
    return { argv: command.argv, ...ended, killedBy: null, timedOut, cancelled, startedMs, endedMs };
  });
}
