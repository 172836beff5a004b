/**
 * The shell programs of a cut. Three processes share the danger, each in a session of its own, none bound to the life of this one:
 *
 * - the **executor** freezes, suspends, cuts, resumes and thaws;
 * - the **watcher** reads from a pipe whose other end only the executor holds: when that ends without the word `done`, it undoes at once;
 * - the **timer** sleeps until the limit and then kills the executor and undoes, whoever else has died.
 *
 * To undo is to resume and thaw everything until both are proved; it can be done twice and by all at the same time. Everything that runs
 * between freeze and thaw stands in the text already: nothing is looked up, no file is written, and no shell stands in a directory of
 * those file systems. What is executed has been executed before, so that the pages of the programs are in memory.
 */
import type { Argv } from './commands.ts';
import { createSnapshot, freeze, resume, suspend, thaw } from './commands.ts';

export interface CutDevice {
  /** Device-mapper's name of the thin volume. */
  readonly name: string;
  /** Its device number, `253:5`. */
  readonly number: string;
  readonly mountPoint: string;
  /** Number of that mount in /proc/self/mountinfo. */
  readonly mountId: string;
  /** Device-mapper's name of the pool. */
  readonly pool: string;
  readonly origin: number;
  readonly id: number;
}

/** Absolute paths: the executor must not search for them. */
export interface Programs {
  readonly sh: string;
  readonly setsid: string;
  readonly sleep: string;
  readonly dmsetup: string;
  readonly fsfreeze: string;
}

/** The environment variable by which executors are found again, with the label of their cut as value. */
export const executorMark = 'STILLPOINT_DM_THIN_CUT';

/** Undoing goes on this often at most, in the beginning every 50 ms, then every second: a freeze on a stuck disk comes late. */
const undoTurns = 1000;
const quickTurns = 100;
const thawTurns = 20;

/** Ignored by all three: whoever ends a service sends them to every process of it. A kill is what the others are for. */
const stubborn = `trap '' PIPE HUP INT TERM QUIT`;

export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function line(argv: Argv): string {
  return argv.map(quoted).join(' ');
}

function suspendedFile({ number }: CutDevice): string {
  return `/sys/dev/block/${number}/dm/suspended`;
}

/** Resumes before it thaws: thawing ext4 writes to the device. */
function undoOne(device: CutDevice, { sleep, dmsetup, fsfreeze }: Programs): string {
  return `(
  turn=0
  while [ $turn -lt ${thawTurns} ]; do
    turn=$((turn + 1))
    ${line(resume(dmsetup, device.name))} || :
    s=
    read -r s <${quoted(suspendedFile(device))} || :
    case $(${line(thaw(fsfreeze, device.mountPoint))} 2>&1) in
      *'Invalid argument'*) [ "$s" != 1 ] && exit 0 ;;
    esac
    ${quoted(sleep)} 0.02
  done
) </dev/null >/dev/null 2>&1 &
`;
}

/** A function that kills the group `$1` and undoes, until that group is gone: a freeze in the making cannot be killed, and comes late. */
function undo(devices: readonly CutDevice[], programs: Programs): string {
  return `undo() {
  turns=0
  while [ $turns -lt ${undoTurns} ]; do
    turns=$((turns + 1))
    gone=
    kill -s KILL -- "-$1" 2>/dev/null || gone=1
${devices
  .toReversed()
  .map((device) => undoOne(device, programs))
  .join('')}
    wait
    [ -n "$gone" ] && return 0
    if [ $turns -lt ${quickTurns} ]; then ${quoted(programs.sleep)} 0.05; else ${quoted(programs.sleep)} 1; fi
  done
}
`;
}

/** All at once, and none is left running behind: a freeze that comes after the undoing would stay. */
function together(what: string, commands: readonly string[]): string {
  const started = commands.map((command, index) => `${command} 3>&- &\np${index}=$!\n`).join('');
  const waited = commands.map((_, index) => `wait $p${index} || bad=1\n`).join('');
  return `bad=\n${started}${waited}[ -z "$bad" ] || stop ${quoted(what)}\n`;
}

/**
 * A mount point that is unmounted is a directory of the file system above, maybe of the machine's root: it must be this very mount that
 * is frozen.
 */
