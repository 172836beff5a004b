/**
 * `npm run bench:barrier [-- --holds 30 --hosts 8 --json]`: so many group holds over SSH to hosts in network namespaces, under an application
 * that writes to all of them. Own overhead: from the word to freeze until the last part was heard to be thawed, less the engine's and the
 * provider's time of the part where that is longest.
 */
import { parseArgs } from 'node:util';
import type { HoldSummary } from '../src/model/point.ts';
import { openBarrierStage } from '../test/e2e/barrier-stage.ts';
import { figures, line } from './figures.ts';

const { values } = parseArgs({
  options: {
    holds: { type: 'string', default: '30' },
    hosts: { type: 'string', default: '8' },
    json: { type: 'boolean', default: false },
  },
});
const hosts = Number(values.hosts);
const stage = await openBarrierStage(hosts, { budget: '20s' });
if (typeof stage === 'string') {
  console.log(`skipped: ${stage}`);
  process.exitCode = 1;
} else {
  await using _stage = stage;
  const holds: HoldSummary[] = [];
  for (let n = 0; n < Number(values.holds); n++) {
    const made = await stage.run(['backup', 'shop', '--json']);
    if (made.exitCode !== 0) throw new Error(made.stdout + made.stderr);
    const { hold } = (JSON.parse(made.stdout) as { point: { hold: HoldSummary } }).point;
    holds.push(hold);
  }
  const held = figures(holds.map((hold) => hold.heldMs));
  const overhead = figures(holds.map((hold) => hold.overheadMs));
  if (values.json) console.log(JSON.stringify({ hosts, holds: holds.length, held, overhead }));
  else
    console.log(
      `${holds.length} group holds, ${hosts} hosts\n${line('word to last thaw', held)}\n${line('own overhead', overhead)}`,
    );
}
