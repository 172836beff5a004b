import { join } from 'node:path';

export type Argv = readonly [string, ...string[]];

/** Where a GT.M command works: which programs, which global directory, with which variables of the application. */
export interface GtmPlace {
  readonly distribution: string;
  readonly globalDirectory: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly replicationInstance: string | undefined;
  /** Routines of the application, only for `verify.routine`. */
  readonly routines?: string | undefined;
  /** Private directory for a copy's processes; the live database keeps the engine's own default or what `variables` say. */
  readonly temporary?: string | undefined;
}

/**
 * The whole environment of a GT.M command. `gtm_tmp` of the live database is not replaced: gtmsecshr, the helper through which
 * processes of different users wake one another, is found by it, and one directory of our own would cut us off from it.
 */
export function environmentOf(place: GtmPlace): Readonly<Record<string, string>> {
  return {
    ...place.variables,
    gtm_dist: place.distribution,
    gtmgbldir: place.globalDirectory,
    gtmroutines: routinesOf(place),
    // Without it an error in a routine drops to a prompt, which ends at the end of the input with exit code 0.
    gtm_etrap: 'write $zstatus,! zhalt 1',
    ...(place.replicationInstance === undefined ? {} : { gtm_repl_instance: place.replicationInstance }),
    ...(place.temporary === undefined ? {} : { gtm_tmp: place.temporary, gtm_log: place.temporary }),
  };
}

/** `*` would make the processes attach to relink control segments, which stay behind. */
function routinesOf(place: GtmPlace): string {
  const utf8 = place.variables['gtm_chset']?.toUpperCase() === 'UTF-8';
  const utilities = join(place.distribution, ...(utf8 ? ['utf8'] : []), 'libgtmutil.so');
  return [...(place.routines === undefined ? [] : [place.routines.replaceAll('*', '')]), utilities].join(' ');
}

/** In the environment of the mupip that freezes; its value is the run. */
export const markVariable = 'STILLPOINT_FREEZE';

export function mupipArgv(distribution: string, args: readonly string[]): Argv {
  return [join(distribution, 'mupip'), ...args];
}

export function dseArgv(distribution: string, args: readonly string[]): Argv {
  return [join(distribution, 'dse'), ...args];
}

export function mumpsArgv(distribution: string, args: readonly string[]): Argv {
  return [join(distribution, 'mumps'), ...args];
}

/**
 * Runs a command where the live database's shared memory, semaphores and processes do not exist. The header of a copy names the
 * original's, and `mupip integ` as the first command on a copy was seen to remove the semaphores of the living original. `--mount-proc`
 * also keeps mupip from taking the original's process numbers for those of its own kind. Without root a user namespace gives the right
 * to do so, where the system allows it.
 */
export function isolatedArgv(
  argv: Argv,
  asRoot: boolean,
  owner?: { readonly uid: number; readonly gid: number },
): Argv {
  return [
    'unshare',
    ...(asRoot ? [] : ['--user', '--map-current-user']),
    '--mount',
    '--ipc',
    '--pid',
    '--fork',
    '--mount-proc',
    '--kill-child',
    ...(owner === undefined ? [] : ['setpriv', `--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups']),
    ...argv,
  ];
}

export type FreezeKind = 'plain' | 'online';

/** `-online` alone means `-autorelease`: a busy writer ends such a freeze after a fraction of a second, and nothing tells. */
export function freezeArguments(kind: FreezeKind): readonly string[] {
  return ['freeze', '-on', ...(kind === 'online' ? ['-online', '-noautorelease'] : []), '*'];
}

/** Never with `-override`: that ends other people's freezes, and on an online freeze it turns journaling off. */
export function unfreezeArguments(regions: readonly string[]): readonly string[] {
  return ['freeze', '-off', regions.join(',')];
}

export const stateArguments: readonly string[] = ['all', '-dump'];

export function journalOnArguments(region: string): readonly string[] {
  return ['set', '-region', region, '-journal=on,before'];
}

/** One line a region. PEEKBYNAME opens the database. */
export function createdCode(regions: readonly string[]): string {
  const list = regions.join(',');
  return `for i=1:1:$length("${list}",",") set r=$piece("${list}",",",i) write "REGION",$char(9),r,$char(9),$$^%PEEKBYNAME("sgmnt_data.creation_time4",r),!`;
}

/** 1 on an instance that only replication may update. */
export const updatesDisabledCode = 'write $$^%PEEKBYNAME("jnlpool_ctl_struct.upd_disabled"),!';

export const versionCode = 'write $zversion,!';

/** First of all commands on a copy: puts down what its header says about shared memory and semaphores that are not its own. */
export function rundownArguments(file: string): readonly string[] {
  return ['rundown', '-file', file, '-override'];
}

export function integArguments(file: string, how: 'full' | 'fast'): readonly string[] {
  return ['integ', ...(how === 'fast' ? ['-fast'] : []), '-file', file];
}

/** GDE's commands that bend segments to other files. A quotation mark in a name is doubled, as everywhere in M. */
export function segmentCommands(files: ReadonlyMap<string, string>): readonly string[] {
  return [...files].map(([segment, file]) => `change -segment ${segment} -file_name="${file.replaceAll('"', '""')}"`);
}
