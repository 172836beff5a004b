import { Command, CommanderError, Option } from 'commander';
import { ExitCode, StillpointError, messageOf } from '../model/errors.ts';
import type { Level } from '../model/point.ts';
import type { Clock } from '../platform/clock.ts';
import { backupCommand, methods } from './backup.ts';
import { freezeCommand, statusCommand, thawCommand } from './by-hand.ts';
import { checkCommand } from './check.ts';
import type { Answer, Context, ErrorDocument, Services, Session } from './command.ts';
import { configReferenceCommand, configSchemaCommand } from './config.ts';
import { demoCommand } from './demo.ts';
import { drillCommand } from './drill.ts';
import { painter, plain } from './format.ts';
import { estimateCommand } from './estimate.ts';
import { initCommand } from './init.ts';
import {
  journalPurgeCommand,
  journalShipCommand,
  journalStatusCommand,
  journalVerifyCommand,
  type ShipOptions,
} from './journal.ts';
import { planCommand } from './plan.ts';
import { pointsCommand } from './points.ts';
import { recoverCommand } from './recover.ts';
import { repoCheckCommand, repoForgetCommand, repoInitCommand, repoStatsCommand } from './repo.ts';
import { JsonReporter, TextReporter } from './reporter.ts';
import { restoreCommand, type RestoreOptions } from './restore.ts';
import { showCommand } from './show.ts';
import {
  mirrorSeedCommand,
  mirrorStatusCommand,
  mirrorWatchCommand,
  type SeedOptions,
  type WatchOptions,
} from './mirror.ts';
import { mirrorDiffCommand } from './mirror-diff.ts';
import { stackCommand } from './stack.ts';
import { stunCommand, type StunOptions } from './stun.ts';

export interface Surroundings {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly clock: Clock;
  readonly services: Services;
  /** Aborts when the user or the system wants the program to end. */
  readonly signal: AbortSignal;
}

interface Globals {
  readonly json?: boolean;
  readonly config?: string;
}

type Handler = (context: Context) => Promise<Answer>;

/** Runs one command line to its end: everything printed, everything closed. Throws only for a bug in itself. */
export async function runCli(argv: readonly string[], around: Surroundings): Promise<ExitCode> {
  let exit: ExitCode = ExitCode.done;
  const heard: string[] = [];
  const program = build(async (name, globals, handler) => {
    exit = await runCommand(name, globals, handler, around);
  });
  configure(program, around, heard);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exit;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return ExitCode.done;
    // Without a command the help itself is the message.
    if (error.code === 'commander.help') {
      around.stderr.write(heard.join(''));
      return ExitCode.usage;
    }
    return report(usageError(error), 'stillpoint', argv.includes('--json'), around);
  }
}

function configure(program: Command, around: Surroundings, heard: string[]): void {
  for (const command of [program, ...program.commands.flatMap((each) => [each, ...each.commands])]) {
    command
      .exitOverride()
      .configureHelp({ showGlobalOptions: true })
      .configureOutput({
        writeOut: (text) => around.stdout.write(text),
        // Kept: an error is printed once, in the form that all errors have.
        writeErr: (text) => heard.push(text),
      });
  }
  program.version(around.services.version);
}

/** Commander's `error: unknown command 'x'\n(Did you mean y?)` in our form. */
function usageError(error: CommanderError): StillpointError {
  const [first = '', ...rest] = error.message.split('\n');
  const near = /\(Did you mean (.*)\?\)/.exec(rest.join(' '))?.[1];
  return new StillpointError('usage', first.replace(/^error: /, '').replace(/\.$/, ''), {
    hint: near === undefined ? 'see `stillpoint --help`, or --help behind a command' : `did you mean ${near}?`,
  });
}

async function runCommand(name: string, globals: Globals, handler: Handler, around: Surroundings): Promise<ExitCode> {
  const json = globals.json === true;
  const reporter = json
    ? new JsonReporter(around.stderr, around.clock)
    : new TextReporter(around.stderr, around.stdout, around.clock, {
        steps: name !== 'demo',
        findings: name === 'backup',
      });
  let session: Session | undefined;
  const context: Context = {
    services: around.services,
    json,
    configFile: globals.config,
    signal: around.signal,
    reporter,
    paint: json ? plain : painter(around.stdout),
    session: async () => (session ??= await around.services.compose({ configFile: globals.config, reporter })),
  };
  try {
    const answer = await handler(context);
    reporter.end();
    return print(answer, name, json, around);
  } catch (error) {
    reporter.end();
    return report(error, name, json, around);
  } finally {
    await session?.close();
  }
}

