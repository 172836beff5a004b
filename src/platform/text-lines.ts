import { createReadStream } from 'node:fs';
import { Readable, pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';

/** No log has longer ones; what has is no text, and must not fill the memory. The rest of such a line is left out. */
const longestLine = 1 << 16;

export interface ReadOptions {
  readonly signal?: AbortSignal;
  /** Told how many bytes of the file itself were read just now. */
  readonly onBytes?: (count: number) => void;
}

/**
 * The lines of a text file of any size, without their `\n`; a file that begins as gzip does is unpacked on the way, whatever its name.
 * What is no UTF-8 comes as U+FFFD. Gives them in portions. Throws the error of the operating system or of the damaged archive.
 */
export async function* textLines(file: string, options: ReadOptions = {}): AsyncGenerator<readonly string[]> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of plainBytes(file, options)) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = (lines.pop() ?? '').slice(0, longestLine);
    yield lines;
  }
  rest += decoder.decode();
  if (rest !== '') yield [rest];
}

async function* plainBytes(file: string, options: ReadOptions): AsyncGenerator<Buffer> {
  const chunks = fileBytes(file, options);
  const first = await chunks.next();
  if (first.done === true) return;
  const whole = async function* (): AsyncGenerator<Buffer> {
    yield first.value;
    yield* chunks;
  };
  const packed = first.value[0] === 0x1f && first.value[1] === 0x8b;
  // The callback must be there; what goes wrong reaches the reader through the end of the pipe.
  yield* packed ? pipeline(Readable.from(whole()), createGunzip(), () => undefined) : whole();
}

async function* fileBytes(file: string, { signal, onBytes }: ReadOptions): AsyncGenerator<Buffer> {
  const source = createReadStream(file, { highWaterMark: 1 << 18, ...(signal === undefined ? {} : { signal }) });
  for await (const chunk of source as AsyncIterable<Buffer>) {
    onBytes?.(chunk.length);
    yield chunk;
  }
}
