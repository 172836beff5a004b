import { isUtf8 } from 'node:buffer';

/**
 * File names are bytes, but contracts hand paths about as strings. A byte that is not part of valid UTF-8 becomes the lone surrogate
 * U+DC00 + byte (as Python's `surrogateescape` does), so a name of any bytes survives every string operation and comes back whole.
 */
export function pathText(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const width = validWidth(bytes, at);
    if (width === 0) {
      text += String.fromCharCode(0xdc00 + (bytes[at] ?? 0));
      at += 1;
    } else {
      text += bytes.toString('utf8', at, at + width);
      at += width;
    }
  }
  return text;
}

/** The bytes for the file system; the inverse of pathText. */
export function pathBytes(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8');
  const pieces: Buffer[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    pieces.push(code >= 0xdc80 && code <= 0xdcff ? Buffer.of(code - 0xdc00) : Buffer.from(character, 'utf8'));
  }
  return Buffer.concat(pieces);
}

function validWidth(bytes: Buffer, at: number): number {
  const first = bytes[at] ?? 0;
  const width = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  return width > 0 && at + width <= bytes.length && isUtf8(bytes.subarray(at, at + width)) ? width : 0;
}

const shortEscapes: Readonly<Record<string, string>> = {
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
};
const printable = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;
const plain = /^[\w !#$%&'()*+,./:;<=>?@[\]^`{|}~-]*$/;

/** As Go's strconv.Quote, without the quotes around: how restic writes names into trees. Takes the text of pathText. */
export function quoteName(name: string): string {
  if (plain.test(name)) return name;
  let quoted = '';
  for (const character of name) quoted += quoteCharacter(character);
  return quoted;
}

function quoteCharacter(character: string): string {
  const short = shortEscapes[character];
  if (short !== undefined) return short;
  if (printable.test(character)) return character;
  const code = character.codePointAt(0) ?? 0;
  if (code >= 0xdc80 && code <= 0xdcff) return `\\x${hex(code - 0xdc00, 2)}`;
  if (code < 0x20 || code === 0x7f) return `\\x${hex(code, 2)}`;
  return code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

const escape = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([abfnrtv\\'"]))/g;
const singles: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 92,
  "'": 39,
  '"': 34,
};

/** The inverse of quoteName, for what Go may have written too. Adjacent `\x` bytes that form valid UTF-8 become that character. */
export function unquoteName(quoted: string): string {
  if (!quoted.includes('\\')) return quoted;
  const pieces: Buffer[] = [];
  let from = 0;
  for (const match of quoted.matchAll(escape)) {
    pieces.push(pathBytes(quoted.slice(from, match.index)), unescape(match));
    from = match.index + match[0].length;
  }
  pieces.push(pathBytes(quoted.slice(from)));
  return pathText(Buffer.concat(pieces));
}

function unescape(match: RegExpExecArray): Buffer {
  const [, byte, four, eight, octal, single] = match;
  if (byte !== undefined) return Buffer.of(Number.parseInt(byte, 16));
  if (octal !== undefined) return Buffer.of(Number.parseInt(octal, 8) & 0xff);
  if (single !== undefined) return Buffer.of(singles[single] ?? 0);
  const code = Number.parseInt(four ?? eight ?? '', 16);
  return Buffer.from(code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd', 'utf8');
}
