const KiB = 1024;
const GiB = 1024 ** 3;

/** All chunk sizes in use, smallest first. */
export const chunkSizes = [128 * KiB, 256 * KiB, 512 * KiB, 1024 * KiB] as const;

/**
 * How a file is cut: into pieces of equal size, aligned to its beginning. Small chunks make small increments but a long list in the
 * tree, which is written anew whenever the file changed. A file keeps the size that its parent was cut by, since another one would
 * store all of it again; `parentFirst` is the plaintext length of the parent's first blob if it has more than one.
 */
export function chunkSizeFor(fileBytes: number, parentFirst: number | undefined): number {
  const kept = chunkSizes.find((size) => size === parentFirst);
  if (kept !== undefined) return kept;
  if (fileBytes <= 32 * GiB) return chunkSizes[0];
  if (fileBytes <= 128 * GiB) return chunkSizes[1];
  return fileBytes <= 1024 * GiB ? chunkSizes[2] : chunkSizes[3];
}
