/**
 * `npm run bench:m [-- --holds 20 --bytes 1GiB --provider btrfs --json]`: snapshots of a GT.M database of that size under a write load, by
 * plain and by online freeze, through the command line. Prints the hold, our own part of it, and the longest time for which an
 * independent writer had no acknowledged transaction while the backup ran, beside the longest one without a backup.
 */
import { parseArgs } from 'node:util';
import { parseSize } from '../src/config/units.ts';
import type { HoldSummary } from '../src/model/point.ts';
import { systemClock } from '../src/platform/clock.ts';
import { figures, line, type Figures } from './figures.ts';
import { longestGap, openStage, type Provider, type Stage } from '../test/e2e/stage.ts';

/** Freeze to thaw of one instance as a vendor's own article shows it; another machine, another engine, another load. */
const publishedMs = 6_000;

async function gapWithout(stage: Stage, ms: number): Promise<number> {
  const from = systemClock.monoMs();
  await systemClock.sleep(ms);
  return longestGap(await stage.acknowledged(), from, systemClock.monoMs());
}

interface Result {
  readonly freeze: 'plain' | 'online';
  readonly held: Figures;
  readonly overhead: Figures;
  readonly gap: Figures;
  readonly quietGap: Figures;
}

async function measure(
  freeze: 'plain' | 'online',
  provider: Provider,
  bytes: number,
  holds: number,
): Promise<Result | string> {
  const stage = await openStage('gtm', provider, { budget: '10s', databaseBytes: bytes, application: { freeze } });
  if (typeof stage === 'string') return stage;
  await using _stage = stage;
  const found: { hold: HoldSummary; gap: number; quiet: number }[] = [];
  for (let n = 0; n < holds; n++) {
    const quiet = await gapWithout(stage, 1_000);
    const from = systemClock.monoMs();
    const made = await stage.run(['backup', 'orders', '--json']);
    if (made.exitCode !== 0) throw new Error(made.stdout + made.stderr);
    const { hold } = (JSON.parse(made.stdout) as { point: { hold: HoldSummary } }).point;
    // Around the hold: reading the copy afterwards loads the disk, but stops nobody.
    const offset = systemClock.monoMs() - systemClock.wallMs();
    const until = Date.parse(hold.thawedAt) + offset + 500;
    found.push({
      hold,
      gap: longestGap(await stage.acknowledged(), Math.max(from, Date.parse(hold.frozenAt) + offset - 500), until),
      quiet,
    });
  }
  return {
    freeze,
    held: figures(found.map(({ hold }) => hold.heldMs)),
    overhead: figures(found.map(({ hold }) => hold.overheadMs)),
    gap: figures(found.map(({ gap }) => gap)),
    quietGap: figures(found.map(({ quiet }) => quiet)),
  };
}

const { values } = parseArgs({
  options: {
    holds: { type: 'string', default: '20' },
    bytes: { type: 'string', default: '1GiB' },
    provider: { type: 'string', default: 'btrfs' },
    json: { type: 'boolean', default: false },
  },
});
const size = parseSize(values.bytes);
const providers: readonly Provider[] = ['btrfs', 'reflink', 'copy'];
const provider = providers.find((each) => each === values.provider);
if (!('value' in size) || provider === undefined)
  throw new Error('--bytes is a size such as 1GiB; --provider is btrfs, reflink or copy');
const results: Result[] = [];
for (const freeze of ['plain', 'online'] as const) {
  const result = await measure(freeze, provider, size.value, Number(values.holds));
  if (typeof result === 'string') {
    console.log(`skipped: ${result}`);
    process.exitCode = 1;
    break;
  }
  results.push(result);
  if (values.json) continue;
  console.log(`${values.holds} holds, GT.M with ${values.bytes}, two regions, ${freeze} freeze on ${provider}`);
  console.log(line('hold', result.held));
  console.log(line('own overhead', result.overhead));
  console.log(line("writer's longest gap around it", result.gap));
  console.log(line('longest gap in a second without', result.quietGap));
  console.log(
    `  ${(publishedMs / result.held.p50).toFixed(0)} times shorter than the 6 s of a published log (another machine, engine and load)`,
  );
}
if (values.json) console.log(JSON.stringify({ provider, bytes: size.value, holds: Number(values.holds), results }));
