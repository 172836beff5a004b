import { purgeJournals } from '../flows/purge-journals.ts';
import { shipJournals, watchJournals, type ShipResult } from '../flows/ship-journals.ts';
import { journalStatus, verifyJournals } from '../flows/survey-journals.ts';
import { parseSize, parseDuration } from '../config/units.ts';
import { ExitCode, StillpointError } from '../model/errors.ts';
import type { Answer, Context } from './command.ts';
import { bytes, duration, localTime, pairs, table } from './format.ts';
import { findingLines } from './point-text.ts';
import { pointsOf, workloadOf } from './select.ts';

export interface ShipOptions {
  readonly switch?: boolean;
  readonly watch?: boolean;
  readonly every?: string;
  readonly size?: string;
}

export async function journalShipCommand(context: Context, name: string, options: ShipOptions): Promise<Answer> {
  const session = await context.session();
  const workload = workloadOf(session, name);
  if (options.watch !== true) {
    const result = await shipJournals(workload, session.environment, {
      switch: options.switch === false ? 'no' : 'yes',
      signal: context.signal,
    });
    return {
      document: { ...result },
      lines: shippedLines(context, name, result),
      exit: result.outcome === 'degraded' ? ExitCode.degraded : ExitCode.done,
    };
  }
  let shipments = 0;
  await watchJournals(workload, session.environment, {
    everyMs: valueOf('--every', parseDuration(options.every ?? '30s')),
    bytes: valueOf('--size', parseSize(options.size ?? '64MiB')),
    signal: context.signal,
    onShipped: (result) => {
      shipments += 1;
      const { shipped, coversTo } = result;
      context.reporter.say(
        `${shipped.length} files, ${bytes(result.bytes)}; covers to ${coversTo === null ? 'nothing' : localTime(coversTo)}`,
        {
          shipped: shipped.length,
          bytes: result.bytes,
          coversTo,
        },
      );
    },
  });
  return {
    document: { outcome: 'complete', shipments },
    lines: [`ended after ${shipments} shipments; what was written since the last one is with the engine only`],
  };
}

function valueOf(option: string, parsed: { readonly value: number } | { readonly problem: string }): number {
  if ('value' in parsed) return parsed.value;
  throw new StillpointError('usage', `${option} ${parsed.problem}`, { hint: 'for example --every 30s --size 64MiB' });
}

function shippedLines(context: Context, name: string, result: ShipResult): readonly string[] {
  const { shipped, coversTo } = result;
  return [
    `${context.paint(result.outcome === 'complete' ? 'green' : 'yellow', 'shipped')} ${shipped.length} journal files of ${name}, ${bytes(result.bytes)}`,
    ...pairs([
      [
        'files',
        shipped.map((file) => `${file.part === '' ? '' : `${file.part} `}${file.name}: ${file.begin} to ${file.end}`),
      ],
      ['covers to', coversTo === null ? 'nothing so far' : localTime(coversTo)],
    ]),
    ...findingLines(result.findings, context.paint),
  ];
}

export async function journalStatusCommand(context: Context, name: string): Promise<Answer> {
  const session = await context.session();
  await pointsOf(session);
  const status = await journalStatus(workloadOf(session, name), session.environment, context.signal);
  const rows = status.files.map((file) => [
    file.part,
    file.name,
    localTime(file.beganAt),
    file.endedAt === undefined ? 'written now' : localTime(file.endedAt),
    bytes(file.bytes),
    file.shipped ? 'yes' : 'no',
    file.keep.length === 0 ? 'may be purged' : `keep: ${file.keep.join('; ')}`,
  ]);
  const { lagMs } = status;
  return {
    document: { outcome: 'complete', ...status },
    lines: [
      ...table(['part', 'file', 'began', 'ended', 'size', 'shipped', 'purge'], rows, undefined, new Set([4])),
      '',
      ...pairs([
        ['repository', `${status.shippedFiles} files, ${bytes(status.shippedBytes)}`],
        ['covers to', status.coversTo === null ? 'nothing was shipped so far' : localTime(status.coversTo)],
        ['lag', lagMs === null ? undefined : duration(lagMs)],
        ['not shipped', bytes(status.unshippedBytes)],
      ]),
      ...findingLines(status.findings, context.paint),
    ],
  };
}

export async function journalVerifyCommand(context: Context, name: string): Promise<Answer> {
  const session = await context.session();
  await pointsOf(session, name);
  const result = await verifyJournals(workloadOf(session, name), session.environment);
  const bad = result.findings.filter((finding) => finding.severity === 'error');
  const failure =
    bad.length === 0
      ? undefined
      : new StillpointError('journal-gap', `the journal of ${name} has ${bad.length} faults`, {
          hint: 'make a new point: rolling forward from older ones stops at the first gap',
          details: { findings: bad },
        });
  return {
    document: { outcome: failure === undefined ? 'complete' : 'failed', ...result },
    lines: [
      `${result.files} journal files of ${name} in the repository`,
      ...findingLines(result.findings, context.paint),
      ...table(
        ['point', 'can be rolled forward to', 'by'],
        result.points.map((each) => [
          each.point,
          each.reachesTo === null ? 'not at all' : localTime(each.reachesTo),
          each.said,
        ]),
      ),
    ],
    ...(failure === undefined ? {} : { error: failure }),
  };
}

export async function journalPurgeCommand(
  context: Context,
  name: string,
  options: { readonly dryRun?: boolean },
): Promise<Answer> {
  const session = await context.session();
  await pointsOf(session);
  const dryRun = options.dryRun === true;
  const result = await purgeJournals(workloadOf(session, name), session.environment, {
    dryRun,
    signal: context.signal,
  });
  return {
    document: { outcome: 'complete', dryRun, ...result },
    lines: [
      `${dryRun ? 'would purge' : 'purged'} ${result.removed.length} journal files of ${name} from the engine's disk, ${bytes(result.bytes)}`,
      ...pairs([
        ['purged', result.removed.map((file) => file.path)],
        ['kept', result.kept.map(({ file, keep }) => `${file.path}: ${keep.join('; ')}`)],
      ]),
    ],
  };
}
