import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadScenarios, runScenario } from './run.ts';

/** Scenarios as tests. The small ones by default; STILLPOINT_TEST_FULL=1 runs all of them in full. */
export async function scenariosAsTests(part: string, chosen: (name: string) => boolean): Promise<void> {
  const full = process.env['STILLPOINT_TEST_FULL'] === '1';
  const scenarios = (await loadScenarios()).filter(({ name }) => chosen(name));
  describe(`lab: ${part}`, () => {
    for (const scenario of scenarios) {
      it(`${scenario.name}: ${scenario.about}`, async (t) => {
        const { outcome, why, ms } = await runScenario(scenario, { full });
        if (outcome === 'skipped') {
          t.skip(why);
          return;
        }
        t.diagnostic(`${scenario.name}: ${Math.round(ms / 1000)} s`);
        assert.equal(outcome, 'passed', why);
      });
    }
  });
}
