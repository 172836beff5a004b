import type { EngineEvent } from '../../../ports/application.ts';
import type { Control } from './control.ts';
import { parseMessages } from '../../../platform/parse-iris-messages.ts';
import { placesOf } from './places.ts';

/** Enough for the largest log that the engine keeps by default (MaxConsoleLogSize 5 MB) and what a burst adds. */
const tailBytes = 8 * 1024 * 1024;

/** Entries of all instances between two times, oldest first. Times in the log are local, without a zone. */
export async function eventsBetween(
  control: Control,
  fromMs: number,
  toMs: number,
  signal: AbortSignal,
): Promise<readonly EngineEvent[]> {
  const offsetMs = await zoneOffset(control);
  const found: EngineEvent[] = [];
  const instances = await control.wanted(signal);
  for (const instance of instances) {
    signal.throwIfAborted();
    const { console } = await placesOf(control, instance);
    const size = (await control.size(console)) ?? 0;
    const text = (await control.read(console, Math.max(0, size - tailBytes))) ?? '';
    for (const entry of parseMessages(text).entries) {
      const atMs = entry.localMs - offsetMs;
      if (atMs < fromMs || atMs > toMs) continue;
      const who = instances.length === 1 ? '' : `${instance.name}: `;
      found.push({ atMs, severity: entry.severity, text: `${who}${entry.text}` });
    }
  }
  return found.toSorted((a, b) => a.atMs - b.atMs);
}

/** Of the instance's machine, which may be a container with another zone than ours. */
async function zoneOffset(control: Control): Promise<number> {
  const { stdout } = await control.command(['date', '+%z']);
  const zone = /^([+-])(\d\d)(\d\d)\s*$/.exec(stdout);
  if (zone === null) return 0;
  return (zone[1] === '-' ? -1 : 1) * (Number(zone[2]) * 60 + Number(zone[3])) * 60_000;
}
