import type { HistoryEntry, Instance } from './state.ts';

/** Days of 31 December 1840, from which `$horolog` counts, to 1 January 1970. */
const epochDay = 47_117;

/** Subscript of ^SYS("BUHISTORY"): days times a million, and seconds of the day, local. */
function indexAt(ms: number): number {
  const local = new Date(ms);
  const midnight = Date.UTC(local.getFullYear(), local.getMonth(), local.getDate());
  const seconds = local.getHours() * 3600 + local.getMinutes() * 60 + local.getSeconds();
  return (Math.floor(midnight / 86_400_000) + epochDay) * 1_000_000 + seconds;
}

/** Real backups take seconds; here two may begin in the same one. */
export function historyEntry(
  instance: Instance,
  about: Pick<HistoryEntry, 'type' | 'description' | 'device'>,
): HistoryEntry {
  const atMs = Date.now();
  return { atMs, index: Math.max(indexAt(atMs), (instance.history.at(-1)?.index ?? 0) + 1), ...about };
}

export const horolog = (index: number): string => `${Math.floor(index / 1_000_000)},${index % 1_000_000}`;

export function indexOf(began: string): number {
  const [days = '0', seconds = '0'] = began.split(',');
  return Number(days) * 1_000_000 + Number(seconds);
}

export function timeOf(index: number): number {
  const day = new Date((Math.floor(index / 1_000_000) - epochDay) * 86_400_000);
  return new Date(day.getUTCFullYear(), day.getUTCMonth(), day.getUTCDate(), 0, 0, index % 1_000_000).getTime();
}

/** `$order` over the backups, 0 being a node of the engine's own. */
export function nextIndex(instance: Instance, from: string, direction: 1 | -1): string {
  const all = [0, ...instance.history.map((one) => one.index)];
  const after = direction === 1 ? all : all.toReversed();
  const found = after.find((one) => from === '' || (direction === 1 ? one > Number(from) : one < Number(from)));
  return found === undefined ? '' : String(found);
}

const types: Readonly<Record<HistoryEntry['type'], string>> = {
  F: 'Full',
  I: 'Incremental',
  C: 'Cumulative Incremental',
  E: 'External',
};

/** A node below one backup. */
export function historyNode(instance: Instance, index: string, key: string): string | undefined {
  const found = instance.history.find((one) => String(one.index) === index);
  if (found === undefined) return undefined;
  const nodes: Readonly<Record<string, string>> = {
    DESC: found.description,
    DEVICE: found.device,
    TYPE: types[found.type],
    STATUS: 'Completed',
  };
  return nodes[key];
}
