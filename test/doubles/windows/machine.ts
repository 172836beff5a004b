import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemExec, type Exec } from '../../../src/platform/exec.ts';
import { execThroughPowerShell, type WindowsWay } from '../../../src/platform/powershell.ts';

/** A directory that plays a Windows machine: `powershell`, and in `programs` what it can start. */
export interface WindowsMachine extends AsyncDisposable {
  readonly directory: string;
  /** Holds `powershell`; in front of PATH of a server. */
  readonly bin: string;
  readonly exec: Exec;
  /** A program by the text of a script for sh. */
  install(name: string, script: string): Promise<void>;
  /** A program of Node, with arguments in front of those of the call. */
  installNode(name: string, file: string, ...args: readonly string[]): Promise<void>;
}

export async function windowsMachine(): Promise<WindowsMachine> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-windows-'));
  const bin = join(directory, 'bin');
  const programs = join(directory, 'programs');
  await mkdir(bin);
  await mkdir(programs);
  const powershell = join(bin, 'powershell');
  const main = join(import.meta.dirname, 'powershell.ts');
  await writeFile(powershell, `#!/bin/sh\nSP_WINDOWS_BIN='${programs}' exec '${process.execPath}' '${main}' "$@"\n`);
  await chmod(powershell, 0o755);
  for (const program of ['printf', 'cat', 'sh', 'sleep']) {
    await symlink((await systemExec.which(program)) ?? program, join(programs, program));
  }
  const way: WindowsWay = {
    name: 'host sql1',
    clientEnv: {},
    wrap: ([, ...argv]) => [powershell, ...argv],
  };
  const install = async (name: string, script: string): Promise<void> => {
    await writeFile(join(programs, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(programs, name), 0o755);
  };
  await install(
    'where',
    'case "$1" in printf|cat) printf "C:\\\\\\\\Windows\\\\\\\\%s.exe\\r\\n" "$1" ;; *) exit 1 ;; esac',
  );
  return {
    directory,
    bin,
    exec: execThroughPowerShell(systemExec, way),
    install,
    async installNode(name, file, ...args) {
      const words = [process.execPath, file, ...args].map((each) => `'${each}'`).join(' ');
      await install(name, `exec ${words} "$@"`);
    },
    async [Symbol.asyncDispose]() {
      await rm(directory, { recursive: true, force: true });
    },
  };
}
