import { StillpointError } from '../model/errors.ts';
import type { DrillResult, Point } from '../model/point.ts';

/** A copy that does not start or does not pass is a failed command, although the drill itself was held. */
export function drillFailure(point: Pick<Point, 'id' | 'workload'>, result: DrillResult): StillpointError | undefined {
  if (result.outcome !== 'failed') return undefined;
  const bad = result.findings.filter((finding) => finding.severity === 'error');
  return new StillpointError(
    'drill-failed',
    `the copy of ${point.id} did not pass: ${bad.map((finding) => `${finding.check}: ${finding.said}`).join('; ')}`,
    {
      hint: `drill an earlier point (\`stillpoint points ${point.workload}\`), and check the live database for the same damage`,
      details: { point: point.id, findings: bad },
    },
  );
}
