import { isAlike, mirrorDifferences } from '../flows/mirror-diff.ts';
import { ExitCode } from '../model/errors.ts';
import type { Differences, MemberDifference } from '../ports/topology.ts';
import type { Answer, Context } from './command.ts';
import { table, type Paint } from './format.ts';
import { workloadOf } from './select.ts';

const states: Readonly<Record<MemberDifference['state'], string>> = {
  missing: 'missing',
  different: 'different',
  'not-compared': 'not compared',
  local: 'not replicated',
};

/** What is not alike is exit code 3, and so is a member that could not be asked. */
export async function mirrorDiffCommand(context: Context, name: string): Promise<Answer> {
  const session = await context.session();
  const differences = await mirrorDifferences(workloadOf(session, name), context.signal);
  const alike = isAlike(differences);
  return {
    document: { outcome: alike ? 'complete' : 'degraded', workload: name, ...differences },
    lines: differenceLines(differences, context.paint),
    exit: alike ? ExitCode.done : ExitCode.degraded,
  };
}

function differenceLines({ compared, silent, found, untold }: Differences, paint: Paint): readonly string[] {
  const [first, ...others] = compared;
  const kinds = [...new Set(found.map(({ kind }) => kind))];
  const count = found.filter(({ state }) => state === 'missing' || state === 'different').length;
  return [
    `${others.join(', ')} held against ${first ?? ''}: ${count === 0 ? paint('green', 'nothing differs') : paint('yellow', `${count} ${count === 1 ? 'difference' : 'differences'}`)}`,
    ...silent.map(({ member, said }) => `${paint('red', 'not asked')}  ${member}: ${said}`),
    ...kinds.flatMap((kind) => kindLines(kind, found, paint)),
    '',
    'not in any list, see to it by hand:',
    ...untold.map(({ kind, remedy }) => `  ${kind}: ${remedy}`),
  ];
}

function kindLines(kind: string, found: Differences['found'], paint: Paint): readonly string[] {
  const those = found.filter((each) => each.kind === kind);
  const remedies = [...new Set(those.map(({ remedy }) => remedy))];
  const rows = those.map(({ name, state, member, said }) => [
    name,
    states[state],
    member ?? '',
    withoutKind(said, kind),
  ]);
  return [
    '',
    `${paint('bold', kind)}: ${remedies.join('; ')}`,
    ...table(['name', '', 'at', 'what'], rows, (cell, column) =>
      column === 1 && cell.trim() !== states.local ? paint('yellow', cell) : cell,
    ),
  ];
}

function withoutKind(said: string, kind: string): string {
  return said.startsWith(`${kind}: `) ? said.slice(kind.length + 2) : said;
}
