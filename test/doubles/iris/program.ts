/** `program.ts ROOT AS ARGS...`: what stands behind the executables of a stand-in. */
import { writeSync } from 'node:fs';
import { docker, kubectl } from './containers.ts';
import { Gtm } from './gtm.ts';
import { settleMirrors } from './mirror-set.ts';
import { all, freezeVerb, list, qlist, start, stat, stop, thawVerb, type Answer } from './registry.ts';
import { session, sessionCall } from './session.ts';
import { Store } from './state.ts';

const [root = '', as = '', ...words] = process.argv.slice(2);
const store = new Store(root);
const gtm = new Gtm(root);

function write(text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

function answered({ out, code }: Answer): number {
  write(out);
  return code;
}

function terminal(rest: readonly string[]): number {
  const [name = '', ...options] = rest;
  const instance = store.find(name);
  if (instance === undefined) return answered({ out: `Instance '${name}' is not registered\n`, code: 1 });
  return session(gtm, store, instance, sessionCall(options), write);
}

/** `iris` and `ccontrol`: the verb comes first. */
function control(): number {
  const [verb = '', ...rest] = words;
  if (verb === 'session' || verb === 'terminal') return terminal(rest);
  if (verb === 'qlist') return injected('qlist', rest[0]) ?? answered(qlist(store, rest[0]));
  if (verb === 'list') return answered(list(store, rest[0]));
  if (verb === 'all' || verb === 'allw') return answered(all(store, false));
  if (verb === 'qall') return answered(all(store, true));
  const instance = store.find(rest[0] ?? '');
  if (instance === undefined) return answered({ out: `Instance '${rest[0] ?? ''}' is not registered\n`, code: 1 });
  const more = rest.slice(1);
  if (verb === 'start') return answered(start(gtm, store, instance.name));
  if (verb === 'stop') return answered(stop(gtm, store, instance.name, more));
  if (verb === 'stat') return answered(stat(gtm, store, instance.name, more));
  if (instance.freezeVerb && verb === 'freeze') return answered(freezeVerb(gtm, store, instance.name, more));
  if (instance.freezeVerb && verb === 'thaw') return answered(thawVerb(gtm, store, instance.name));
  return answered({ out: `Invalid command: ${verb}\n`, code: 1 });
}

function injected(call: 'qlist', name: string | undefined): number | undefined {
  const found = store.faults(name?.toUpperCase() ?? '*').exits?.find((one) => one.call === call);
  return found?.code;
}

const commands: Readonly<Record<string, () => number>> = {
  iris: control,
  ccontrol: control,
  irissession: () => terminal(words),
  csession: () => terminal(words),
  docker: () => docker(root, words, write),
  kubectl: () => kubectl(root, words, write),
};

if (as === 'iris' || as === 'ccontrol' || as === 'csession' || as === 'irissession') settleMirrors(gtm, store);
process.exitCode = (commands[as] ?? (() => 127))();