function freezeOne(device: CutDevice, { fsfreeze }: Programs): string {
  return `(
  exec 4<${quoted(device.mountPoint)} || exit 1
  mount=
  while read -r key value; do
    [ "$key" = mnt_id: ] && mount=$value
  done </proc/self/fdinfo/4
  [ "$mount" = ${quoted(device.mountId)} ] || { echo ${quoted(`${device.mountPoint} is another mount now`)} >&2; exit 1; }
  exec ${line(freeze(fsfreeze, device.mountPoint))}
)`;
}

export function executorScript(devices: readonly CutDevice[], programs: Programs): string {
  const { dmsetup, fsfreeze } = programs;
  const backwards = devices.toReversed();
  const prove = devices
    .map((device) => `s=\nread -r s <${quoted(suspendedFile(device))}\n[ "$s" = 1 ] || stop ${quoted('suspend')}\n`)
    .join('');
  const snaps = devices
    .map(
      ({ name, pool, id, origin }) =>
        `${line(createSnapshot(dmsetup, pool, id, origin))} 3>&- || stop ${quoted(`snapshot ${name}`)}\nsay ${quoted(`snapshot ${name}`)}\n`,
    )
    .join('');
  return `${stubborn}
say() {
  read -r up rest </proc/uptime
  echo "$1 at $up"
}
stop() {
  say "failed: $1"
${backwards.map((device) => undoOne(device, programs)).join('')}
  wait
  exit 1
}
{ ${quoted(dmsetup)} version && ${quoted(fsfreeze)} --version; } 3>&- >/dev/null || exit 1
echo "group $$" >&3 || exit 1
read -r go && [ "$go" = go ] || exit 1
exec </dev/null
echo begin >&3 || exit 1
${together(
  'freeze',
  devices.map((device) => freezeOne(device, programs)),
)}say frozen
${together(
  'suspend',
  devices.map(({ name }) => line(suspend(dmsetup, name))),
)}${prove}say suspended
${snaps}${prove}say cut
${together(
  'resume',
  backwards.map(({ name }) => line(resume(dmsetup, name))),
)}say resumed
${together(
  'thaw',
  backwards.map(({ mountPoint }) => line(thaw(fsfreeze, mountPoint))),
)}echo done >&3
say thawed
`;
}

export function timerScript(devices: readonly CutDevice[], programs: Programs, limitMs: number): string {
  return `${stubborn}
${undo(devices, programs)}
${quoted(programs.sleep)} ${limitMs / 1000}
undo "$1"
`;
}

export function watcherScript(devices: readonly CutDevice[], programs: Programs, limitMs: number): string {
  const { sh, setsid } = programs;
  return `${stubborn}
${undo(devices, programs)}
read -r word group || exit 1
[ "$word" = group ] || exit 1
${quoted(setsid)} ${quoted(sh)} -c ${quoted(timerScript(devices, programs, limitMs))} stillpoint-timer "$group" </dev/null >/dev/null 2>&1 &
timer=$!
echo "armed $group $timer"
begun=
ended=
while read -r word; do
  case $word in
    begin) begun=1 ;;
    done) ended=1 ;;
  esac
done
[ -n "$begun" ] && [ -z "$ended" ] && undo "$group"
kill -s KILL -- "-$timer" 2>/dev/null
[ -n "$ended" ]
`;
}

/** What is started: executor and watcher, joined by a pipe. The executor's input is that of the whole, where the word `go` comes from. */
export function cutScript(
  devices: readonly CutDevice[],
  programs: Programs,
  more: { readonly label: string; readonly limitMs: number },
): Argv {
  const { sh, setsid } = programs;
  const executor = executorScript(devices, programs);
  const watcher = watcherScript(devices, programs, more.limitMs);
  const script = `${stubborn}
exec 5>&1
${executorMark}=${quoted(more.label)} ${quoted(setsid)} ${quoted(sh)} -c ${quoted(executor)} stillpoint-executor 3>&1 >&5 5>&- |
  ${quoted(setsid)} ${quoted(sh)} -c ${quoted(watcher)} stillpoint-watcher >&5 5>&-
`;
  return [sh, '-c', script];
}
