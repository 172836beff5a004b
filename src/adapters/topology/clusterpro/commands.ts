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

export function stopGroup(directory: string | undefined, group: string): Argv {
  return [program(directory, 'clpgrp'), '-t', group];
}

/** On the server where it is run. */
export function startGroup(directory: string | undefined, group: string): Argv {
  return [program(directory, 'clpgrp'), '-s', group];
}

export function breakMirror(directory: string | undefined, resource: string): Argv {
  return [program(directory, 'clpmdctrl'), '--break', resource];
}

export function recoverMirror(directory: string | undefined, resource: string): Argv {
  return [program(directory, 'clpmdctrl'), '--recovery', resource];
}

const phases = {
  'backup-pre': ['clpbackup.sh', '--pre'],
  'backup-post': ['clpbackup.sh', '--post'],
  'restore-pre': ['clprestore.sh', '--pre'],
  'restore-post': ['clprestore.sh', '--post', '--skip-copy'],
} as const;

export function phaseOf(directory: string | undefined, phase: keyof typeof phases): Argv {
  const [name, ...options] = phases[phase];
  return [program(directory, name), ...options];
}

export const bootIdOf: Argv = ['cat', '/proc/sys/kernel/random/boot_id'];

/** `--post` and `--pre` change whether this unit starts at a boot. */
export const unitOf: Argv = ['systemctl', 'show', 'clusterpro', '--property=LoadState,ActiveState,UnitFileState'];

export const disksOf: Argv = ['lsblk', '--json', '--paths', '--output', 'NAME,TYPE,SERIAL'];
