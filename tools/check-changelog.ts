/** Checks the form of every entry in changelog/unreleased, as changelog/TEMPLATE describes it. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const heading = /^(Added|Changed|Fixed|Removed|Security): \S.*[^.\s]$/;

/** What is wrong with an entry, or nothing. */
export function entryProblems(name: string, text: string): readonly string[] {
  const problems: string[] = [];
  const [first = '', second = '', ...body] = text.split('\n');
  if (!/^[a-z0-9]+(-[a-z0-9]+)*\.md$/.test(name)) problems.push('the name is not words-with-dashes.md');
  if (!heading.test(first))
    problems.push('line 1 is not "Added|Changed|Fixed|Removed|Security: a sentence without full stop"');
  if (second !== '') problems.push('line 2 is not blank');
  if (body.join('').trim() === '') problems.push('there is no paragraph that tells a user what changed');
  return problems;
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'changelog', 'unreleased');
  for (const name of readdirSync(folder)
    .filter((each) => !each.startsWith('.'))
    .sort()) {
    for (const problem of entryProblems(name, readFileSync(join(folder, name), 'utf8'))) {
      process.stdout.write(`changelog/unreleased/${name}: ${problem}\nHINT: see changelog/TEMPLATE\n`);
      process.exitCode = 1;
    }
  }
}
