/** What an `ssh` of ours hands on: no server, no shell there, but the words and marks of a command that is run through one. */

export interface Remote {
  readonly program: string;
  readonly args: readonly string[];
  /** That by which the caller knows its command again. */
  readonly mark: string;
  /** It only asks whether another command still runs. */
  readonly asks: boolean;
}

/** The remote command line as `src/adapters/host/ssh/commands.ts` writes it. */
export function remoteOf(line: string, stdin: string): Remote {
  const [, octal = ''] = /printf %b "(.*)"\)"'$/s.exec(line) ?? [];
  const bytes = octal.replaceAll(/\\0([0-7]{3})/g, (_, digits: string) =>
    String.fromCodePoint(Number.parseInt(digits, 8)),
  );
  const text = Buffer.from(bytes, 'latin1').toString('utf8');
  const words = [...text.matchAll(/'((?:[^']|'\\'')*)'(?= |$)/g)].map(([, word = '']) =>
    word.replaceAll(String.raw`'\''`, "'"),
  );
  // exec sh -c SCRIPT sh SIGNAL, with the mark on standard input.
  if (words.length === 6) return { program: '', args: [], mark: stdin.trim(), asks: true };
  const [, , , , , mark = '', , , , program = '', ...args] = words;
  return { program, args, mark, asks: false };
}

/** Both streams as the caller expects them of a command that ended. */
export function marked(mark: string, code: number, text: string): string {
  return `${text}\n${mark} ${code}\n`;
}
