import { errorTable, ExitCode, type ErrorCode } from '../model/errors.ts';

/** The exit code that a backup would have which is refused so. */
export function exitOf(code: string): ExitCode {
  return Object.hasOwn(errorTable, code) ? errorTable[code as ErrorCode].exit : ExitCode.refused;
}
