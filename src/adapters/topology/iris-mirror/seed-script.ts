import { quoted } from './commands.ts';

/** One mirrored database: where it lies on the member, and where in the copy. */
export interface SeedDatabase {
  readonly name: string;
  /** With a slash at its end. */
  readonly directory: string;
  /** IRIS.DAT or CACHE.DAT. */
  readonly file: string;
  readonly copy: string;
}

export interface SeedScript {
  readonly mirror: string;
  readonly member: string;
  readonly instance: string;
  /** `iris`, or `ccontrol` with `csession` beside it. */
  readonly kind: 'iris' | 'ccontrol';
  readonly databases: readonly SeedDatabase[];
}

/**
 * Lines for a session; each one that goes well counts, and the last one tells the count: a line that fails ends only itself, and the
 * session goes on.
 */
function counted(lines: readonly string[]): { readonly lines: readonly string[]; readonly count: number } {
  return {
    lines: ['set spn=0', ...lines, 'write !,"SP:done=",spn,!', 'halt'],
    count: lines.length,
  };
}

const call = (expression: string): string =>
  `set sc=${expression} if $system.Status.IsOK(sc) { set spn=spn+1 } else { write !,$system.Status.GetErrorText(sc),! }`;

const opened = (directory: string): string => `set spd=##class(SYS.Database).%OpenId(${quoted(directory)})`;

/** A database that the mirror holds cannot be dismounted: the member leaves the mirror first, and stays out over restarts. */
export function leaveLines({ mirror, databases }: SeedScript) {
  return counted([
    call(`##class(SYS.Mirror).StopMirror(${quoted(mirror)})`),
    ...databases.map(
      ({ directory }) =>
        `${opened(directory)} if spd.Mounted=1 { ${call(`##class(SYS.Database).DismountDatabase(${quoted(directory)})`)} } else { set spn=spn+1 }`,
    ),
  ]);
}

/** Activating gives the copy its place in the mirror's history; catching up fetches what came after it. */
export function joinLines({ mirror, databases }: SeedScript) {
  return counted([
    ...databases.map(({ directory }) => call(`##class(SYS.Database).MountDatabase(${quoted(directory)})`)),
    call(`##class(SYS.Mirror).StartMirror(${quoted(mirror)})`),
    ...databases.map(
      ({ directory }) =>
        `${opened(directory)} if spd.MirrorActivationRequired=1 { ${call(`##class(SYS.Mirror).ActivateMirroredDatabase(${quoted(directory)})`)} } else { set spn=spn+1 }`,
    ),
    ...databases.map(
      ({ directory }) => `${opened(directory)} ${call('##class(SYS.Mirror).CatchupDB($listbuild(spd.SFN),,.spe)')}`,
    ),
  ]);
}

const shellQuoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** Steps for a person, as a script that stops at the first one that does not go well. */
export function seedScript(script: SeedScript): string {
  const { mirror, member, instance, kind, databases } = script;
  const [control, session] = kind === 'iris' ? ['iris', 'iris session'] : ['ccontrol', 'csession'];
  const step = (what: string, { lines, count }: ReturnType<typeof counted>): readonly string[] => [
    `echo ${shellQuoted(what)}`,
    `said=$(${session} ${shellQuoted(instance)} -U%SYS <<'STILLPOINT'`,
    ...lines,
    'STILLPOINT',
    ')',
    `if ! printf '%s\\n' "$said" | tr -d '\\r' | grep -qx 'SP:done=${count}'; then`,
    `  printf '%s\\n' "$said" >&2`,
    `  echo ${shellQuoted(`failed: ${what}; mend it and run this again`)} >&2`,
    '  exit 1',
    'fi',
  ];
  return [
    '#!/bin/sh',
    `# Puts the databases of a restored copy into ${member} of the mirror ${mirror}, and lets it catch up from the primary.`,
    '# To be run on the machine of the member, by the owner of the instance, with the copy in reach.',
    'set -u',
    `${control} start ${shellQuoted(instance)} quietly || exit 1`,
    ...step(`${member} leaves the mirror and dismounts`, leaveLines(script)),
    ...databases.flatMap(({ directory, copy, file }) => [
      `echo ${shellQuoted(`copying ${copy}`)}`,
      // Under another name first: a half copy must not be mounted.
      `cp -- ${shellQuoted(copy)} ${shellQuoted(`${directory}${file}.new`)} || exit 1`,
      `mv -- ${shellQuoted(`${directory}${file}.new`)} ${shellQuoted(`${directory}${file}`)} || exit 1`,
    ]),
    ...step(`${member} mounts, activates and catches up`, joinLines(script)),
    `echo ${shellQuoted(`${member} is told to catch up: see it with stillpoint mirror status`)}`,
    '',
  ].join('\n');
}
