/**
 * `npm run bench:hold [-- --holds 200 --engine sqlite --provider btrfs --json]`: so many real backups through the command line, each in
 * a fresh process, under a write load. Prints how long the engine was held and how much of that was our own doing.
 */
import { parseArgs } from 'node:util';
import type { HoldSummary } from '../src/model/point.ts';
import { figures, line } from './figures.ts';
import { openStage, type Engine, type Provider } from '../test/e2e/stage.ts';

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
