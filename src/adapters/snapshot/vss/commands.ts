import { createHash } from 'node:crypto';

export type Argv = readonly [string, ...string[]];

/** What diskshadow is told for one shadow copy set. All of it is ASCII: from UTF-16 it reads nothing. */
export interface SetScript {
  readonly directory: string;
  readonly label: string;
  readonly volumes: readonly { readonly id: string; readonly volume: string }[];
  readonly writers: readonly string[];
  readonly completeBackup: boolean;
}

/**
 * By this name diskshadow tells which shadow copy is of which volume, in whatever language. It follows from the volume, so that another
 * process finds it again.
 */
export function aliasOf(volumeId: string): string {
  return `sp_${createHash('sha256').update(volumeId).digest('hex').slice(0, 10)}`;
}

/**
 * One set, and so one instant: Windows freezes writers and file systems of all its volumes at once. `persistent`, for others are deleted when
 * diskshadow ends. `begin backup`, for without it the writers' components take no part. `end backup` only where that is wanted: writers may
 * drop their logs then.
 */
export function createScript({ directory, label, volumes, writers, completeBackup }: SetScript): string {
  return lines([
    'set context persistent',
    `set metadata ${directory}\\${label}.cab`,
    'set verbose on',
    ...writers.map((writer) => `writer verify ${writer}`),
    'begin backup',
    ...volumes.map(({ id, volume }) => `add volume ${volume} alias ${aliasOf(id)}`),
    'create',
    ...(completeBackup ? ['end backup'] : []),
    'exit',
  ]);
}

export function exposeScript(shadow: string, drive: string): string {
  return lines([`expose ${shadow} ${drive}`, 'exit']);
}

export function unexposeScript(shadow: string): string {
  return lines([`unexpose ${shadow}`, 'exit']);
}

/** By id and never by volume, `oldest` or `all`. */
export function deleteScript(shadow: string): string {
  return lines([`delete shadows id ${shadow}`, 'exit']);
}

function lines(all: readonly string[]): string {
  return all.map((line) => `${line}\r\n`).join('');
}

/** Each line of a message that must not be taken for output of diskshadow begins so. */
export const existsWord = 'stillpoint: exists';

/**
 * The directory, for administrators and the system alone (by their SIDs, which no language changes): a script that others may write to is
 * run with all rights.
 */
export function prepareDirectory(directory: string): Argv {
  return powershell(`# stillpoint vss prepare
$d='${directory}'
[void](New-Item -ItemType Directory -Force -Path $d)
& icacls $d /setowner '*S-1-5-32-544' /Q|Out-Null
if($LASTEXITCODE -ne 0){exit 5}
& icacls $d /inheritance:r /grant:r '*S-1-5-32-544:(OI)(CI)F' '*S-1-5-18:(OI)(CI)F' /Q|Out-Null
if($LASTEXITCODE -ne 0){exit 5}
`);
}

/**
 * Writes the script that comes over standard input and runs it. With a label the log is kept, for it tells other processes which shadow
 * copies are of that label; one that is there already is left alone (exit code 3).
 */
export function runScript(directory: string, name: string, attempt: string | undefined): Argv {
  const keep =
    attempt === undefined
      ? ''
      : `if(Test-Path -LiteralPath "$f.log"){'${existsWord}';exit 3}
Set-Content -LiteralPath "$f.attempt" -Value '${attempt}' -Encoding Ascii
`;
  return powershell(`# stillpoint vss run
$ErrorActionPreference='Stop'
$f='${directory}\\${name}'
${keep}[IO.File]::WriteAllText("$f.dsh",(@($input) -join "\`r\`n")+"\`r\`n",[Text.Encoding]::ASCII)
& diskshadow /s "$f.dsh" /l "$f.log"
$r=$LASTEXITCODE
Remove-Item -LiteralPath "$f.dsh" -ErrorAction SilentlyContinue
${attempt === undefined ? `Remove-Item -LiteralPath "$f.log" -ErrorAction SilentlyContinue\n` : ''}exit $r
`);
}

/** One line for each log of ours: label, attempt, and the log itself in base64. */
export function listLogs(directory: string): Argv {
  return powershell(`# stillpoint vss logs
$d='${directory}'
foreach($l in @(Get-ChildItem -Path (Join-Path $d 'stillpoint-*.log') -ErrorAction SilentlyContinue)){
$a=[IO.Path]::ChangeExtension($l.FullName,'attempt')
$t=''
if(Test-Path -LiteralPath $a){$t=[IO.File]::ReadAllText($a).Trim()}
$s=New-Object IO.FileStream($l.FullName,'Open','Read','ReadWrite')
$b=(New-Object IO.StreamReader($s,$true)).ReadToEnd()
'log '+$l.BaseName+' ['+$t+'] '+[Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($b))
}
`);
}

export function removeLogs(directory: string, label: string): Argv {
  return powershell(`# stillpoint vss remove
$f='${directory}\\${label}'
foreach($e in 'dsh','cab','attempt','log'){if(Test-Path -LiteralPath "$f.$e"){Remove-Item -LiteralPath "$f.$e" -Force}}
`);
}

export const listWriters: Argv = ['vssadmin.exe', 'list', 'writers'];
export const listShadows: Argv = ['vssadmin.exe', 'list', 'shadows'];

function powershell(script: string): Argv {
  return [
    'powershell.exe',
    '-NoProfile',
    '-NonInteractive',
    '-EncodedCommand',
    Buffer.from(script, 'utf16le').toString('base64'),
  ];
}
