import { forgetSplit, type SplitForgotten } from '../flows/mirror-split-forget.ts';
import { ExitCode, StillpointError } from '../model/errors.ts';
import type { Answer, Context } from './command.ts';
import { bytes, pairs } from './format.ts';
import { findingLines } from './point-text.ts';
import { pointOf, pointsOf, workloadOf } from './select.ts';

export async function repoInitCommand(
  context: Context,
  options: { readonly generatePassword?: boolean },
): Promise<Answer> {
  const session = await context.session();
  const { repository, passwordFile } = await session.initRepository({
    generatePassword: options.generatePassword === true,
  });
  const first = [...session.workloads.keys()][0] ?? 'WORKLOAD';
  return {
    document: {
      outcome: 'complete',
      repository: { id: repository.id, location: repository.location },
      passwordFile: passwordFile ?? null,
    },
    lines: [
      `made repository ${repository.id.slice(0, 8)} at ${repository.location}`,
      ...(passwordFile === undefined
        ? []
        : [`its password is in ${passwordFile}: keep a copy elsewhere, for without it nothing can be restored`]),
      `next: \`stillpoint check\`, then \`stillpoint backup ${first}\``,
    ],
  };
}

/** Damage is exit code 5, with the points that it hits by name. */
export async function repoCheckCommand(context: Context, options: { readonly readData?: boolean }): Promise<Answer> {
  const session = await context.session();
  const repository = await session.environment.repository();
  const report = await repository.check({
    read: options.readData === true ? 'all' : 'structure',
    onProgress: (progress) => context.reporter.progress('check', progress),
    signal: context.signal,
  });
  const damaged = new Set(report.damagedSnapshots);
  const points = (await pointsOf(session))
    .filter((point) => damaged.has(point.repositorySnapshot))
    .map((point) => point.id);
  const errors = report.findings.filter((finding) => finding.severity === 'error');
  const failure =
    errors.length === 0
      ? undefined
      : new StillpointError('repository-damaged', `${errors.length} damages were found in ${repository.location}`, {
          hint:
            points.length === 0
              ? 'no point needs the damaged files; a full backup writes what is missing again'
              : `these points are hit: ${points.join(', ')}; make a full backup now, which writes what is missing again`,
          details: { points },
        });
  return {
    document: { outcome: failure === undefined ? 'complete' : 'failed', check: report, damagedPoints: points },
    lines: [
      `looked at ${report.packs} packs and ${report.blobs} blobs${options.readData === true ? `, read ${bytes(report.bytesRead)}` : '; --read-data reads and proves every byte'}`,
      ...findingLines(report.findings, context.paint),
      ...(failure === undefined ? [context.paint('green', 'no damage found')] : []),
    ],
    ...(failure === undefined ? {} : { error: failure }),
    exit: failure === undefined ? ExitCode.done : failure.exitCode,
  };
}

export async function repoStatsCommand(context: Context): Promise<Answer> {
  const session = await context.session();
  const repository = await session.environment.repository();
  const stats = await repository.stats();
  return {
    document: { outcome: 'complete', repository: { id: repository.id, location: repository.location }, stats },
    lines: [
      `repository ${repository.id.slice(0, 8)} at ${repository.location}`,
      ...pairs([
        ['snapshots', String(stats.snapshots)],
        ['packs', String(stats.packs)],
        ['blobs', String(stats.blobs)],
        ['stored', bytes(stats.storedBytes)],
        ['before compression', bytes(stats.plainBytes)],
      ]),
    ],
  };
}

/** One after the other, in the order that they are named in: a later refusal leaves those before it forgotten, and says so. */
export async function repoForgetCommand(
  context: Context,
  ids: readonly string[],
  options: { readonly dryRun?: boolean },
): Promise<Answer> {
  const session = await context.session();
  const dryRun = options.dryRun === true;
  const forgotten: SplitForgotten[] = [];
  let failure: StillpointError | undefined;
  for (const id of ids) {
    try {
      const point = await pointOf(session, id);
      if (forgotten.some((each) => each.point === point.id)) continue;
      // Those before it are gone only in thought in a dry run.
      const others = (await pointsOf(session, point.workload)).filter(
        (each) => each.id !== point.id && !forgotten.some((gone) => gone.point === each.id),
      );
      const request = { point, others, dryRun, signal: context.signal };
      forgotten.push(await forgetSplit(workloadOf(session, point.workload), session.environment, request));
    } catch (error) {
      if (!(error instanceof StillpointError)) throw error;
      failure = error;
      break;
    }
  }
  const verb = dryRun ? 'would be forgotten' : 'is forgotten';
  return {
    document: { outcome: failure === undefined ? 'complete' : 'failed', dryRun, forgotten },
    lines: forgotten.map(
      ({ point, snapshots }) =>
        `${point} ${verb}, ${snapshots.length === 0 ? 'and has no snapshot any more' : `with ${snapshots.join(', ')}`}`,
    ),
    ...(failure === undefined ? {} : { error: failure }),
  };
}
