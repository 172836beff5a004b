import { isAlias, isMap, isScalar, isSeq, type Document, type LineCounter, type Node, type Pair } from 'yaml';
import type { z } from 'zod';

/** One thing that is wrong with a configuration file. Never quotes a value: it may be a password in the wrong place. */
export interface Problem {
  readonly line: number;
  readonly column: number;
  readonly said: string;
}

type Path = readonly PropertyKey[];
type JsonSchema = Readonly<Record<string, unknown>>;

/** A parsed file and how its lines are found. */
export interface Source {
  readonly document: Document;
  readonly lines: LineCounter;
  /** JSON schema of the whole file, for the keys that are known at a place. */
  readonly schema: JsonSchema;
}

/** Zod's own messages in our words. Messages that a schema brings along take precedence. */
export function errorMap(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === null && issue.expected === 'object') return 'must be a map, but is empty; {} is an empty map';
      return issue.input === undefined
        ? 'is missing'
        : `must be ${typeName(issue.expected)}, but is ${kindOf(issue.input)}`;
    case 'invalid_value':
      return `must be ${listOf(issue.values.map(String))}${didYouMean(issue.input, issue.values.map(String))}`;
    case 'invalid_format':
      return issue['prefix'] === '/' ? 'must be an absolute path' : `does not have the form of ${issue.format}`;
    case 'too_small':
      return bound(issue.origin, `at least ${issue.minimum}`, issue.minimum);
    case 'too_big':
      return bound(issue.origin, `at most ${issue.maximum}`, issue.maximum);
    case 'custom':
    case 'invalid_element':
    case 'invalid_key':
    case 'invalid_union':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return undefined;
  }
}

function bound(origin: string, limit: string, count: number | bigint): string {
  if (origin === 'string') return count === 1 ? 'must not be empty' : `must have ${limit} characters`;
  if (origin === 'array') return count === 1 ? 'must not be empty' : `must have ${limit} entries`;
  return `must be ${limit}`;
}

function typeName(expected: string): string {
  const names: Readonly<Record<string, string>> = {
    string: 'text',
    number: 'a number',
    int: 'a whole number',
    boolean: 'true or false',
    object: 'a map',
    record: 'a map',
    array: 'a list',
  };
  return names[expected] ?? expected;
}

function kindOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'a map' : typeName(typeof value);
}

function listOf(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${String(values.at(-1))}`;
}

/** Every problem of a failed validation, with its place, in the order of the file. */
export function problemsOf(issues: readonly z.core.$ZodIssue[], source: Source): readonly Problem[] {
  return withoutEchoes(issues)
    .flatMap((issue) => problemsOfIssue(issue, [], source))
    .toSorted(byPlace);
}

/** A misspelt key is also a missing one; that the map lacks something is then no news. */
function withoutEchoes(issues: readonly z.core.$ZodIssue[]): readonly z.core.$ZodIssue[] {
  const misspelt = issues.filter((issue) => issue.code === 'unrecognized_keys').map((issue) => nameOf(issue.path));
  return issues.filter((issue) => issue.code !== 'custom' || !misspelt.includes(nameOf(issue.path)));
}

export function byPlace(a: Problem, b: Problem): number {
  return a.line - b.line || a.column - b.column;
}

function problemsOfIssue(issue: z.core.$ZodIssue, above: Path, source: Source): readonly Problem[] {
  const path = [...above, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      ...placeOfKey([...path, key], source),
      said: `unknown key ${nameOf([...path, key])}${rightKey(path, key, source.schema)}`,
    }));
  }
  if (issue.code === 'invalid_union') {
    const best = fitting(issue.errors);
    return best === undefined
      ? [{ ...placeOf(path, source), said: `${nameOf(path)} must be ${alternatives(schemaAt(path, source.schema))}` }]
      : withoutEchoes(best).flatMap((each) => problemsOfIssue(each, path, source));
  }
  if (issue.code === 'invalid_key') {
    const said = issue.issues.map((each) => each.message).join('; ');
    return [{ ...placeOfKey(path, source), said: `${nameOf(path)}: ${said}` }];
  }
  const subject = path.length === 0 ? 'the configuration' : nameOf(path);
  return [{ ...placeOf(path, source), said: `${subject} ${issue.message}` }];
}

/** The alternative of a union whose outer form fits, so that only what is wrong inside it is told. */
function fitting(
  alternativesOfUnion: readonly (readonly z.core.$ZodIssue[])[],
): readonly z.core.$ZodIssue[] | undefined {
  return alternativesOfUnion.find((issues) =>
    issues.every((issue) => issue.path.length > 0 || issue.code === 'too_small'),
  );
}

function alternatives(schema: JsonSchema | undefined): string {
  const each = recordsIn(schema?.['anyOf']).map((one) =>
    'const' in one ? String(one['const']) : typeName(String(one['type'])),
  );
  return listOf(each);
}

/** `workloads.orders.hold.budget`, `files[0]`. */
function nameOf(path: Path): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${String(part)}`))
    .join('');
}

