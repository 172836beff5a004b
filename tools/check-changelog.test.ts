import assert from 'node:assert/strict';
import { it } from 'node:test';
import { entryProblems } from './check-changelog.ts';

const good = 'Fixed: A hold ends at its deadline\n\nBefore, it lasted until the flow came back.\n';

it('accepts an entry of the form of the template', () => {
  assert.deepEqual(entryProblems('hold-deadline.md', good), []);
});

for (const [why, name, text] of [
  ['the name', 'Hold Deadline.md', good],
  ['line 1', 'a.md', good.replace('Fixed', 'Repaired')],
  ['line 1', 'a.md', good.replace('deadline', 'deadline.')],
  ['line 2', 'a.md', good.replace('\n\n', '\nBefore:\n')],
  ['there is no paragraph', 'a.md', 'Fixed: A hold ends\n\n'],
] as const) {
  it(`refuses ${JSON.stringify(text)} as ${name}`, () => {
    const problems = entryProblems(name, text);
    assert.equal(problems.length, 1);
    assert.ok(problems[0]?.startsWith(why));
  });
}
