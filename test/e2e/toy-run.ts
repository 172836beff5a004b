/**
 * `toy-run.ts HOME METHOD WHERE`: a backup of the scene in HOME that says `here` once it is WHERE and waits to be killed. WHERE is a
 * transition of the flow, `stream` (half a stream was read), `finish` (the engine is about to answer) or `shipped` (a shipment is in the
 * repository and not in the catalog).
 */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { backup } from '../../src/flows/backup.ts';
import { shipJournals } from '../../src/flows/ship-journals.ts';
import { systemClock } from '../../src/platform/clock.ts';
import type { OnlineRun } from '../../src/ports/online.ts';
import { changed, never, scene } from './toy-scene.ts';

const [, , home = '', method = '', where = ''] = process.argv;

async function stay(): Promise<never> {
  process.stdout.write('here\n');
  for (;;) await systemClock.sleep(60_000);
}

function halting(run: OnlineRun): OnlineRun {
  return {
    streams: run.streams.map((stream) => ({
      name: stream.name,
      open: () =>
        Readable.from(
          (async function* () {
            for await (const piece of stream.open() as AsyncIterable<Buffer>) {
              yield piece.subarray(0, Math.ceil(piece.length / 2));
              if (where === 'stream') await stay();
              yield piece.subarray(Math.ceil(piece.length / 2));
            }
          })(),
        ),
    })),
    finish: async () => (where === 'finish' ? await stay() : await run.finish()),
    [Symbol.asyncDispose]: () => run[Symbol.asyncDispose](),
  };
}

await using stage = await scene({
  home,
  parts: ['rows', 'more'],
  journal: true,
  at: async (transition) => {
    if (transition === where) await stay();
  },
  application: (real) => {
    const online = real.online ?? assert.fail();
    return changed(real, {
      online: changed(online, { start: async (request) => halting(await online.start(request)) }),
    });
  },
});
if (where === 'shipped') {
  const catalog = await stage.environment.catalog();
  const silent = changed(catalog, { addJournals: () => undefined });
  await shipJournals(
    stage.workload,
    { ...stage.environment, catalog: () => Promise.resolve(silent) },
    { switch: 'yes', signal: never },
  );
} else {
  assert.ok(method === 'online' || method === 'concurrent' || method === 'cold');
  await backup(stage.workload, stage.environment, { method, level: undefined, signal: never });
}
await stay();
