import type { Finding } from './point.ts';
import type { LayerType, StorageLayer, StorageStack } from './storage.ts';

/** All layers from the mount down, each once, in the order in which a walk from the top meets them. */
export function layersOf(stack: Pick<StorageStack, 'top'>): readonly StorageLayer[] {
  const layers = new Map<string, StorageLayer>();
  const walk = (layer: StorageLayer): void => {
    if (layers.has(layer.id)) return;
    layers.set(layer.id, layer);
    for (const below of layer.below) walk(below);
  };
  walk(stack.top);
  return [...layers.values()];
}

/** The uppermost layer of a type. */
export function layerOf(stack: StorageStack, type: LayerType): StorageLayer | undefined {
  return layersOf(stack).find((layer) => layer.type === type);
}

/** What speaks against cutting anything on this stack, and what is worth telling. */
export function findingsOf(stack: StorageStack): readonly Finding[] {
  return layersOf(stack).flatMap((layer) => layer.findings);
}
