/**
 * What runs in front of a program on a Windows machine, for Windows PowerShell 5.1 and PowerShell 7, and how its answer is read. Pure.
 * The script is short: cmd.exe, the usual shell of OpenSSH on Windows, takes 8191 characters, and base64 of UTF-16 makes 2.7 of each.
 */
import { StillpointError } from '../model/errors.ts';
import type { Command } from './exec.ts';

/**
 * `$input` is standard input by lines. While the program runs, a file named by the mark holds its number, for the call that ends it. Both
 * streams are read at once: a pipe that nobody reads would stop the program. Output is decoded there, where the code page is known.
 */
export const frontScript = `# stillpoint front 1
$ErrorActionPreference='Stop'
$c=[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String((@($input) -join '')))|ConvertFrom-Json
function say($how,$o,$e){$b={param($t)'='+[Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes([string]$t))}
[Console]::Out.Write("\`n"+$c.mark+' '+$how+' '+(&$b $o)+' '+(&$b $e)+"\`n");exit 0}
$p=New-Object Diagnostics.Process
$i=$p.StartInfo
$i.FileName=$c.program
$i.Arguments=$c.arguments
$i.UseShellExecute=$false
$i.CreateNoWindow=$true
$i.RedirectStandardInput=$true
$i.RedirectStandardOutput=$true
$i.RedirectStandardError=$true
if($c.directory){if(-not(Test-Path -LiteralPath $c.directory -PathType Container)){say 'directory'};$i.WorkingDirectory=$c.directory}
foreach($v in $c.environment){$i.EnvironmentVariables[$v[0]]=$v[1]}
try{[void]$p.Start()}catch{say 'missing'}
$f=Join-Path ([IO.Path]::GetTempPath()) $c.mark
Set-Content -LiteralPath $f -Value $p.Id
$o=$p.StandardOutput.ReadToEndAsync()
$e=$p.StandardError.ReadToEndAsync()
try{$n=[Convert]::FromBase64String($c.stdin);$s=$p.StandardInput.BaseStream;$s.Write($n,0,$n.Length);$s.Close()}catch{}
$w=$p.WaitForExit([int]$c.limit)
if(-not $w){& taskkill /T /F /PID $p.Id|Out-Null;[void]$p.WaitForExit(5000)}
Remove-Item -LiteralPath $f -ErrorAction SilentlyContinue
[void][Threading.Tasks.Task]::WaitAll(@($o,$e),5000)
if(-not($o.IsCompleted -and $e.IsCompleted)){say 'output'}
if($w){say ([string]$p.ExitCode) $o.Result $e.Result}
say 'limit' $o.Result $e.Result
`;

/** Ends the program whose mark comes over standard input, with what it started. */
export const backScript = `# stillpoint back 1
$f=Join-Path ([IO.Path]::GetTempPath()) ([string]@($input)[0]).Trim()
if(Test-Path -LiteralPath $f){& taskkill /T /F /PID ([int](Get-Content -LiteralPath $f))}
`;

/** For `-EncodedCommand`. */
export function encodedCommand(script: string): string {
  return Buffer.from(script, 'utf16le').toString('base64');
}

/** One call, as lines of base64. Throws `command-failed` for what Windows would not run as it stands. */
export function payload(mark: string, command: Pick<Command, 'argv' | 'cwd' | 'env' | 'stdin' | 'timeoutMs'>): string {
  const [program, ...rest] = command.argv;
  if (/\.(?:bat|cmd)$/i.test(program) || program.includes('"')) {
    throw new StillpointError('command-failed', `${program} is not started on Windows`, {
      hint: 'cmd.exe, which runs batch files, reads arguments in ways that cannot be quoted for; name a program',
    });
  }
  const call = {
    mark,
    program,
    arguments: rest.map(quoteArgument).join(' '),
    directory: command.cwd ?? '',
    environment: Object.entries(command.env ?? {}),
    stdin: Buffer.from(command.stdin ?? '').toString('base64'),
    limit: Math.min(Math.ceil(command.timeoutMs), 2 ** 31 - 1),
  };
  return Buffer.from(JSON.stringify(call))
    .toString('base64')
    .replaceAll(/.{1,4000}/g, '$&\n');
}

/**
 * One argument in the one line that CreateProcess takes, for programs that read it as the C runtime does: backslashes are doubled where a
 * double quote follows, and only there ("Parsing C command-line arguments" of Microsoft's C documentation).
 */
export function quoteArgument(argument: string): string {
  if (argument.includes('\0')) throw new StillpointError('command-failed', 'an argument holds a NUL character');
  if (argument !== '' && !/[\s"]/.test(argument)) return argument;
  return `"${argument.replaceAll(/(\\*)"/g, String.raw`$1$1\"`).replace(/(\\+)$/, '$1$1')}"`;
}

export type Frame = { readonly stdout: string; readonly stderr: string } & (
  | { readonly how: 'exited'; readonly code: number }
  /** `limit`: ended at its deadline. `output`: ended, but something that it left behind holds its output. */
  | { readonly how: 'limit' | 'output' }
  /** Proved never to have started. */
  | { readonly how: 'missing' | 'directory' }
);

/** The answer behind the mark. Undefined if there is none, or only a part. */
export function readFrame(stdout: string, mark: string): Frame | undefined {
  const found = new RegExp(
    `^${mark} (-?\\d+|limit|output|missing|directory) =([A-Za-z0-9+/=]*) =([A-Za-z0-9+/=]*)\\r?\\n`,
    'm',
  ).exec(stdout);
  if (found === null) return undefined;
  const [, how = '', out = '', err = ''] = found;
  const text = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8').replaceAll('\r\n', '\n');
  const both = { stdout: text(out), stderr: text(err) };
  if (how === 'limit' || how === 'output' || how === 'missing' || how === 'directory') return { how, ...both };
  return { how: 'exited', code: Number(how), ...both };
}
