import { host } from '../compose.ts';
import { ExitCode } from '../model/errors.ts';
import { findingsOf, layersOf } from '../model/stack.ts';
import type { LayerType, StorageLayer, StorageStack } from '../model/storage.ts';
import type { Answer, Context } from './command.ts';
import { bytes, type Paint } from './format.ts';
import { findingLine } from './reporter.ts';

/** Needs no configuration. Errors among the findings are exit code 5, as for `check`: a cut through this stack is unsafe. */
export async function stackCommand(context: Context, path: string): Promise<Answer> {
  const stack = await host.stackOf(path, context.signal);
  const sound = findingsOf(stack).every(({ severity }) => severity !== 'error');
  return {
    document: { outcome: sound ? 'complete' : 'failed', stack: stackDocument(stack) },
    lines: stackLines(stack, context.paint),
    exit: sound ? ExitCode.done : ExitCode.failed,
  };
}

/** Layers in a flat list, each once; `top` and `below` name them by id, because a stack is a graph. */
export function stackDocument(stack: StorageStack): Readonly<Record<string, unknown>> {
  const { path, mountPoint, device, fileSystem, top } = stack;
  const layers = layersOf(stack).map((layer) => ({ ...layer, below: layer.below.map(({ id }) => id) }));
  return { path, mountPoint, device, fileSystem, top: top.id, layers };
}

/** A tree. A layer that several others lie on is drawn where it is met first; later it is only named. */
export function stackLines(stack: StorageStack, paint: Paint): readonly string[] {
  const drawn = new Set<string>();
  const draw = (layer: StorageLayer, first: string, rest: string): readonly string[] => {
    const title = `${words[layer.type]} ${paint('bold', layer.name)}`;
    if (drawn.has(layer.id)) return [`${first}${title}  ${paint('dim', '(see above)')}`];
    drawn.add(layer.id);
    const about = notable(layer);
    const inner = layer.below.length === 0 ? `${rest}   ` : `${rest}│  `;
    return [
      `${first}${title}${about === '' ? '' : `  ${paint('dim', about)}`}`,
      ...layer.findings.map((finding) => `${inner}${findingLine(finding, paint)}`),
      ...layer.below.flatMap((below, index) =>
        index === layer.below.length - 1
          ? draw(below, `${rest}└─ `, `${rest}   `)
          : draw(below, `${rest}├─ `, `${rest}│  `),
      ),
    ];
  };
  return [stack.path, ...draw(stack.top, '', '')];
}

const words: Readonly<Record<LayerType, string>> = {
  mount: 'mount',
  filesystem: 'file system',
  subvolume: 'subvolume',
  lv: 'LV',
  'thin-pool': 'thin pool',
  vg: 'VG',
  pv: 'PV',
  md: 'array',
  crypt: 'encrypted',
  partition: 'partition',
  loop: 'loop',
  disk: 'disk',
  other: 'other',
};

/** Details that say most about a layer of any type, in this order; the others are in the JSON document. */
function notable({ type, details }: StorageLayer): string {
  const size = details['size'];
  const given = (key: string, text: (value: string) => string = (value) => value): readonly string[] => {
    const value = details[key];
    return value === undefined ? [] : [text(value)];
  };
  return [
    ...given('segtype'),
    ...given('level'),
    ...(type === 'other' ? given('type') : []),
    ...(size === undefined ? [] : [bytes(Number(size))]),
    ...given('freeBytes', (value) => `${bytes(Number(value))} free`),
    ...given('pool', (value) => `in ${value}`),
    ...given('origin', (value) => `of ${value}`),
    ...given('dataPercent', (value) => `data ${value} %`),
    ...given('metadataPercent', (value) => `metadata ${value} %`),
    ...given('state'),
    ...(type === 'mount' ? given('options') : []),
    ...(type === 'filesystem' || type === 'md' ? given('uuid') : []),
    ...given('backingFile', (value) => `file ${value}`),
    ...given('model'),
    ...given('serial', (value) => `serial ${value}`),
    ...given('cloud', (value) => `${value} ${details['volume'] ?? 'volume unknown'}`),
    ...given('lsblk'),
    ...(details['readOnly'] === 'true' ? ['read-only'] : []),
  ].join(', ');
}
