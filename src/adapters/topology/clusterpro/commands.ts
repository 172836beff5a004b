import { posix } from 'node:path';

export type Argv = readonly [string, ...string[]];

/** The words below are those of the C locale; others stand in Japanese or Chinese. */
export const environment: Readonly<Record<string, string>> = { LANG: 'C', LC_ALL: 'C' };

function program(directory: string | undefined, name: string): string {
  return directory === undefined ? name : posix.join(directory, name);
}

/** `--long`: names are not cut to 16 characters. */
export function clusterStatus(directory: string | undefined): Argv {
  return [program(directory, 'clpstat'), '--long'];
}

export function monitorStatus(directory: string | undefined): Argv {
  return [program(directory, 'clpstat'), '-m'];
}

export function mirrorStatus(directory: string | undefined, resource: string): Argv {
  return [program(directory, 'clpmdstat'), '--mirror', resource];
}

export function showRatio(directory: string | undefined): Argv {
  return [program(directory, 'clptoratio'), '-s'];
}

export function setRatio(directory: string | undefined, factor: number, time: string): Argv {
  return [program(directory, 'clptoratio'), '-r', String(factor), '-t', time];
}

export function resetRatio(directory: string | undefined): Argv {
  return [program(directory, 'clptoratio'), '-i'];
}

export function suspendMonitor(directory: string | undefined, monitor: string, server: string): Argv {
  return [program(directory, 'clpmonctrl'), '-s', '-h', server, '-m', monitor];
}

export function resumeMonitor(directory: string | undefined, monitor: string, server: string): Argv {
  return [program(directory, 'clpmonctrl'), '-r', '-h', server, '-m', monitor];
}
