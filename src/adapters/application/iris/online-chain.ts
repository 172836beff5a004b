import type { Label, Memory, Remembered } from './parse-label.ts';
import type { OnlineLevel } from './parse-online.ts';

/** One backup of the engine: the id that we put into its description, its place in the engine's history, and its label. */
export interface Made {
  readonly id: string;
  readonly index: number;
  readonly name: string;
}

/** How far a level reaches, for an engine that counts nothing itself: which backup it is, and which full is below it. */
export interface Mark {
  readonly self: Made;
  readonly full: Made;
}

/** A live copy is closed by what changed since this entry of the history, which had none before it. */
export interface DirtyMark {
  readonly id: string;
  readonly index: number;
}

const writeMade = ({ id, index, name }: Made): string => `${id} ${index} ${name}`;

export function writeMark({ self, full }: Mark): string {
  return `${writeMade(self)} on ${writeMade(full)}`;
}

export function readMark(text: string): Mark | undefined {
  const found = /^(\S+) (\d+) (.+) on (\S+) (\d+) (.+)$/.exec(text);
  if (found === null) return undefined;
  const [, id, index, name, fullId, fullIndex, fullName] = found as unknown as readonly string[];
  return {
    self: { id: id as string, index: Number(index), name: name as string },
    full: { id: fullId as string, index: Number(fullIndex), name: fullName as string },
  };
}

export function writeDirtyMark({ id, index }: DirtyMark): string {
  return `live ${id} ${index}`;
}

export function readDirtyMark(text: string): DirtyMark | undefined {
  const [, id, index] = /^live (\S+) (\d+)$/.exec(text) ?? [];
  return id === undefined ? undefined : { id, index: Number(index) };
}

export type What = OnlineLevel | 'live-copy-begins' | 'live-copy-ends';

export function describe(id: string, what: What): string {
  return `stillpoint ${id} ${what}`;
}

/** The id in a description of ours. */
export function idIn(description: string | undefined): string | undefined {
  return /^stillpoint ([0-9a-f-]{36}) [a-z-]+$/.exec(description ?? '')?.[1];
}

/** ExternalSetHistory after a drill of ours: an entry that touches no bitmap. */
const confirmed = ({ description }: Remembered): boolean => /^stillpoint \S+ of \d{4}-\d\d-\d\dT\S+$/.test(description);

/** The backup that the engine made before `index`, or its last one. Undefined when it made none or does not tell. */
function before(memory: Memory, index = Infinity): Remembered | undefined {
  return memory.history?.find((each) => each.index < index && !confirmed(each));
}

export type Choice = { readonly level: OnlineLevel; readonly why?: string } | { readonly misfit: string };

/**
 * Which level can be proved to go on top of `below`. A cumulative needs that the engine's last full is that of the chain; an incremental
 * also that its last backup of any kind is `below`. Without that proof the larger level is taken, never the smaller one.
 */
export function chooseLevel(asked: 'cumulative' | 'incremental', below: Mark, memory: Memory): Choice {
  if (idIn(memory.lastFull) !== below.full.id) {
    const said = memory.lastFull === undefined ? 'it knows of none' : `it is ${JSON.stringify(memory.lastFull)}`;
    return { misfit: `the last full that the engine knows of is not that of this chain: ${said}` };
  }
  if (asked === 'cumulative') return { level: 'cumulative' };
  const last = before(memory);
  if (memory.history === undefined) {
    return {
      level: 'cumulative',
      why: "the engine's history of backups cannot be read, so nothing proves what its last one was",
    };
  }
  if (last !== undefined && last.index === below.self.index && idIn(last.description) === below.self.id) {
    return { level: 'incremental' };
  }
  const said = last === undefined ? 'nothing' : JSON.stringify(last.description);
  return { level: 'cumulative', why: `the engine's last backup is not the one that this goes on top of, but ${said}` };
}

/** Why it is not proved that a backup goes on top of `below`; undefined when it is. Asked after it was made: others may have come between. */
export function unprovenOn(below: Mark, label: Label, memory: Memory): string | undefined {
  if (label.level === 'full') return undefined;
  if (idIn(memory.lastFull) !== below.full.id) return 'another full was made meanwhile';
  if (`${label.lastFull} Full` !== below.full.name) return `its label names a full of ${label.lastFull || 'no date'}`;
  if (label.level === 'cumulative') return undefined;
  if (label.level !== 'incremental') return 'its label names no level that is known';
  if (label.previous !== below.self.name)
    return `its label names as the backup before it that of ${label.previous || 'no date'}`;
  const previous = before(memory, label.index);
  const known = memory.history?.some((each) => each.index === label.index && each.description === label.description);
  if (known !== true) return "it is not in the engine's history of backups";
  if (previous?.index === below.self.index) return undefined;
  return `the history has ${JSON.stringify(previous?.description ?? 'nothing')} before it`;
}

/** Why it is not proved that no backup, and no other clearing of the bitmaps, came since the mark; undefined when it is. */
export function unprovenSince(mark: DirtyMark, memory: Memory): string | undefined {
  if (memory.history === undefined) return "the engine's history of backups cannot be read";
  const [last, earlier] = memory.history;
  if (last === undefined || last.index !== mark.index || idIn(last.description) !== mark.id) {
    return `the engine's last backup is ${JSON.stringify(last?.description ?? 'nothing')}, not the mark before the live copy`;
  }
  if (earlier !== undefined) return `${JSON.stringify(earlier.description)} was at work when the mark was made`;
  return idIn(memory.lastFull) === mark.id ? undefined : 'the engine does not take the mark for a full';
}

/** The same for the level that closed the copy: `end` is the entry that was made after copying. */
export function unprovenClosing(mark: DirtyMark, end: DirtyMark, label: Label, memory: Memory): string | undefined {
  if (label.level === 'full') return undefined;
  if (label.level !== 'incremental') return 'it is no incremental';
  const entries = memory.history?.filter((each) => each.index <= label.index);
  const [own, second, third, ...older] = entries ?? [];
  const inOrder =
    own?.description === label.description &&
    second?.index === end.index &&
    idIn(second.description) === end.id &&
    third?.index === mark.index &&
    idIn(third.description) === mark.id &&
    older.length === 0;
  if (inOrder) return undefined;
  return 'the history of backups does not show the live copy and its closing alone';
}
