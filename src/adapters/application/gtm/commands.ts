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

export function mupipArgv(distribution: string, args: readonly string[]): Argv {
  return [join(distribution, 'mupip'), ...args];
}

export function dseArgv(distribution: string, args: readonly string[]): Argv {
  return [join(distribution, 'dse'), ...args];
}

export function mumpsArgv(distribution: string, args: readonly string[]): Argv {
  return [join(distribution, 'mumps'), ...args];
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

/** One line a region: name, file, creation time in seconds since 1970. Opens nothing but the global directory unless `created`. */
export function regionsCode(created: boolean): string {
  const time = created ? ',$char(9),$$^%PEEKBYNAME("sgmnt_data.creation_time4",r)' : '';
  return `set r="" for  set r=$view("GVNEXT",r) quit:r=""  write "REGION",$char(9),r,$char(9),$view("GVFILE",r)${time},!`;
}

export const versionCode = 'write $zversion,!';
