/**
 * Every failure that Stillpoint foresees, once. The table maps a code to the exit code of the command line (docs/guide/errors.md
 * is generated from it). Anything thrown that is not a StillpointError is a bug and exits with 1 and a stack.
 */
export const ExitCode = {
  done: 0,
  bug: 1,
  usage: 2,
  degraded: 3,
  refused: 4,
  failed: 5,
  needsRecover: 6,
  cancelled: 130,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export const errorTable = {
  usage: { exit: ExitCode.usage, meaning: 'the command line cannot be understood' },
  'config-missing': { exit: ExitCode.usage, meaning: 'no configuration file was found' },
  'config-invalid': {
    exit: ExitCode.usage,
    meaning: 'the configuration file has an unknown key or an impossible value',
  },
  'workload-unknown': { exit: ExitCode.usage, meaning: 'the configuration has no workload of that name' },
  'point-unknown': { exit: ExitCode.usage, meaning: 'no restore point has that id' },
  'secret-unreadable': { exit: ExitCode.usage, meaning: 'a password file, variable or command gave no secret' },

  'workload-busy': { exit: ExitCode.refused, meaning: 'another run or hold on the same workload is in force' },
  'path-outside-group': {
    exit: ExitCode.refused,
    meaning: 'a path that recovery needs is on no volume of the consistency group',
  },
  'hold-not-covering': {
    exit: ExitCode.refused,
    meaning: 'the volumes cannot be cut at one instant and the hold does not cover that',
  },
  'hold-over-budget': { exit: ExitCode.refused, meaning: 'the predicted hold is longer than its budget' },
  'space-short': { exit: ExitCode.refused, meaning: 'a disk has too little free space for the operation' },
  'failover-risk': { exit: ExitCode.refused, meaning: 'the backup could make another member of the cluster take over' },
  'cluster-unknown': { exit: ExitCode.failed, meaning: 'nobody tells who is primary in the cluster' },
  'role-unsuitable': { exit: ExitCode.refused, meaning: 'the member is not in a role in which it may be backed up' },
  'stray-backup-label': { exit: ExitCode.refused, meaning: 'the live data directory holds a backup_label' },
  'layers-conflict': {
    exit: ExitCode.refused,
    meaning: 'a freeze and a cut are planned that must not be combined: the one would hang or break the other',
  },
  'changed-blocks-wrong': {
    exit: ExitCode.failed,
    meaning: 'blocks that the storage called unchanged had changed',
  },
  'volume-unsafe': { exit: ExitCode.refused, meaning: 'a layer of the storage stack cannot be cut safely' },
  'target-not-empty': { exit: ExitCode.refused, meaning: 'the restore target already holds files' },
  'engine-running': { exit: ExitCode.refused, meaning: 'the engine still runs on the files that would be replaced' },
  'cluster-at-work': {
    exit: ExitCode.refused,
    meaning: 'other members of the cluster run, or may run, on data that is newer than what would be restored',
  },
  'point-incomplete': { exit: ExitCode.refused, meaning: 'the repository lacks data that the point needs' },
  'no-point': { exit: ExitCode.refused, meaning: 'no restore point satisfies the request' },
  'point-needed': { exit: ExitCode.refused, meaning: 'the point is the last one, or is at work, and is not forgotten' },
  'method-unsupported': { exit: ExitCode.refused, meaning: 'the engine or its configuration has no such method' },
  'journal-gap': { exit: ExitCode.refused, meaning: 'journal files that the recovery needs are missing' },
  'level-misfit': { exit: ExitCode.failed, meaning: 'a level of a backup does not fit on the one before it' },
  'journal-misfit': { exit: ExitCode.failed, meaning: 'the engine refused a journal file while rolling forward' },
  'parts-unsuitable': {
    exit: ExitCode.refused,
    meaning: 'the parts of a group cannot make one point together',
  },
  'recover-first': { exit: ExitCode.refused, meaning: 'a dead run left something that could not be undone by itself' },

  'database-unreachable': { exit: ExitCode.failed, meaning: 'the database does not answer' },
  'database-login': { exit: ExitCode.failed, meaning: 'the database refused the login' },
  'database-privilege': { exit: ExitCode.failed, meaning: 'the login lacks a privilege' },
  'database-file': { exit: ExitCode.failed, meaning: 'a database file is missing or is no database' },
  'freeze-failed': { exit: ExitCode.failed, meaning: 'the engine could not be frozen; it was thawed again' },
  'guard-lost': { exit: ExitCode.failed, meaning: 'the guard died; the hold was ended by the next party in line' },
  'hold-expired': { exit: ExitCode.failed, meaning: 'the guard ended the hold at its deadline' },
  'cut-failed': { exit: ExitCode.failed, meaning: 'the snapshot provider could not cut the group' },
  'barrier-broken': {
    exit: ExitCode.failed,
    meaning: 'a part of a group was late, lost or failed; all parts were thawed, and no point of the group was made',
  },
  'verdict-too-weak': {
    exit: ExitCode.failed,
    meaning: 'the evidence does not support the verdict that was asked for; the point was discarded',
  },
  'journal-missing': { exit: ExitCode.failed, meaning: 'journal files between freeze and thaw are gone' },
  'repository-missing': { exit: ExitCode.failed, meaning: 'there is no repository at that place' },
  'repository-exists': { exit: ExitCode.failed, meaning: 'there is a repository at that place already' },
  'repository-password': { exit: ExitCode.failed, meaning: 'no key of the repository opens with this password' },
  'repository-locked': { exit: ExitCode.failed, meaning: 'another program holds an exclusive lock on the repository' },
  'repository-damaged': { exit: ExitCode.failed, meaning: 'a repository file is missing, truncated or altered' },
  'repository-full': { exit: ExitCode.failed, meaning: 'the repository disk is full' },
  'command-failed': { exit: ExitCode.failed, meaning: 'an external command failed' },
  'drill-failed': { exit: ExitCode.failed, meaning: 'the restored copy did not start or did not pass its checks' },
  'clock-jumped': { exit: ExitCode.failed, meaning: 'the wall clock went backwards since the last point' },
  io: { exit: ExitCode.failed, meaning: 'a file could not be read or written' },

  'thaw-unproven': { exit: ExitCode.needsRecover, meaning: 'it could not be proved that the engine is thawed' },
  'journal-corrupt': { exit: ExitCode.needsRecover, meaning: 'an intent journal is damaged before its last line' },
  'catalog-damaged': { exit: ExitCode.needsRecover, meaning: 'the catalog cannot be read' },
  'undo-failed': { exit: ExitCode.needsRecover, meaning: 'something that a run made could not be removed' },

  cancelled: { exit: ExitCode.cancelled, meaning: 'the user or a signal cancelled the run; nothing is left frozen' },
} as const satisfies Record<string, { exit: ExitCode; meaning: string }>;

export type ErrorCode = keyof typeof errorTable;

export type Details = Readonly<Record<string, unknown>>;

export interface ErrorOptions {
  /** The next command or setting to try; printed behind `HINT:`. */
  readonly hint?: string;
  /** Figures and names for the JSON document. Never a secret. */
  readonly details?: Details;
  readonly cause?: unknown;
}

/** A foreseen failure. `message` is one lower-case sentence without a full stop. */
export class StillpointError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: Details;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StillpointError';
    this.code = code;
    this.hint = options.hint;
    this.details = options.details ?? {};
  }

  get exitCode(): ExitCode {
    return errorTable[this.code].exit;
  }
}

/** The text of anything thrown, for messages that quote a cause. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The code of a foreseen or operating-system error (`ENOSPC`...), if it has one. */
export function codeOf(thrown: unknown): string | undefined {
  if (thrown instanceof StillpointError) return thrown.code;
  if (thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string') return thrown.code;
  return undefined;
}
