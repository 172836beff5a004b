import { join } from 'node:path';
import type { MemberPlace } from './config.ts';

export type Argv = readonly [string, ...string[]];

/** The whole environment of a command. Times are printed in the zone of their reader, and the epoch holds one. */
export function environmentOf(place: MemberPlace): Readonly<Record<string, string>> {
  return {
    ...place.environment,
    gtm_dist: place.distribution,
    gtmgbldir: place.globalDirectory,
    gtm_repl_instance: place.replicationInstance,
    TZ: 'UTC',
  };
}

/** Owner of a file, behind that of the process that asks. */
export function owners(file: string): Argv {
  return ['stat', '-L', '-c', '%u:%g', '--', '/proc/self', file];
}

function replicate({ distribution }: MemberPlace, ...args: readonly string[]): Argv {
  return [join(distribution, 'mupip'), 'replicate', ...args];
}

/** Reads the file only, so it also tells of an instance that is down. */
export function showInstance(place: MemberPlace, file = place.replicationInstance): Argv {
  return replicate(place, '-editinstance', '-show', file);
}

/** One look at the shared memory of the instance: its newest update, and every source server with its state. */
export function showPool(place: MemberPlace): Argv {
  return replicate(place, '-source', '-jnlpool', '-show');
}

export function sourceBacklog(place: MemberPlace): Argv {
  return replicate(place, '-source', '-showbacklog');
}

export function receiverHealth(place: MemberPlace): Argv {
  return replicate(place, '-receiver', '-checkhealth');
}

export function receiverBacklog(place: MemberPlace): Argv {
  return replicate(place, '-receiver', '-showbacklog');
}

/** Headers of all regions. Neither waits for a freeze nor touches it. */
export function showRegions({ distribution }: MemberPlace): Argv {
  return [join(distribution, 'dse'), 'all', '-dump'];
}

/** What there is of these processes, and who has which shared memory attached. Fails for those that are gone, and prints the others. */
export function showProcesses(pids: readonly number[]): Argv {
  return ['cat', '/proc/sysvipc/shm', ...pids.map((pid) => `/proc/${pid}/stat`)];
}

export function exists(file: string): Argv {
  return ['stat', '-c', 'exists', '--', file];
}

export function removeFile(file: string): Argv {
  return ['rm', '-f', '--', file];
}

/** With the journal in one command: a new chain of journals begins there, which is the only one that the new instance has. */
export function replicationOn({ distribution }: MemberPlace): Argv {
  return [join(distribution, 'mupip'), 'set', '-region', '*', '-replication=on', '-journal=enable,on,before'];
}

export function replicationOff({ distribution }: MemberPlace): Argv {
  return [join(distribution, 'mupip'), 'set', '-region', '*', '-replication=off'];
}

/** A copy of the instance file of an instance that runs, as if it had been closed down in order. */
export function copyInstance({ distribution }: MemberPlace, to: string): Argv {
  return [join(distribution, 'mupip'), 'backup', `-replinstance=${to}`];
}

export function createInstance(place: MemberPlace, name: string): Argv {
  return replicate(place, '-instance_create', '-noreplace', `-name=${name}`);
}

/** Header of a journal file: whether it is the first one of its chain, and with which update it begins. Reads the file only. */
export function showJournal({ distribution }: MemberPlace, file: string): Argv {
  return [join(distribution, 'mupip'), 'journal', '-show=header', '-noverify', '-forward', file];
}

const bufferBytes = 64 * 1024 * 1024;

/** Makes the pool, in which users may not update. Nobody is sent anything. */
export function startPassive(place: MemberPlace, primary: string, log: string): Argv {
  const pool = ['-updnotok', `-buffsize=${bufferBytes}`, `-log=${log}`];
  return replicate(place, '-source', '-start', '-passive', `-instsecondary=${primary}`, ...pool);
}

/** `history`: an instance file that knows whose update was the last one in the database. */
export function startReceiver(place: MemberPlace, port: number, log: string, history: string): Argv {
  const from = [`-updateresync=${history}`, '-initialize'];
  return replicate(
    place,
    '-receiver',
    '-start',
    `-listenport=${port}`,
    `-buffsize=${bufferBytes}`,
    `-log=${log}`,
    ...from,
  );
}

/** What the primary is told, by whoever decides that it sends to the new one too. */
export function startActive(place: MemberPlace, secondary: string, address: string, log: string): Argv {
  return replicate(place, '-source', '-start', `-instsecondary=${secondary}`, `-secondary=${address}`, `-log=${log}`);
}

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** One line for a shell, with the environment that the command needs. */
export function shellLine(place: MemberPlace, argv: Argv): string {
  const variables = Object.entries(environmentOf(place)).map(([name, value]) => `${name}=${quoted(value)}`);
  return ['env', ...variables, ...argv.map(plainly)].join(' ');
}

const plainly = (word: string): string => (/^[A-Za-z0-9_./:=,@-]+$/.test(word) ? word : quoted(word));

/** The first start of a replica. What does not come up is ended again, so that it can be called once more. */
export function startScript(place: MemberPlace, primary: string, to: FirstStart): string {
  const line = (argv: Argv): string => argv.map(plainly).join(' ');
  const mupip = join(place.distribution, 'mupip');
  return [
    '#!/bin/sh',
    `# First start of ${to.name} as a replica of ${primary}. Later ones are the usual ones, without -updateresync and -initialize.`,
    ...Object.entries(environmentOf(place)).map(([name, value]) => `export ${name}=${quoted(value)}`),
    `${line(startPassive(place, primary, to.passiveLog))} || exit 1`,
    line(startReceiver(place, to.port, to.receiverLog, to.history)),
    'for try in 1 2 3 4 5; do',
    `  if ${line([mupip, 'replicate', '-receiver', '-checkhealth'])} 2>&1 | grep -q 'Update process is alive'; then`,
    `    echo ${quoted(`${to.name} listens on port ${to.port}`)}`,
    '    exit 0',
    '  fi',
    '  sleep 1',
    'done',
    line([mupip, 'replicate', '-receiver', '-shutdown', '-timeout=0']),
    line([mupip, 'replicate', '-source', '-shutdown', '-timeout=0']),
    `echo ${quoted(`${to.name} did not start: see ${to.receiverLog}`)} >&2`,
    'exit 1',
    '',
  ].join('\n');
}

export interface FirstStart {
  readonly name: string;
  readonly port: number;
  readonly passiveLog: string;
  readonly receiverLog: string;
  readonly history: string;
}
