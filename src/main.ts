/** The program: the only place that ends the process, listens to signals, and knows all parts. */
import { runCli } from './cli/program.ts';
import { compose, discover, host, version } from './compose.ts';
import { demo } from './demo/demo.ts';
import { ExitCode, StillpointError } from './model/errors.ts';
import { systemClock } from './platform/clock.ts';
import { endForCertain } from './platform/process.ts';

/**
 * A signal never ends the process at once: it aborts the work, which thaws and undoes what it began. A second one changes nothing
 * but says so; only SIGKILL is stronger, and then the guard thaws.
 */
function cancelOnSignals(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) {
        process.stderr.write('thawing and undoing what was begun, please wait\n');
        return;
      }
      controller.abort(
        new StillpointError('cancelled', `cancelled by ${name}; what was begun is undone, nothing is left frozen`),
      );
    });
  }
  return controller.signal;
}

/** A reader that went away (`| head`) is no failure, and not a reason to leave a run half way. */
function ignoreClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
}

async function flushed(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.destroyed || stream.writableLength === 0) return;
  await new Promise<void>((resolve) => stream.write('', () => resolve()));
}

ignoreClosedPipes();
const exit = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  clock: systemClock,
  services: { version, compose, discover, demo: (options) => demo(options, { compose, host }) },
  signal: cancelOnSignals(),
}).catch((error: unknown) => {
  process.stderr.write(
    `bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\nstillpoint ${version}\n`,
  );
  return ExitCode.bug;
});
await flushed(process.stdout);
await flushed(process.stderr);
endForCertain(exit);
// oxlint-disable-next-line unicorn/no-process-exit -- a pool or a socket that somebody forgot must not keep a finished command alive
process.exit(exit);