function print(answer: Answer, name: string, json: boolean, around: Surroundings): ExitCode {
  const exit = answer.error?.exitCode ?? answer.exit ?? ExitCode.done;
  if (json) {
    const error = answer.error === undefined ? {} : { error: errorDocument(answer.error) };
    writeDocument(around.stdout, { schema: 'stillpoint/1', command: name, ...answer.document, ...error });
    return exit;
  }
  for (const line of answer.lines) around.stdout.write(`${line}\n`);
  if (answer.error !== undefined) writeError(answer.error, around);
  return exit;
}

function report(thrown: unknown, name: string, json: boolean, around: Surroundings): ExitCode {
  const error = foreseen(thrown, around.signal);
  if (error === undefined) writeBug(thrown, around);
  if (json) {
    const outcome = error?.code === 'cancelled' ? 'cancelled' : 'failed';
    const document = error === undefined ? bugDocument(thrown, around) : errorDocument(error);
    writeDocument(around.stdout, { schema: 'stillpoint/1', command: name, outcome, error: document });
  } else if (error !== undefined) {
    writeError(error, around);
  }
  return error?.exitCode ?? ExitCode.bug;
}

/** A library's own abort error, after a signal, is the signal's doing and no bug. */
function foreseen(thrown: unknown, signal: AbortSignal): StillpointError | undefined {
  if (thrown instanceof StillpointError) return thrown;
  const aborted = signal.aborted && thrown instanceof Error && thrown.name === 'AbortError';
  return aborted && signal.reason instanceof StillpointError ? signal.reason : undefined;
}

function errorDocument(error: StillpointError): ErrorDocument {
  return { code: error.code, message: error.message, hint: error.hint ?? null, details: error.details };
}

function bugDocument(thrown: unknown, around: Surroundings): ErrorDocument {
  return {
    code: 'bug',
    message: messageOf(thrown),
    hint: 'report it with the text on standard error',
    details: { version: around.services.version },
  };
}

function writeError(error: StillpointError, around: Surroundings): void {
  const paint = painter(around.stderr);
  around.stderr.write(`${paint('red', 'error:')} ${error.message}\n`);
  if (error.hint !== undefined) around.stderr.write(`${paint('bold', 'HINT:')} ${error.hint}\n`);
}

function writeBug(thrown: unknown, around: Surroundings): void {
  const stack = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  const causes: string[] = [];
  for (let cause = causeOf(thrown); cause !== undefined; cause = causeOf(cause))
    causes.push(`caused by ${messageOf(cause)}\n`);
  around.stderr.write(
    `bug: ${stack}\n${causes.join('')}stillpoint ${around.services.version}, node ${process.version}, ${process.platform} ${process.arch}\n`,
  );
}

function causeOf(thrown: unknown): unknown {
  return thrown instanceof Error ? thrown.cause : undefined;
}

function writeDocument(stream: NodeJS.WritableStream, document: Readonly<Record<string, unknown>>): void {
  stream.write(`${JSON.stringify(document, null, 2)}\n`);
}

const levels: readonly Level[] = ['full', 'cumulative', 'incremental'];

function levelOption(): Option {
  return new Option('--level <level>', 'what to copy; incremental where a parent exists if left out').choices(levels);
}

function methodOption(): Option {
  return new Option('--method <method>', 'how; as configured if left out, else snapshot').choices(methods);
}

