import { join } from 'node:path';
import { append, type Instance } from './state.ts';

const two = (value: number): string => String(value).padStart(2, '0');

/** `MM/DD/YYYY HH:MM:SS`, local and without zone, as in the log files of freeze and thaw. */
export function logTime(ms: number): string {
  const at = new Date(ms);
  return `${two(at.getMonth() + 1)}/${two(at.getDate())}/${at.getFullYear()} ${clockTime(ms)}`;
}

export function clockTime(ms: number): string {
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function isoDay(ms: number): string {
  const at = new Date(ms);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

export function compactDay(ms: number): string {
  return isoDay(ms).replaceAll('-', '');
}

/** As C's ctime: `Fri May 13 22:07:02 2016`, the day padded with a blank. */
export function ctime(ms: number): string {
  const at = new Date(ms);
  const day = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'][at.getDay()] ?? '';
  const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
  return `${day} ${months[at.getMonth()] ?? ''} ${String(at.getDate()).padStart(2)} ${clockTime(ms)} ${at.getFullYear()}`;
}

export function messagesFile(instance: Instance): string {
  return join(instance.manager, instance.cache ? 'cconsole.log' : 'messages.log');
}

/** One line of messages.log. Caché writes no event name. */
export function message(instance: Instance, severity: 0 | 1 | 2 | 3, text: string, event = 'Utility.Event'): void {
  const now = Date.now();
  const at = new Date(now);
  const day = `${two(at.getMonth() + 1)}/${two(at.getDate())}/${two(at.getFullYear() % 100)}`;
  const ms = String(at.getMilliseconds()).padStart(3, '0');
  const name = instance.cache ? '' : `[${event}] `;
  append(messagesFile(instance), `${day}-${clockTime(now)}:${ms} (${process.pid}) ${severity} ${name}${text}\n`);
}

/** A directory as the engine writes it: with a slash at its end. */
export const slash = (directory: string): string => `${directory}/`;

/** What somebody typed, brought to the form in which directories are kept. */
export const plain = (directory: string): string => directory.replace(/(?<=.)\/+$/, '');
