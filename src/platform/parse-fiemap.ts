import type { Extent, ExtentMap } from '../model/extents.ts';

/** Never `\s`: a row without flags ends after its last colon, and the next row must not be taken for the rest of it. */
const row = /^[ \t]*(\d+):[ \t]*(\d+)\.\.[ \t]*(\d+):[ \t]*(\d+)\.\.[ \t]*(\d+):[ \t]*(\d+):(?:[ \t]*\d+:)?[ \t]*(.*)$/;
const heading = 'File size of ';
const size = /^\d+ \(\d+ blocks? of 1 bytes\)$/;
const count = /^\d+ extents? found$/;

/**
 * `filefrag -v -b1 FILE...` for files whose names hold no newline, in the order given. A file that is missing there, or of which anything
 * is not understood or not complete, is missing here.
 */
export function parseFiemap(output: string, files: readonly string[]): ReadonlyMap<string, ExtentMap> {
  const maps = new Map<string, ExtentMap>();
  const flagSets = new Map<string, ReadonlySet<string>>();
  let next = 0;
  let file: string | undefined;
  let extents: Extent[] = [];
  for (const line of linesOf(output)) {
    const opened = line.startsWith(heading)
      ? files.findIndex((name, index) => index >= next && isAbout(line, `${heading}${name} is `, size))
      : -1;
    if (opened !== -1) {
      file = files[opened];
      next = opened + 1;
      extents = [];
    } else if (file !== undefined) {
      const extent = extentOf(line, extents.length, flagSets);
      if (extent !== undefined) extents.push(extent);
      else if (isAbout(line, `${file}: `, count)) {
        if (extents.at(-1)?.flags.has('last') !== false) maps.set(file, extents);
        file = undefined;
      } else if (!line.startsWith(' ext:')) file = undefined;
    }
  }
  return maps;
}

function* linesOf(text: string): Generator<string> {
  for (let start = 0; start < text.length;) {
    const end = text.indexOf('\n', start);
    // A last line without its end was cut off, and says nothing.
    if (end === -1) return;
    yield text.slice(start, end);
    start = end + 1;
  }
}

function isAbout(line: string, start: string, rest: RegExp): boolean {
  return line.startsWith(start) && rest.test(line.slice(start.length));
}

function extentOf(line: string, index: number, flagSets: Map<string, ReadonlySet<string>>): Extent | undefined {
  const found = row.exec(line);
  if (found === null) return undefined;
  const [number, logical = NaN, logicalEnd = NaN, physical = NaN, physicalEnd = NaN, length = NaN] = found
    .slice(1, 7)
    .map(Number);
  // A row that is missing would look like a hole.
  if (number !== index || logicalEnd - logical + 1 !== length || physicalEnd - physical + 1 !== length)
    return undefined;
  const text = String(found[7]);
  // A file may have millions of extents, and a handful of sets of flags.
  const flags = flagSets.get(text) ?? new Set(text.split(',').filter((flag) => flag !== ''));
  flagSets.set(text, flags);
  return { logical, physical, length, flags };
}
