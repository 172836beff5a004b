import { globSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { systemClock } from '../../src/platform/clock.ts';
import type { JobParameters, Json, Scenario } from './scenario.ts';
import { openMachine, whyNoLab, type Machine } from './uml.ts';

export interface ScenarioResult {
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** Why it failed or was skipped. */
  readonly why: string | undefined;
  readonly ms: number;
  readonly result: Json | undefined;
  /** Where its disks, log and share are, if they were kept. */
  readonly directory: string | undefined;
}

export interface RunOptions {
  readonly full: boolean;
  readonly keep?: boolean;
  readonly signal?: AbortSignal;
}

/** All scenarios, by name. */
export async function loadScenarios(): Promise<readonly Scenario[]> {
  const directory = fileURLToPath(new URL('scenarios', import.meta.url));
  const names = globSync('*.ts', { cwd: directory })
    .filter((file) => !file.endsWith('.test.ts'))
    .map((file) => basename(file, '.ts'))
    .sort();
  return await Promise.all(
    names.map(async (name) => {
      const { scenario } = (await import(`./scenarios/${name}.ts`)) as { readonly scenario: Scenario };
      if (scenario.name !== name) throw new Error(`scenarios/${name}.ts calls itself ${scenario.name}`);
      return scenario;
    }),
  );
}

/** Runs one scenario on a machine of its own. Never throws: what went wrong is in the result. */
export async function runScenario(scenario: Scenario, options: RunOptions): Promise<ScenarioResult> {
  const began = systemClock.monoMs();
  let result: Json | undefined;
  let directory: string | undefined;
  const ended = (outcome: ScenarioResult['outcome'], why?: string): ScenarioResult => ({
    name: scenario.name,
    outcome,
    why,
    ms: Math.round(systemClock.monoMs() - began),
    result,
    directory: options.keep === true ? directory : undefined,
  });
  const missing = (await whyNoLab(scenario.programs)) ?? scenario.whyNot?.();
  if (missing !== undefined) return ended('skipped', missing);
  if (scenario.full === true && !options.full) return ended('skipped', 'runs with --full or STILLPOINT_TEST_FULL=1');
  const parameters: JobParameters = { full: options.full };
  try {
    const { disks, memMiB } = scenario;
    await using machine = await openMachine({
      disks,
      memMiB,
      keep: options.keep === true,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    directory = machine.directory;
    await scenario.prepare?.(machine);
    result = await (scenario.host?.(machine, parameters) ?? oneBoot(scenario, machine, parameters));
    scenario.assess?.(result, parameters);
    return ended('passed');
  } catch (error) {
    return ended('failed', inspect(error, { depth: 6 }));
  }
}

async function oneBoot(scenario: Scenario, machine: Machine, parameters: JobParameters): Promise<Json> {
  const { result, error } = await machine.boot(
    { scenario: scenario.name, parameters },
    { timeoutMs: scenario.timeoutMs },
  );
  if (error !== undefined || result === undefined) throw new Error(error ?? 'the scenario gave no result');
  return result;
}
