import { checkGroup } from '../flows/barrier-ask.ts';
import { checkSplit } from '../flows/mirror-split-plan.ts';
import { check } from '../flows/survey.ts';
import { ExitCode } from '../model/errors.ts';
import type { Answer, Context } from './command.ts';
import { findingLines } from './point-text.ts';
import { workloadOf } from './select.ts';

/** Errors among the findings are exit code 5: a backup would fail. Warnings alone are not a failure. */
export async function checkCommand(context: Context, name: string | undefined): Promise<Answer> {
  const session = await context.session();
  const group = name === undefined ? undefined : session.groups.get(name);
  const checks = (
    name === undefined ? [...session.workloads.values()] : group === undefined ? [workloadOf(session, name)] : []
  ).map((workload) => ({
    name: workload.name,
    run: () => (workload.method === 'mirror-split' ? checkSplit : check)(workload, session.environment, context.signal),
  }));
  const groups = name === undefined ? [...session.groups.values()] : group === undefined ? [] : [group];
  for (const each of groups)
    checks.push({ name: each.name, run: () => checkGroup(each, session.environment, context.signal) });
  const lines: string[] = [];
  const documents: Record<string, unknown>[] = [];
  let passed = true;
  for (const workload of checks) {
    const result = await workload.run();
    passed &&= result.passed;
    documents.push({ workload: workload.name, passed: result.passed, findings: result.findings });
    const errors = result.findings.filter((finding) => finding.severity === 'error').length;
    const warnings = result.findings.filter((finding) => finding.severity === 'warning').length;
    lines.push(
      `${context.paint('bold', workload.name)}: ${result.passed ? context.paint('green', 'ready') : context.paint('red', 'not ready')}, ${errors} errors, ${warnings} warnings`,
      ...findingLines(result.findings, context.paint),
    );
  }
  if (checks.length === 0) lines.push(`${session.configFile} has no workload; \`stillpoint init\` looks for databases`);
  return {
    document: { outcome: passed ? 'complete' : 'failed', passed, workloads: documents },
    lines,
    exit: passed ? ExitCode.done : ExitCode.failed,
  };
}
