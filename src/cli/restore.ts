import { createInterface } from 'node:readline/promises';
import { resolve } from 'node:path';
import { restore, type RestoreResult, type RestoreTarget } from '../flows/restore.ts';
import { StillpointError } from '../model/errors.ts';
import type { Point } from '../model/point.ts';
import type { Answer, Context } from './command.ts';
import { bytes, duration, localTime, pairs } from './format.ts';
import { choosePoint } from './select.ts';

export interface RestoreOptions {
  readonly to?: string;
  readonly target?: string;
  readonly yes?: boolean;
}

export async function restoreCommand(context: Context, what: string, options: RestoreOptions): Promise<Answer> {
  const session = await context.session();
  const { point, workload } = await choosePoint(session, what, options.to);
  const target = targetOf(point, options.target);
  if (target.kind === 'in-place' && options.yes !== true) await confirm(context, point);
  const result = await restore(workload, session.environment, { point, target, signal: context.signal });
  return {
    document: { outcome: 'complete', point, restore: { target: target.kind, ...result } },
    lines: resultLines(context, point, result),
  };
}

/** Beside the original unless it is said otherwise. */
function targetOf(point: Point, target: string | undefined): RestoreTarget {
  if (target === 'in-place') return { kind: 'in-place' };
  if (target === 'clone') {
    throw new StillpointError(
      'usage',
      'a clone needs a snapshot that was kept, and points live in the repository only so far',
      {
        hint: 'restore to a directory: --target DIR',
      },
    );
  }
  return { kind: 'directory', path: resolve(target ?? `${point.workload}-${point.id}`) };
}

async function confirm(context: Context, point: Point): Promise<void> {
  const question = `restore ${point.id} of ${localTime(point.cutAt)} over the files of ${point.workload}? The files of now are kept aside.`;
  const refusal = new StillpointError('usage', 'a restore in place is not begun without a yes', {
    hint: `give --yes, or restore beside: \`stillpoint restore ${point.id} --target DIR\``,
  });
  if (context.json || !process.stdin.isTTY || !process.stderr.isTTY) throw refusal;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const said = await terminal.question(`${question} (yes/no) `, { signal: context.signal });
    if (said.trim().toLowerCase() !== 'yes') throw refusal;
  } finally {
    terminal.close();
  }
}

function resultLines(context: Context, point: Point, result: RestoreResult): readonly string[] {
  return [
    `${context.paint('green', 'restored')} ${point.id} of ${localTime(point.cutAt)}: ${bytes(result.bytes)} in ${result.files} files, ${duration(result.tookMs)}`,
    ...pairs(result.paths.map((path) => [path.name, path.at] as const)),
    ...(result.movedAside.length === 0
      ? []
      : [
          '',
          'the former files are kept aside. To undo the restore, stop the engine and run:',
          ...result.movedAside.flatMap(({ from, to }) => [
            `  mv -T ${quoted(from)} ${quoted(`${from}.restored-${point.id}`)}`,
            `  mv -T ${quoted(to)} ${quoted(from)}`,
          ]),
        ]),
  ];
}

function quoted(path: string): string {
  return /^[\w./:@%+=-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}
