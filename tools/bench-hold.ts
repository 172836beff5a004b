/**
 * `npm run bench:hold [-- --holds 200 --engine sqlite --provider btrfs --json]`: so many real backups through the command line, each in
 * a fresh process, under a write load. Prints how long the engine was held and how much of that was our own doing.
 */
import { parseArgs } from 'node:util';
import type { HoldSummary } from '../src/model/point.ts';
import { openStage, type Engine, type Provider } from '../test/e2e/stage.ts';

interface Figures {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

function figures(values: readonly number[]): Figures {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number): number =>
    sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

function line(name: string, { p50, p99, max }: Figures): string {
  return `${name.padEnd(14)} p50 ${p50.toFixed(1).padStart(8)} ms   p99 ${p99.toFixed(1).padStart(8)} ms   max ${max.toFixed(1).padStart(8)} ms`;
}

function isEngine(text: string): text is Engine {
  return text === 'sqlite' || text === 'postgresql';
}

function isProvider(text: string): text is Provider {
  return text === 'btrfs' || text === 'reflink' || text === 'copy';
}

const { values } = parseArgs({
  options: {
    holds: { type: 'string', default: '200' },
    engine: { type: 'string', default: 'sqlite' },
    provider: { type: 'string', default: 'btrfs' },
    json: { type: 'boolean', default: false },
  },
});
const { engine, provider } = values;
if (!isEngine(engine) || !isProvider(provider))
  throw new Error('--engine is sqlite or postgresql; --provider is btrfs, reflink or copy');
const stage = await openStage(engine, provider, { budget: '10s' });
if (typeof stage === 'string') {
  console.log(`skipped: ${stage}`);
  process.exitCode = 1;
} else {
  await using _stage = stage;
  const holds: HoldSummary[] = [];
  for (let n = 0; n < Number(values.holds); n++) {
    const made = await stage.run(['backup', 'orders', '--json']);
    if (made.exitCode !== 0) throw new Error(made.stdout + made.stderr);
    const { hold } = (JSON.parse(made.stdout) as { point: { hold: HoldSummary } }).point;
    holds.push(hold);
  }
  const held = figures(holds.map((hold) => hold.heldMs));
  const overhead = figures(holds.map((hold) => hold.overheadMs));
  if (values.json) console.log(JSON.stringify({ engine, provider, holds: holds.length, held, overhead }));
  else
    console.log(
      `${holds.length} holds, ${engine} on ${provider}\n${line('hold', held)}\n${line('own overhead', overhead)}`,
    );
}
