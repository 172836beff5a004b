/** Every scenario as a test, on one boot. STILLPOINT_TEST_FULL=1 takes more rounds. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { ScenarioResult } from '../run.ts';
import { runMachineScenarios, scenarios } from './lab.ts';

describe('lab of virtual machines', () => {
  let results: readonly ScenarioResult[] = [];
  before(async () => {
    results = await runMachineScenarios(scenarios, { full: process.env['STILLPOINT_TEST_FULL'] === '1' });
  });

  for (const { name, about } of scenarios) {
    it(`${name}: ${about}`, (t) => {
      const found = results.find((result) => result.name === name);
      if (found?.outcome === 'skipped') return t.skip(found.why);
      assert.equal(found?.outcome, 'passed', found?.why);
      t.diagnostic(`${name}: ${found.ms} ms ${JSON.stringify(found.result)}`);
    });
  }
});
