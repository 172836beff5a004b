import type { Health, Lag } from '../../../model/cluster.ts';

/**
 * Words for the state of a member: of GetStatus, GetMemberStatus, GetFailoverMemberStatus and the two columns of MemberStatusList (class
 * reference of %SYSTEM.Mirror and SYS.Mirror). Any other word, a translated one too, is `unknown`.
 */
const words: ReadonlyMap<string, Health> = new Map<string, Health>([
  ['primary', 'healthy'],
  ['backup', 'healthy'],
  ['connected', 'healthy'],
  ['active', 'healthy'],
  ['async', 'healthy'],
  ['trouble', 'trouble'],
  ['in trouble', 'trouble'],
  ['transition', 'trouble'],
  ['synchronizing', 'trouble'],
  ['waiting', 'trouble'],
  ['stopped', 'trouble'],
  ['crashed', 'trouble'],
  ['error', 'trouble'],
  ['restart', 'trouble'],
  ['failover', 'trouble'],
  ['recovery', 'trouble'],
  ['deciding', 'trouble'],
  ['exit', 'trouble'],
  ['catchup', 'trouble'],
  ['inactive', 'trouble'],
  ['down', 'down'],
]);

export function healthOfWord(word: string): Health {
  return words.get(word.trim().toLowerCase()) ?? 'unknown';
}

const order: readonly Health[] = ['down', 'trouble', 'unknown', 'healthy'];

/** The gravest of several. `unknown` when nobody said anything. */
export function worst(all: readonly Health[]): Health {
  return order.find((each) => all.includes(each)) ?? 'unknown';
}

/** Only in English: of a translated word nobody knows what it means. */
export function roleOfWord(word: string): 'primary' | 'backup' | 'async' | 'unknown' {
  const plain = word.trim().toLowerCase();
  return plain === 'primary' || plain === 'backup' || plain === 'async' ? plain : 'unknown';
}

const units: Readonly<Record<string, number>> = { second: 1000, minute: 60_000, hour: 3_600_000, day: 86_400_000 };
const part = String.raw`\d+(?:\.\d+)? (?:second|minute|hour|day)s?`;
const duration = new RegExp(`^${part}(?:(?:,| and|, and)? ${part})*(?: behind)?$`);

/**
 * A column of latency. Undefined where there is none (the primary). `Active` is what a backup that acknowledges every write says. Time
 * without a word about it is a figure only: whoever asks has a limit of his own.
 */
export function lagOfWord(word: string): Lag | undefined {
  const plain = word.trim().toLowerCase();
  if (plain === '' || plain === 'n/a') return undefined;
  if (plain === 'active' || plain === 'caught up') return { ms: 0, caughtUp: true };
  if (plain === 'catchup' || /^disconnected\b/.test(plain) || /^warning!/.test(plain)) return { caughtUp: false };
  if (/^\d+$/.test(plain)) return lagOfSeconds(plain);
  if (!duration.test(plain)) return { caughtUp: undefined };
  let ms = 0;
  for (const [, value, unit] of plain.matchAll(/(\d+(?:\.\d+)?) (second|minute|hour|day)/g)) {
    ms += Number(value) * (units[unit as string] as number);
  }
  return { ms, caughtUp: undefined };
}

/** JournalFilesLatency and DatabasesLatency: 0 is caught up, -1 (with or without a text) an error. */
export function lagOfSeconds(answer: string): Lag {
  if (!/^\d+$/.test(answer)) return { caughtUp: undefined };
  const ms = Number(answer) * 1000;
  return { ms, caughtUp: ms === 0 ? true : undefined };
}

/** Several voices on one lag: a figure counts, the largest; `false` outweighs `true`. Undefined when nobody spoke. */
export function togetherLag(voices: readonly (Lag | undefined)[]): Lag | undefined {
  const said = voices.filter((each) => each !== undefined);
  if (said.length === 0) return undefined;
  const figures = said.flatMap(({ ms }) => (ms === undefined ? [] : [ms]));
  const caughtUp = said.some((each) => each.caughtUp === false)
    ? false
    : said.some((each) => each.caughtUp === true)
      ? true
      : undefined;
  // A word that is right for one moment (Active) says nothing against a figure that is larger.
  const ms = figures.length === 0 ? undefined : Math.max(...figures);
  return {
    ...(ms === undefined ? {} : { ms }),
    caughtUp: ms !== undefined && ms > 0 && caughtUp === true ? undefined : caughtUp,
  };
}

/** Words of MirroredDatabaseList for a database that is as it should be: of the primary, and of the others. */
export function isDatabaseWell(status: string): boolean {
  return /^(?:normal|dejournaling)$/i.test(status.trim());
}