/** Every command in one table; `run` is told the full name, the global options and what to do. */
function build(run: (name: string, globals: Globals, handler: Handler) => Promise<void>): Command {
  const program = new Command('stillpoint')
    .description('application-consistent backups: freeze, cut, thaw, copy what changed, prove by restoring')
    .option('--json', 'one JSON document on standard output, events as JSON lines on standard error')
    .option('--config <file>', 'configuration file')
    .helpOption('-h, --help', 'show help');

  /** The last two arguments of a commander action are the options and the command. */
  const add = <O>(
    parent: Command,
    usage: string,
    description: string,
    handler: (context: Context, argument: string | undefined, options: O, list: readonly string[]) => Promise<Answer>,
  ): Command => {
    const command = parent.command(usage).description(description);
    const name = parent === program ? command.name() : `${parent.name()} ${command.name()}`;
    command.action(async (...received: unknown[]) => {
      const argument = typeof received[0] === 'string' ? received[0] : undefined;
      const list = Array.isArray(received[0]) ? (received[0] as readonly string[]) : [];
      await run(name, program.opts<Globals>(), (context) => handler(context, argument, command.opts() as O, list));
    });
    return command;
  };
  /** For arguments that commander itself demands. */
  const given = (argument: string | undefined): string => {
    if (argument === undefined) throw new Error('commander let a required argument be left out');
    return argument;
  };

  add<{ output?: string; force?: boolean; repository?: string }>(
    program,
    'init',
    'find databases here and write a commented configuration',
    (context, _none, options) => initCommand(context, options),
  )
    .option('--output <file>', 'where to write it')
    .option('--force', 'replace a file that is there')
    .option('--repository <directory>', 'where the repository is going to lie');
  add(
    program,
    'check [workload]',
    'run privileges, versions, volumes, repository on the real thing; changes nothing',
    (context, name) => checkCommand(context, name),
  );
  add<{ level?: Level; method?: string }>(
    program,
    'plan <workload>',
    'the steps of a backup, predicted hold, refusals; touches nothing',
    (context, name, options) => planCommand(context, given(name), options),
  )
    .addOption(methodOption())
    .addOption(levelOption());
  add<{ method?: string; level?: Level; drill?: boolean; barrier?: boolean }>(
    program,
    'backup <workload>',
    'make a restore point',
    (context, name, options) => backupCommand(context, given(name), options),
  )
    .addOption(methodOption())
    .addOption(levelOption())
    .option('--drill', 'drill the point at once')
    .addOption(new Option('--barrier', 'as a part of a group, under the words of its coordinator').hideHelp());
  add(
    program,
    'stack <path>',
    'what lies below a path, down to its disks, and what is wrong with it',
    (context, path) => stackCommand(context, given(path)),
  );
  add<StunOptions>(
    program,
    'stun <file...>',
    'how long a virtual machine stood still, from its vmware.log, against the failover margin',
    (context, _none, options, files) => stunCommand(context, files, options),
  )
    .option('--qos <duration>', 'the time after which a failover begins; the margin is half of it', '8s')
    .option('--svg <file>', 'draw the stuns into this file');
  add(program, 'points [workload]', 'list restore points', (context, name) => pointsCommand(context, name));
  add<{ svg?: string }>(
    program,
    'show <point>',
    'evidence, verdict and flight record of a point',
    (context, id, options) => showCommand(context, given(id), options),
  ).option('--svg <file>', 'draw the flight record into this file');
  add<RestoreOptions>(
    program,
    'restore <workload|point>',
    'restore, beside the original unless told otherwise',
    (context, what, options) => restoreCommand(context, given(what), options),
  )
    .option('--to <time>', 'a time, the name of a journal file, or latest: rolls forward with shipped journals')
    .option('--target <target>', 'a directory, or in-place')
    .option('--yes', 'do not ask before a restore in place')
    .option('--cluster-stopped', 'in place: every other member of the cluster is stopped')
    .option('--plan', 'only tell base, levels and journals, and what is missing');
  add(program, 'drill <workload|point>', 'test restore: start the engine on a copy and ask it', (context, what) =>
    drillCommand(context, given(what)),
  );
  add(program, 'freeze <workload>', 'freeze by hand; thaws by itself at the budget', (context, name) =>
    freezeCommand(context, given(name)),
  );
  add(program, 'thaw <workload>', 'end a hold made by freeze, and say whether it lasted', (context, name) =>
    thawCommand(context, given(name)),
  );
  add(program, 'status <workload>', 'what guards and engine say of a hold', (context, name) =>
    statusCommand(context, given(name)),
  );
  add<{ discard?: string }>(
    program,
    'recover',
    'finish or undo what dead runs left; safe to run twice',
    (context, _none, options) => recoverCommand(context, options),
  ).option('--discard <journal>', 'set a damaged intent journal aside');
  add(program, 'estimate <workload>', 'sizes of the next full, cumulative and incremental', (context, name) =>
    estimateCommand(context, given(name)),
  );
  const journal = program.command('journal').description("the engine's journal");
  add<ShipOptions>(journal, 'ship <workload>', 'copy the journal into the repository', (context, name, options) =>
    journalShipCommand(context, given(name), options),
  )
    .option('--no-switch', 'only files that the engine has ended by itself')
    .option('--watch', 'again and again, until it is ended')
    .option('--every <duration>', 'at the latest after this time, with --watch (30s)')
    .option('--size <bytes>', 'as soon as so much is not shipped, with --watch (64MiB)');
  add(journal, 'status <workload>', 'files, lag, and what may be purged', (context, name) =>
    journalStatusCommand(context, given(name)),
  );
  add(
    journal,
    'verify <workload>',
    'prove the chain of shipped files; how far each point can be rolled forward',
    (context, name) => journalVerifyCommand(context, given(name)),
  );
  add<{ dryRun?: boolean }>(
    journal,
    'purge <workload>',
    "delete from the engine's disk what is shipped and needed by nobody there",
    (context, name, options) => journalPurgeCommand(context, given(name), options),
  ).option('--dry-run', 'only tell');
  const mirror = program.command('mirror').description('the cluster that the engine is a member of');
  add<{ svg?: string }>(
    mirror,
    'status <workload>',
    'members, roles, lag, failover margin, and who would be backed up',
    (context, name, options) => mirrorStatusCommand(context, given(name), options),
  ).option('--svg <file>', 'draw the cluster into this file');
  add<WatchOptions>(
    mirror,
    'watch <workload>',
    'say each alarm once when it begins and once when it ends, until it is ended',
    (context, name, options) => mirrorWatchCommand(context, given(name), options),
  )
    .option('--every <duration>', 'time between two looks (10s)')
    .option('--metrics <file>', 'write figures at each look, in the text format of Prometheus');
  add(
    mirror,
    'diff <workload>',
    'what the members have not alike and the cluster does not replicate: namespaces, users, tasks...',
    (context, name) => mirrorDiffCommand(context, given(name)),
  );
  add<SeedOptions>(
    mirror,
    'seed <workload|point>',
    'make a new or rebuilt member from a point, ready to start and to catch up',
    (context, what, options) => mirrorSeedCommand(context, given(what), options),
  )
    .requiredOption('--member <name>', 'the member that it is to be, as the cluster calls it')
    .option('--target <directory>', 'where to restore it');
  const repo = program.command('repo').description('the repository');
  add<{ generatePassword?: boolean }>(repo, 'init', 'make the repository', (context, _none, options) =>
    repoInitCommand(context, options),
  ).option('--generate-password', 'make the password file too, if it is missing');
  add<{ readData?: boolean }>(repo, 'check', 'look for damage', (context, _none, options) =>
    repoCheckCommand(context, options),
  ).option('--read-data', 'read and prove every byte');
  add(repo, 'stats', 'sizes and counts', (context) => repoStatsCommand(context));
  add<{ dryRun?: boolean }>(
    repo,
    'forget <point...>',
    'forget points of the method mirror-split, and delete their snapshots',
    (context, _none, options, ids) => repoForgetCommand(context, ids, options),
  ).option('--dry-run', 'only tell');
  const config = program.command('config').description('the configuration');
  add(config, 'schema', 'the JSON schema of the configuration, for editors', (context) => configSchemaCommand(context));
  add(config, 'reference', 'every option, with its meaning', (context) => configReferenceCommand(context));
  add<{ directory?: string; keep?: boolean }>(
    program,
    'demo',
    'the whole story on an embedded PostgreSQL',
    (context, _none, options) => demoCommand(context, options),
  )
    .option('--directory <directory>', 'where to make it; a temporary one if left out')
    .option('--keep', 'leave everything there to play with');
  return program;
}
