import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';

const compressOnce = promisify(zstdCompress);
const decompressOnce = promisify(zstdDecompress);

export const defaultLevel = 1;

/** zstd on the thread pool. The output buffer is sized to hold everything, or libuv would be asked once for each 16 KiB. */
export function compress(plain: Uint8Array, level: number): Promise<Buffer> {
  const bound = plain.length + (plain.length >>> 7) + 512;
  return compressOnce(plain, { chunkSize: bound, params: { [constants.ZSTD_c_compressionLevel]: level } });
}

/** Throws if the data is no zstd frame or gives more than `limit` bytes. */
export function decompress(data: Uint8Array, limit: number): Promise<Buffer> {
  // zlib refuses a chunkSize under 64; one byte more than the limit lets it end without asking for a second buffer.
  const chunkSize = Math.min(Math.max(limit + 1, 64), 16 * 1024 * 1024);
  return decompressOnce(data, { chunkSize, maxOutputLength: Math.max(limit, 1) });
}
