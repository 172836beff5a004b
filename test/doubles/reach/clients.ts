import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * `docker`, `podman` and `kubectl` that run the program on this machine, in a session of its own as a container's programs are: killing
 * the client does not end it. They refuse a terminal, log every call, and fail as the real ones do.
 *
 * Files in the directory: `running` (gone = the container is dead), `fault` (exit code of a client that fails before it starts anything),
 * `lost` (exit code of a client that loses its connection once the program runs), `parted` (one has), `calls`, `sessions/<pid>`, `mounts.json`.
 */
function script(directory: string): string {
  return String.raw`#!/bin/sh
dir='${directory}'
tool=\${0##*/}
printf '%s' "$tool" >>"$dir/calls"
for each in "$@"; do printf ' [%s]' "$each" >>"$dir/calls"; done
echo >>"$dir/calls"
sub=$1; shift
if [ "$sub" = inspect ]; then
  [ -e "$dir/running" ] || { echo "Error: No such container" >&2; exit 1; }
  cat "$dir/mounts.json"; exit 0
fi
[ "$sub" = exec ] || { echo "unknown command $sub" >&2; exit 1; }
while :; do
  case "$1" in
    -t|-it|-ti|--tty) echo "the input device is not a TTY" >&2; exit 1 ;;
    -i) shift ;;
    -u|-n|-c|--context) shift 2 ;;
    *) break ;;
  esac
done
shift
if [ "$tool" = kubectl ]; then
  while [ "$1" != -- ]; do
    case "$1" in -c) shift 2 ;; *) echo "error: unknown flag $1" >&2; exit 1 ;; esac
  done
  shift
fi
if [ -e "$dir/fault" ]; then
  echo "Error response from daemon: something went wrong" >&2; exit "$(cat "$dir/fault")"
fi
if [ ! -e "$dir/running" ]; then
  [ "$tool" = kubectl ] && { echo 'Error from server (NotFound): pods "iris-0" not found' >&2; exit 1; }
  echo "Error response from daemon: container is not running" >&2; exit 1
fi
exec 3<&0
if [ -e "$dir/lost" ]; then
  rm -f "$dir/parted"
  # What the program says after the loss must not reach anybody, as it would through pipes that it shares with the client.
  setsid "$@" <&3 3<&- >"$dir/said.$$" 2>"$dir/complained.$$" &
else
  setsid "$@" <&3 3<&- &
fi
pid=$!
exec 3<&-
: >"$dir/sessions/$pid"
if [ -e "$dir/lost" ]; then
  sleep 0.5
  cat "$dir/said.$$"
  cat "$dir/complained.$$" >&2
  : >"$dir/parted"
  echo "error: stream closed: EOF" >&2; exit "$(cat "$dir/lost")"
fi
wait "$pid"
code=$?
rm -f "$dir/sessions/$pid"
[ "$code" = 0 ] || [ "$tool" != kubectl ] || echo "command terminated with exit code $code" >&2
exit "$code"
`.replaceAll('\\${', '${');
}

export interface Reached {
  readonly directory: string;
  /** Put in front of PATH while the clients are wanted. */
  readonly bin: string;
  /** A path as the container sees it, for a directory of this machine. */
  readonly inside: string;
  readonly outside: string;
  calls(): Promise<string>;
  setFault(name: 'fault' | 'lost', code: number | undefined): Promise<void>;
  /** What the end of a container does to its programs. */
  die(): Promise<void>;
  /** Processes that were started inside and still run. */
  alive(): readonly number[];
  [Symbol.asyncDispose](): Promise<void>;
}

/** Guards and sentinels of the test whose programs lie in `bin`. */
function startedWith(bin: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        const isOurs = readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`PATH=${bin}:`);
        return isOurs && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('guard-main.ts');
      } catch {
        // It has ended.
        return false;
      }
    });
}

export async function reached(): Promise<Reached> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-reach-'));
  const at = (...parts: string[]): string => join(directory, ...parts);
  await mkdir(at('bin'));
  await mkdir(at('sessions'));
  await mkdir(at('volume'));
  for (const tool of ['docker', 'podman', 'kubectl']) {
    await writeFile(at('bin', tool), script(directory));
    await chmod(at('bin', tool), 0o755);
  }
  // Two names of one directory, as a bind mount has.
  await symlink(at('volume'), at('data'));
  await writeFile(
    at('mounts.json'),
    `${JSON.stringify([{ Type: 'bind', Source: at('volume'), Destination: at('data'), RW: true }])}\n`,
  );
  await writeFile(at('running'), '');
  await writeFile(at('calls'), '');
  const pathBefore = process.env['PATH'];
  process.env['PATH'] = `${at('bin')}:${pathBefore ?? ''}`;
  const sessions = (): readonly number[] => (existsSync(at('sessions')) ? readdirSync(at('sessions')).map(Number) : []);
  const alive = (): readonly number[] => membersOf(sessions());
  const die = async (): Promise<void> => {
    await rm(at('running'), { force: true });
    for (let round = 0; round < 50 && alive().length > 0; round++) {
      for (const pid of alive()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It has ended.
        }
      }
      await sleep(20);
    }
  };
  return {
    directory,
    bin: at('bin'),
    inside: at('data'),
    outside: at('volume'),
    calls: () => readFile(at('calls'), 'utf8'),
    setFault: (name, code) => (code === undefined ? rm(at(name), { force: true }) : writeFile(at(name), String(code))),
    die,
    alive,
    async [Symbol.asyncDispose]() {
      await die();
      // A sentinel that could not see the thaw before the container was gone would try on for minutes.
      for (const pid of startedWith(at('bin'))) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It has ended.
        }
      }
      process.env['PATH'] = pathBefore;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Living processes of sessions; field 6 of proc_pid_stat(5) is the session, counted behind the name in brackets. */
function membersOf(sessions: readonly number[]): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const [state = '', , , session] = readFileSync(`/proc/${pid}/stat`, 'utf8')
          .replace(/^.*\) /s, '')
          .split(' ');
        return !'ZX'.includes(state) && sessions.includes(Number(session));
      } catch {
        return false;
      }
    });
}
