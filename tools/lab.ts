/**
 * npm run lab [-- SCENARIO... --full --json --keep --list --at-once 2 --shell SCENARIO]
 *
 * Runs scenarios of test/lab in guests of their own. Exit code 1 if one failed. `--keep` leaves each machine's directory; `--shell` prints how
 * to boot a machine with a scenario's disks by hand.
 */
import { parseArgs } from 'node:util';
import { messageOf } from '../src/model/errors.ts';
import { runMachineScenarios, scenarios as machines, type MachineScenario } from '../test/lab/qemu/lab.ts';
import { loadScenarios, runScenario, type ScenarioResult } from '../test/lab/run.ts';
import type { Scenario } from '../test/lab/scenario.ts';
import { openMachine } from '../test/lab/uml.ts';

const { values, positionals } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    shell: { type: 'string' },
    'at-once': { type: 'string', default: '1' },
  },
  allowPositionals: true,
});

function refuseUnknown(all: readonly { readonly name: string }[], names: readonly string[]): void {
  for (const name of names) {
    if (!all.some((each) => each.name === name))
      throw new Error(`no scenario is called ${name}; there are ${all.map((each) => each.name).join(', ')}`);
  }
}

function chosen<S extends { readonly name: string }>(all: readonly S[], names: readonly string[]): readonly S[] {
  return names.length === 0 ? all : all.filter((each) => names.includes(each.name));
}

function text({ name, outcome, ms, why, result, directory }: ScenarioResult): string {
  const seconds = `${(ms / 1000).toFixed(1)} s`.padStart(8);
  return [
    `${outcome.padEnd(8)}${seconds}  ${name}`,
    ...(why === undefined ? [] : [why.replaceAll(/^/gm, '    ')]),
    ...(result === undefined ? [] : [JSON.stringify(result, null, 2).replaceAll(/^/gm, '    ')]),
    ...(directory === undefined ? [] : [`    kept: ${directory}`]),
  ].join('\n');
}

/** Those of the virtual machine share one boot of it. */
async function runMachines(some: readonly MachineScenario[]): Promise<readonly ScenarioResult[]> {
  if (some.length === 0) return [];
  const results = await runMachineScenarios(some, { full: values.full });
  if (!values.json) for (const done of results) process.stdout.write(`${text(done)}\n`);
  return results;
}

async function runAll(scenarios: readonly Scenario[]): Promise<readonly ScenarioResult[]> {
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => abort.abort());
  const waiting = [...scenarios];
  const results: ScenarioResult[] = [];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined && !abort.signal.aborted; next = waiting.shift()) {
      const done = await runScenario(next, { full: values.full, keep: values.keep, signal: abort.signal });
      results.push(done);
      if (!values.json) process.stdout.write(`${text(done)}\n`);
    }
  };
  const lanes = Math.max(1, Math.trunc(Number(values['at-once'])) || 1);
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}

async function main(): Promise<number> {
  const scenarios = await loadScenarios();
  if (values.list) {
    for (const { name, about, full } of [...scenarios, ...machines.map((each) => ({ ...each, full: false }))])
      process.stdout.write(`${name.padEnd(24)}${full === true ? '(full) ' : ''}${about}\n`);
    return 0;
  }
  if (values.shell !== undefined) {
    refuseUnknown(scenarios, [values.shell]);
    const [scenario] = chosen(scenarios, [values.shell]);
    if (scenario === undefined) return 1;
    await using machine = await openMachine({ disks: scenario.disks, memMiB: scenario.memMiB, keep: true });
    process.stdout.write(`${machine.shellCommand()}\n# afterwards: rm -r ${machine.directory}\n`);
    return 0;
  }
  refuseUnknown([...scenarios, ...machines], positionals);
  const results = [
    ...(await runAll(chosen(scenarios, positionals))),
    ...(await runMachines(chosen(machines, positionals))),
  ];
  if (values.json) process.stdout.write(`${JSON.stringify({ schema: 'stillpoint-lab/1', results }, null, 2)}\n`);
  return results.some(({ outcome }) => outcome === 'failed') ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`lab: ${messageOf(error)}\n`);
  process.exitCode = 2;
}
