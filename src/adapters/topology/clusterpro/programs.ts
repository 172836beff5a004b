import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandResult, Exec } from '../../../platform/exec.ts';
import {
  clusterStatus,
  environment,
  mirrorStatus,
  monitorStatus,
  resetRatio,
  resumeMonitor,
  setRatio,
  showRatio,
  suspendMonitor,
  type Argv,
} from './commands.ts';
import { hasSucceeded, parseCluster, parseMirror, parseMonitors, parseRatio } from './parse.ts';
import type { Heard, Report, Way } from './way.ts';

const lookMs = 15_000;
const actMs = 20_000;

/** By the commands of the cluster, on its servers. */
export class Programs implements Way {
  readonly #servers: ReadonlyMap<string, Exec>;
  readonly #mirrors: readonly string[];
  readonly #directory: string | undefined;

  constructor(servers: ReadonlyMap<string, Exec>, mirrors: readonly string[], directory: string | undefined) {
    this.#servers = servers;
    this.#mirrors = mirrors;
    this.#directory = directory;
  }

  async ask(signal?: AbortSignal): Promise<readonly Heard[]> {
    return await Promise.all(
      [...this.#servers].map(async ([server, exec]): Promise<Heard> => {
        try {
          return { server, report: await this.#report(exec, signal) };
        } catch (error) {
          return { server, why: messageOf(error) };
        }
      }),
    );
  }

  async #report(exec: Exec, signal: AbortSignal | undefined): Promise<Report> {
    const directory = this.#directory;
    const look = async (argv: Argv): Promise<string> => {
      const result = await exec.run({ argv, env: environment, timeoutMs: lookMs, ...given(signal) });
      if (isGood(result)) return result.stdout;
      throw new Error(failureOf(result, lookMs));
    };
    const [cluster, monitors, ratio, ...mirrors] = await Promise.all([
      look(clusterStatus(directory)).then(parseCluster),
      look(monitorStatus(directory)).then(parseMonitors),
      // Time-outs are never shortened: without this answer the cluster's own stand, which is the shortest they can be.
      look(showRatio(directory)).then(parseRatio, () => undefined),
      ...this.#mirrors.map(async (resource) => {
        const output = await look(mirrorStatus(directory, resource));
        return [resource, parseMirror(output, resource)] as const;
      }),
    ]);
    return { ...cluster, monitors, ratio, mirrors: new Map(mirrors) };
  }

  async suspend(monitor: string, server: string, signal?: AbortSignal): Promise<void> {
    await this.#act(suspendMonitor(this.#directory, monitor, server), server, signal);
  }

  async resume(monitor: string, server: string): Promise<void> {
    await this.#act(resumeMonitor(this.#directory, monitor, server), server);
  }

  async setRatio(factor: number, time: string, signal?: AbortSignal): Promise<void> {
    await this.#act(setRatio(this.#directory, factor, time), undefined, signal);
  }

  async resetRatio(): Promise<void> {
    await this.#act(resetRatio(this.#directory));
  }

  /** On the server that it concerns; where that cannot be reached, on the others: each may tell each. Twice does no harm. */
  async #act(argv: Argv, first?: string, signal?: AbortSignal): Promise<void> {
    const inOrder = [...this.#servers].toSorted(([one], [other]) => Number(other === first) - Number(one === first));
    const failed: string[] = [];
    for (const [server, exec] of inOrder) {
      try {
        const result = await exec.run({ argv, env: environment, timeoutMs: actMs, ...given(signal) });
        if (isGood(result) && hasSucceeded(result.stdout)) return;
        failed.push(`${server}: ${failureOf(result, actMs)}`);
        if (result.cancelled) break;
      } catch (error) {
        failed.push(`${server}: ${messageOf(error)}`);
      }
    }
    throw new StillpointError('command-failed', `\`${argv.join(' ')}\` did not succeed (${failed.join('; ')})`, {
      hint: 'run it by hand on a server of the cluster to see why',
    });
  }
}

function given(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function isGood({ exitCode, timedOut, cancelled }: CommandResult): boolean {
  return exitCode === 0 && !timedOut && !cancelled;
}

function failureOf({ argv, exitCode, timedOut, cancelled, stdout, stderr }: CommandResult, limitMs: number): string {
  const how = cancelled
    ? 'was cancelled'
    : timedOut
      ? `did not end within ${limitMs} ms`
      : exitCode === null
        ? 'ended in a way that is not known'
        : `ended with ${exitCode}`;
  const said = `${stdout}\n${stderr}`.trim().split('\n').slice(-3).join('; ');
  return `${argv.join(' ')} ${how}${said === '' ? '' : `: ${said}`}`;
}
