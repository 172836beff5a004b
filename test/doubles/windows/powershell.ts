/**
 * `powershell -NoProfile -NonInteractive -EncodedCommand BASE64`, for tests without Windows. It knows no language: it recognizes the two
 * scripts of src/platform/powershell-front.ts by their text and does what they say. Programs come from the directory SP_WINDOWS_BIN.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backScript, frontScript } from '../../../src/platform/powershell-front.ts';

interface Call {
  readonly mark: string;
  readonly program: string;
  readonly arguments: string;
  readonly directory: string;
  readonly environment: readonly (readonly [string, string])[];
  readonly stdin: string;
  readonly limit: number;
}

/** As the C runtime reads a command line, written from its documentation and not from what quotes for it. */
export function splitArguments(line: string): readonly string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quoted = false;
  for (let index = 0; index < line.length; index += 1) {
    const backslashes = /^\\*/.exec(line.slice(index))?.[0].length ?? 0;
    const next = line[index + backslashes];
    if (backslashes > 0) {
      word = (word ?? '') + '\\'.repeat(next === '"' ? Math.floor(backslashes / 2) : backslashes);
      index += backslashes - 1;
      if (next === '"' && backslashes % 2 === 1) {
        word += '"';
        index += 1;
      }
    } else if (next === '"') {
      quoted = !quoted;
      word ??= '';
    } else if ((next === ' ' || next === '\t') && !quoted) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + (next ?? '');
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

function input(): string {
  return readFileSync(0, 'utf8');
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

function front(): void {
  const call = JSON.parse(Buffer.from(input().replaceAll('\n', ''), 'base64').toString('utf8')) as Call;
  const say = (how: string, out = '', err = ''): never => {
    const coded = (text: string): string => `=${Buffer.from(text).toString('base64')}`;
    process.stdout.write(`\n${call.mark} ${how} ${coded(out)} ${coded(err)}\n`);
    process.exit(0);
  };
  if (call.directory !== '' && !existsSync(call.directory)) say('directory');
  const program = join(process.env['SP_WINDOWS_BIN'] ?? '/nonexistent', call.program.replace(/\.exe$/, ''));
  if (!existsSync(program)) say('missing');
  const child = spawn(program, [...splitArguments(call.arguments)], {
    cwd: call.directory === '' ? '/' : call.directory,
    env: { ...process.env, ...Object.fromEntries(call.environment) },
    detached: true,
  });
  const file = join(tmpdir(), call.mark);
  writeFileSync(file, String(child.pid));
  const text = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (piece: string) => void (text.out += piece));
  child.stderr.setEncoding('utf8').on('data', (piece: string) => void (text.err += piece));
  child.stdin.on('error', () => undefined).end(Buffer.from(call.stdin, 'base64'));
  let late = false;
  setTimeout(() => {
    late = true;
    if (child.pid !== undefined) killGroup(child.pid);
  }, call.limit).unref();
  child.once('close', (code) => {
    rmSync(file, { force: true });
    say(late ? 'limit' : String(code ?? -1), text.out, text.err);
  });
}

function back(): void {
  const file = join(tmpdir(), input().trim());
  if (existsSync(file)) killGroup(Number(readFileSync(file, 'utf8')));
}

const [, , ...argv] = process.argv;
if (argv.length > 0) {
  if (argv.slice(0, 3).join(' ') !== '-NoProfile -NonInteractive -EncodedCommand' || argv.length !== 4) {
    throw new Error(`not understood: ${argv.join(' ')}`);
  }
  const script = Buffer.from(argv[3] ?? '', 'base64').toString('utf16le');
  if (script === frontScript) front();
  else if (script === backScript) back();
  else throw new Error('not one of the two scripts');
}