function rightKey(path: Path, key: string, schema: JsonSchema): string {
  const here = schemaAt(path, schema);
  const known = Object.keys(recordIn(here?.['properties']) ?? {});
  const near = nearest(key, known);
  if (near !== undefined) return `; did you mean ${near}?`;
  const below = here === undefined ? undefined : pathOfKey(key, here);
  if (below !== undefined) return `; did you mean ${below.join('.')}?`;
  return known.length === 0 ? '' : `; the keys here are ${known.join(', ')}`;
}

/** Where a key that stands one level too high belongs. */
function pathOfKey(key: string, schema: JsonSchema): readonly string[] | undefined {
  for (const [name, inner] of Object.entries(recordIn(schema['properties']) ?? {})) {
    const record = recordIn(inner);
    if (record === undefined) continue;
    const properties = recordIn(record['properties']) ?? {};
    if (Object.hasOwn(properties, key)) return [name, key];
  }
  return undefined;
}

function schemaAt(path: Path, schema: JsonSchema): JsonSchema | undefined {
  let at: JsonSchema | undefined = schema;
  for (const part of path) {
    const candidates: readonly JsonSchema[] = at === undefined ? [] : [at, ...recordsIn(at['anyOf'])];
    at = candidates.map((each) => childSchema(each, part)).find((each) => each !== undefined);
  }
  return at;
}

function childSchema(schema: JsonSchema, part: PropertyKey): JsonSchema | undefined {
  if (typeof part === 'number') return recordIn(schema['items']);
  const properties = recordIn(schema['properties']);
  if (properties !== undefined && Object.hasOwn(properties, part)) return recordIn(properties[String(part)]);
  return recordIn(schema['additionalProperties']);
}

function recordIn(value: unknown): JsonSchema | undefined {
  return isRecord(value) ? value : undefined;
}

function recordsIn(value: unknown): readonly JsonSchema[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

function isRecord(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function didYouMean(input: unknown, known: readonly string[]): string {
  const near = typeof input === 'string' ? nearest(input, known) : undefined;
  return near === undefined ? '' : `; did you mean ${near}?`;
}

/** The known word that is so close that a slip of the finger explains the difference. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, '');
  const ranked = known
    .map((each) => ({ each, distance: editDistance(plain(word), plain(each)) }))
    .toSorted((a, b) => a.distance - b.distance);
  const [best] = ranked;
  return best !== undefined && best.distance <= Math.max(1, Math.floor(word.length / 3)) ? best.each : undefined;
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: readonly number[] = [];
  let last: readonly number[] = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const at = (cells: readonly number[], index: number): number => cells[index] ?? Infinity;
      let cost = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, at(beforeLast, j - 2) + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/** Where the value at `path` stands; for a missing one, the key of the map that should have it. */
export function placeOf(path: Path, source: Source): Omit<Problem, 'said'> {
  for (let length = path.length; length > 0; length -= 1) {
    const found = walk(path.slice(0, length), source.document);
    if (found === undefined) continue;
    const value = found.pair?.value ?? found.node;
    const shown = length === path.length && isScalar(value) ? value : (found.pair?.key ?? found.node);
    return place(shown, source);
  }
  return place(source.document.contents, source);
}

function placeOfKey(path: Path, source: Source): Omit<Problem, 'said'> {
  const found = walk(path, source.document);
  return found === undefined ? placeOf(path.slice(0, -1), source) : place(found.pair?.key ?? found.node, source);
}

function place(node: unknown, source: Source): Omit<Problem, 'said'> {
  const range = isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range : undefined;
  return placeOfOffset(range?.[0] ?? 0, source.lines);
}

export function placeOfOffset(offset: number, lines: LineCounter): Omit<Problem, 'said'> {
  const { line, col } = lines.linePos(offset);
  // The counter knows no lines of an empty file.
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

interface Found {
  readonly pair?: Pair;
  readonly node: Node | null;
}

function walk(path: Path, document: Document): Found | undefined {
  let found: Found = { node: document.contents };
  for (const part of path) {
    const node = isAlias(found.node) ? found.node.resolve(document) : found.node;
    if (isMap(node)) {
      const pair: Pair | undefined = node.items.find((item) => keyText(item.key) === String(part));
      if (pair === undefined) return undefined;
      found = { pair, node: asNode(pair.value) };
    } else if (isSeq(node) && typeof part === 'number') {
      found = { node: asNode(node.items[part]) };
    } else {
      return undefined;
    }
  }
  return found;
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : '';
}

function asNode(value: unknown): Node | null {
  return isScalar(value) || isMap(value) || isSeq(value) || isAlias(value) ? value : null;
}
