/**
 * `npm run simulate [-- --runs 1000 --kind patroni --suspects]`: plays backups on simulated clusters in virtual time and prints, for each
 * kind of cluster and each profile of stuns, what the rules allowed and refused and what became of it. test/simulation/README.md explains it.
 */
import { parseArgs } from 'node:util';
import { kinds } from '../test/simulation/kinds.ts';
import { predictions, profiles } from '../test/simulation/plan.ts';
import { comparisonOf, rowOf, tableOf, type Row } from '../test/simulation/table.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '1000' },
    kind: { type: 'string' },
    predictions: { type: 'boolean', default: false },
    suspects: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const chosen = kinds.filter(({ name }) => values.kind === undefined || name === values.kind);
if (chosen.length === 0 || !(Number(values.runs) > 0))
  throw new Error(`--kind is one of ${kinds.map(({ name }) => name).join(', ')}; --runs is a number`);

if (values.predictions) {
  console.log(
    comparisonOf(
      predictions.map(({ name, predict }) => ({
        name,
        rows: chosen.flatMap((kind) => profiles.map((profile) => rowOf(kind, profile, Number(values.runs), predict))),
      })),
    ),
  );
  process.exit();
}
const rows: Row[] = [];
for (const kind of chosen)
  for (const profile of profiles) {
    const row = rowOf(kind, profile, Number(values.runs));
    rows.push(row);
    process.stderr.write(`${kind.name}, ${profile.name}\n`);
  }
if (values.json) console.log(JSON.stringify(rows.map((row) => ({ ...row, reasons: Object.fromEntries(row.reasons) }))));
else console.log(tableOf(rows));
if (values.suspects) for (const { seed, why } of rows.flatMap((row) => row.suspects)) console.log(`  ${seed}: ${why}`);
