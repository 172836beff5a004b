/**
 * What runs in front of a program in another place (a container, a pod), as a script for any POSIX shell there, and how its words are
 * read here. Pure.
 *
 * A client such as `docker exec` says badly how a program ended: it has exit codes of its own (1, 125, 126, 127, 137), loses the
 * connection, and leaves the program running when it is killed. So nothing that the client says counts: the shell itself writes how the
 * program ended, behind a mark that is made anew for every call, on both streams. Without the mark nothing is known.
 */
import { constants } from 'node:os';
import { StillpointError } from '../model/errors.ts';

export type Argv = readonly [string, ...string[]];

/** Its names begin with sp_, so as to change no variable that the place exports. `exec` in front of the program keeps built-ins out. */
const front = `
sp_mark=$1 sp_limit=$2 sp_streams=$3 sp_directory=$4
shift 4
sp_say() {
  printf '\\n%s %s\\n' "$sp_mark" "$1" >&2
  [ "$sp_streams" = 1 ] || printf '\\n%s %s\\n' "$sp_mark" "$1"
  exit 0
}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
export PATH
while :; do
  IFS= read -r sp_line || exit 125
  [ "$sp_line" = . ] && break
  sp_value=$(printf '%b.' "\${sp_line#*=}")
  export "\${sp_line%%=*}=\${sp_value%.}"
done
cd "$sp_directory" 2>/dev/null || sp_say directory
command -v "$1" >/dev/null 2>&1 || sp_say missing
if [ "$sp_limit" != 0 ] && timeout -k 2 1 true </dev/null >/dev/null 2>&1; then
  set -- timeout -k 2 "$sp_limit" "$@"
fi
exec 3<&0
for sp_signal in HUP INT QUIT TERM; do
  trap "kill -s $sp_signal \\"\\$sp_pid\\" 2>/dev/null" "$sp_signal"
done
trap 'kill -s KILL -- "-$sp_pid" 2>/dev/null; kill -s KILL "$sp_pid" 2>/dev/null' USR1
(exec "$@") <&3 3<&- &
sp_pid=$!
exec 3<&- </dev/null
while :; do
  wait "$sp_pid"
  sp_code=$?
  kill -s 0 "$sp_pid" 2>/dev/null || break
done
sp_say "$sp_code"
`;

/**
 * Signals the shell above, which passes it on. It is found by the mark in its arguments, which come over standard input here, so that
 * this script does not find itself. `sh -c` in front tells it from a client whose processes can be seen there too (`--pid=host`).
 */
const back = `
IFS= read -r sp_mark || exit 9
command -v grep >/dev/null 2>&1 && command -v tr >/dev/null 2>&1 && [ -r "/proc/$$/cmdline" ] || exit 9
sp_found=none
for sp_file in $(printf '%s\\n' "$sp_mark" | grep -lsF -f - /proc/[0-9]*/cmdline); do
  sp_pid=\${sp_file#/proc/}
  sp_pid=\${sp_pid%/cmdline}
  case "$(tr '\\0' ' ' 2>/dev/null <"$sp_file")" in
    "sh -c "*" $sp_mark "*)
      sp_found=found
      kill -s "$1" "$sp_pid" 2>/dev/null
      ;;
  esac
done
echo "$sp_mark $sp_found"
`;

export interface Front {
  readonly mark: string;
  /** After so many whole seconds `timeout` ends the program there, where that exists. 0: never. */
  readonly limitSeconds: number;
  /** `both`: the end is marked on both streams, so that output that was cut short shows. `stderr`: stdout is a line protocol. */
  readonly streams: 'both' | 'stderr';
  readonly directory: string;
}

export function frontArgv(front_: Front, argv: Argv): Argv {
  const { mark, limitSeconds, streams, directory } = front_;
  return ['sh', '-c', front, 'sh', mark, String(limitSeconds), streams === 'both' ? '2' : '1', directory, ...argv];
}

/** Signals that the front takes; USR1 is KILL for the program. 0 asks only whether it is there. */
export type FrontSignal = 'HUP' | 'INT' | 'QUIT' | 'TERM' | 'USR1' | '0';

export function backArgv(signal: FrontSignal): Argv {
  return ['sh', '-c', back, 'sh', signal];
}

/** `none`: nothing of the call runs there any more, for its front ends last. `unknown`: the place did not answer. */
export function readBack(stdout: string, mark: string): 'found' | 'none' | 'unknown' {
  if (stdout === `${mark} found\n`) return 'found';
  return stdout === `${mark} none\n` ? 'none' : 'unknown';
}

/**
 * The environment as lines ahead of the program's own standard input: arguments can be read in the process list of both places, and in
 * the audit log of a cluster. Throws `command-failed` for a name that no shell can export.
 */
export function environmentLines(env: Readonly<Record<string, string>>): string {
  const lines = Object.entries(env).map(([name, value]) => {
    if (!/^[A-Za-z_]\w*$/.test(name) || value.includes('\0')) {
      throw new StillpointError(
        'command-failed',
        `the environment variable ${JSON.stringify(name)} cannot be passed on`,
        {
          hint: 'a name has letters, digits and underscores, and a value no NUL',
        },
      );
    }
    return `${name}=${value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n`;
  });
  return `${lines.join('')}.\n`;
}

export type FarEnd =
  | { readonly how: 'exited'; readonly code: number }
  | { readonly how: 'killed'; readonly signal: string }
  /** Proved never to have started. */
  | { readonly how: 'not-started'; readonly why: 'directory' | 'missing' }
  /** The shell could not start it, or it ended with the code for that: 125 to 127 cannot be told apart. */
  | { readonly how: 'unclear'; readonly code: number }
  | { readonly how: 'unmarked' };

/** What the mark says. Only the word that comes last counts. */
export function farEnd(stderr: string, mark: string): FarEnd {
  const word = [...stderr.matchAll(new RegExp(`^${mark} (\\w+)$`, 'gm'))].at(-1)?.[1];
  if (word === undefined) return { how: 'unmarked' };
  if (word === 'directory' || word === 'missing') return { how: 'not-started', why: word };
  const code = Number(word);
  if (code >= 125 && code <= 127) return { how: 'unclear', code };
  const signal = code > 128 ? signalNames.get(code - 128) : undefined;
  return signal === undefined ? { how: 'exited', code } : { how: 'killed', signal };
}

const signalNames = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** A stream without its mark, and whether the mark was there. */
export function unmarked(text: string, mark: string): { readonly text: string; readonly whole: boolean } {
  const found = new RegExp(`\\n${mark} \\w+\\n`).exec(text);
  if (found === null) return { text, whole: false };
  return { text: text.slice(0, found.index) + text.slice(found.index + found[0].length), whole: true };
}
