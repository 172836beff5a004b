/** Programs that stand before the real ones and, after a chosen step of a cut, kill a part of it or hang. */
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { systemExec, type Exec } from '../../../../src/platform/exec.ts';

/** In the order of the cut; each twice, once for each volume. */
export const steps = ['freeze', 'suspend', 'snapshot', 'resume', 'thaw'] as const;
export const stepCount = steps.length * 2;

/** What is killed after the step; `hang`: the step itself does not end. */
export const targets = ['executor', 'watcher', 'timer', 'node', 'all-but-timer', 'all-but-watcher', 'hang'] as const;
export type Target = (typeof targets)[number];

const directory = '/tmp/faults';
const killed: Readonly<Record<Exclude<Target, 'hang'>, readonly string[]>> = {
  executor: ['executor'],
  watcher: ['watcher'],
  timer: ['timer'],
  node: ['node'],
  // The executor last: the others kill its group, to which the one that kills here belongs.
  'all-but-timer': ['watcher', 'root', 'node', 'executor'],
  'all-but-watcher': ['timer', 'root', 'node', 'executor'],
};

/** The step's number counts from 1. Only what has its pid noted is killed, so that `node` means the process that runs the cut. */
export async function plant(step: number, target: Target): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(join(directory, 'steps'), { recursive: true });
  await writeFile(join(directory, 'armed'), '');
  const act =
    target === 'hang'
      ? 'exec /bin/sleep 600'
      : killed[target].map((name) => `[ -e pid-${name} ] && kill -KILL "$(/bin/cat pid-${name})"`).join('\n');
  const count = `
    cd ${directory}
    n=1
    while ! (set -C; : >steps/$n) 2>/dev/null; do n=$((n + 1)); done
    [ $n = ${step} ] && { /bin/rm armed; }`;
  for (const name of ['dmsetup', 'fsfreeze']) {
    const real = (await systemExec.which(name)) ?? '';
    const run = `${real} "$@"; code=$?`;
    const counted = target === 'hang' ? `${count} && { ${act}; }\n${run}` : `${run}\n${count} && { ${act}\n}`;
    await script(
      name,
      `case "$*" in
  suspend*|*create_snap*|resume*|--freeze*|--unfreeze*) [ -e ${directory}/armed ] || exec ${real} "$@" ;;
  *) exec ${real} "$@" ;;
esac
${counted}
exit $code`,
    );
  }
  const setsid = (await systemExec.which('setsid')) ?? '';
  await script(
    'setsid',
    `echo $$ >${directory}/pid-\${4#stillpoint-}
[ "$4" = stillpoint-executor ] && echo $PPID >${directory}/pid-root
exec ${setsid} "$@"`,
  );
}

async function script(name: string, text: string): Promise<void> {
  const file = join(directory, name);
  await writeFile(file, `#!/bin/sh\n${text}\n`);
  await chmod(file, 0o755);
}

export async function noteNode(): Promise<void> {
  await writeFile(join(directory, 'pid-node'), String(process.pid));
}

export function struck(): boolean {
  return !existsSync(join(directory, 'armed'));
}

export const faultyExec: Exec = {
  ...systemExec,
  which: async (program) =>
    existsSync(join(directory, program)) ? join(directory, program) : await systemExec.which(program),
};
