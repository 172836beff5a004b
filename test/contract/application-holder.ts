/**
 * The child process of the application contract: one hold, driven by lines `<n> <verb> <argument>` on stdin and answered by
 * `<n> <JSON>` on stdout. It is what the guard is, without deadlines: whoever kills it must find the engine released.
 */
import { createInterface } from 'node:readline';
import { messageOf } from '../../src/model/errors.ts';
import type { HoldToken, JournalSpan } from '../../src/model/hold.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec } from '../../src/platform/exec.ts';
import { silent } from '../../src/platform/logger.ts';
import type { ApplicationModule, Platform } from '../../src/ports/module.ts';

interface Spec {
  readonly module: string;
  readonly exportName: string;
  readonly config: unknown;
  readonly stateDirectory?: string;
  readonly token: HoldToken;
  readonly budgetMs: number;
}

const spec: Spec = JSON.parse(process.argv[2] ?? '');
const exported: Record<string, ApplicationModule<unknown>> = await import(spec.module);
const adapter = exported[spec.exportName];
if (adapter === undefined) throw new Error(`${spec.module} does not export ${spec.exportName}`);

const platform: Platform = {
  exec: systemExec,
  clock: systemClock,
  log: silent,
  host: {
    name: 'contract',
    stackOf: () => Promise.reject(new Error('the contract has no storage stack')),
    freeBytes: () => Promise.reject(new Error('the contract has no storage stack')),
    exec: systemExec,
    pathHere: (path) => Promise.resolve(path),
  },
  stateDirectory: spec.stateDirectory ?? '/nonexistent',
};
const application = adapter.create(adapter.config.parse(spec.config), spec.token.workload, platform, () =>
  Promise.reject(new Error('the contract has no secrets')),
);
const session = await application.openHold(spec.token, spec.budgetMs);
let journal: JournalSpan | undefined;

async function perform(verb: string, argument: string): Promise<unknown> {
  switch (verb) {
    case 'prepare':
      return session.prepare();
    case 'freeze':
      return session.freeze();
    case 'ask':
      return session.ask();
    case 'observe':
      return session.observe();
    case 'thaw': {
      const answer = await session.thaw();
      journal ??= answer.journal;
      return answer;
    }
    case 'collect':
      if (journal === undefined || application.collectJournal === undefined) return [];
      return application.collectJournal(journal, argument, new AbortController().signal);
    case 'close':
      return session.close();
    default:
      throw new Error(`unknown verb ${verb}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const [number = '', verb = '', ...rest] = line.split(' ');
  let reply: { readonly ok: unknown } | { readonly error: string };
  try {
    reply = { ok: (await perform(verb, rest.join(' '))) ?? null };
  } catch (cause) {
    reply = { error: messageOf(cause) };
  }
  process.stdout.write(`${number} ${JSON.stringify(reply)}\n`);
}
