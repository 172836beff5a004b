/** `iris session`: the command-argument form with its exit codes 5 and 3, and the form that reads ObjectScript from stdin. */
import { readSync } from 'node:fs';
import { hostname } from 'node:os';
import { hasDatabase } from './registry.ts';
import { classesOf, noteCall, routinesOf, versionText, type Context } from './classes.ts';
import { expire } from './freeze.ts';
import { historyNode, nextIndex } from './history.ts';
import type { Gtm } from './gtm.ts';
import { Script, type World } from './objectscript.ts';
import { join } from 'node:path';
import { tryLock, type ProcessLock } from '../../../src/platform/process-lock.ts';
import { hang, pause, type Faults, type Instance, type Store } from './state.ts';
import { plain } from './texts.ts';
import { Halt, ScriptError, StatusValue, text, type Method, type Value } from './values.ts';

export interface SessionCall {
  readonly namespace: string | undefined;
  /** The command argument, when there is one. */
  readonly command: string | undefined;
}

/** Arguments behind the instance's name: `-U%SYS`, `-U "%SYS"`, one command. */
export function sessionCall(words: readonly string[]): SessionCall {
  let namespace: string | undefined;
  const rest: string[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] as string;
    if (word === '-U') namespace = words[(at += 1)] ?? '';
    else if (word.startsWith('-U')) namespace = word.slice(2);
    else if (word !== '-B') rest.push(word);
  }
  return { namespace, command: rest[0] };
}

type Kind = 'freeze' | 'thaw' | 'status' | 'history' | 'session';

const kinds: readonly (readonly [RegExp, Kind])[] = [
  [/^##class\(Backup\.General\)\.ExternalFreeze\(/i, 'freeze'],
  [/^##class\(Backup\.General\)\.ExternalThaw\(/i, 'thaw'],
  [/^##class\(Backup\.General\)\.IsWDSuspendedExt\(/i, 'status'],
  [/^##class\(Backup\.General\)\.ExternalSetHistory\(/i, 'history'],
];

const kindOf = (command: string | undefined): Kind =>
  kinds.find(([pattern]) => command !== undefined && pattern.test(command.trim()))?.[1] ?? 'session';

/** Returns the exit code; prints by `write`. */
export function session(
  gtm: Gtm,
  store: Store,
  instance: Instance,
  call: SessionCall,
  write: (text: string) => void,
): number {
  const faults = store.faults(instance.name);
  const kind = kindOf(call.command);
  const injected = faults.exits?.find((one) => one.call === kind);
  if (injected?.acts === false) return injected.code;
  if (faults.sessionSays !== undefined) {
    write(faults.sessionSays);
    return 0;
  }
  const code = perform(gtm, store, instance, call, kind, faults, until(faults.sessionEndsBefore, write));
  const final = injected?.code ?? code;
  noteCall(store, instance.name, call.command ?? 'session', final);
  return final;
}

/** Ends the process where the text has come, as a lost connection would. */
function until(last: string | undefined, write: (text: string) => void): (text: string) => void {
  if (last === undefined) return write;
  let written = '';
  return (said) => {
    written += said;
    if (written.includes(last)) process.exit(0);
    write(said);
  };
}

function perform(
  gtm: Gtm,
  store: Store,
  instance: Instance,
  call: SessionCall,
  kind: Kind,
  faults: Faults,
  write: (text: string) => void,
): number {
  if (instance.status !== 'running') {
    if (instance.status === 'down') write(`Instance ${instance.name} is not running\n`);
    else write('Sign-on inhibited: Startup or Installation in progress\n');
    return 1;
  }
  // Thaw is checked against the credentials of the freeze only, so that it works while nobody can log in.
  if (kind !== 'thaw') {
    const refused = login(gtm, store, instance, write);
    if (refused !== undefined) return refused;
  }
  const terminal = new Terminal(gtm, store, instance, faults, write);
  if (instance.startupNamespace === undefined && call.namespace !== undefined) {
    if (!terminal.knowsNamespace(call.namespace)) {
      write(`\n<NAMESPACE>\nNamespace '${call.namespace}' does not exist\n`);
      return 1;
    }
    terminal.namespace = call.namespace.toUpperCase();
  }
  return call.command === undefined ? terminal.interact() : terminal.command(call.command, kind);
}

/** Undefined when the login succeeds. Never returns while logins hang. */
function login(
  gtm: Gtm,
  store: Store,
  { name, login: account }: Instance,
  write: (text: string) => void,
): number | undefined {
  for (;;) {
    const faults = store.faults(name);
    if (faults.accessDenied === true) {
      write('\n<ACCESS DENIED>\n');
      return 1;
    }
    if (faults.licenceExceeded === true) {
      write('\n<LICENSE LIMIT EXCEEDED>\n');
      return 1;
    }
    if (faults.asksForUser === true) {
      write('\nUsername: ');
      if (readLine() !== undefined) write('\nPassword: ');
      if (readLine() === undefined) hang();
      write('\nAccess Denied\n');
      return 1;
    }
    const blocked = store.update(name, (instance) => {
      expire(gtm, instance);
      return instance.freeze?.blocked === true;
    });
    if (!blocked && faults.loginHangs !== true)
      return account === undefined ? undefined : askForAccount(account, write);
    pause(50);
  }
}

/** Three tries, as at a terminal; the end of stdin ends it too. */
function askForAccount(
  account: { readonly user: string; readonly password: string },
  write: (text: string) => void,
): number | undefined {
  for (let tries = 0; tries < 3; tries += 1) {
    write('\nUsername: ');
    const user = readLine();
    write('\nPassword: ');
    const password = readLine();
    if (user === account.user && password === account.password) return undefined;
    write('\nAccess Denied\n');
    if (password === undefined) return 1;
  }
  return 1;
}

let pending = '';
let ended = false;

/** One line of stdin, undefined at its end. Read as it comes: a session may be held open and fed over time. */
function readLine(): string | undefined {
  const chunk = Buffer.alloc(4096);
  for (;;) {
    const end = pending.indexOf('\n');
    if (end !== -1) {
      const line = pending.slice(0, end).replace(/\r$/, '');
      pending = pending.slice(end + 1);
      return line;
    }
    if (ended) {
      const rest = pending;
      pending = '';
      return rest === '' ? undefined : rest;
    }
    let count = 0;
    try {
      count = readSync(0, chunk);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') {
        pause(10);
        continue;
      }
      if ((error as NodeJS.ErrnoException).code !== 'EOF') throw error;
    }
    if (count === 0) ended = true;
    else pending += chunk.toString('utf8', 0, count);
  }
}

class Terminal implements World {
  namespace: string;
  readonly #gtm: Gtm;
  readonly #store: Store;
  readonly #instance: Instance;
  readonly #write: (text: string) => void;
  readonly #context: Context;
  readonly #locks: ProcessLock[] = [];

  constructor(gtm: Gtm, store: Store, instance: Instance, faults: Faults, write: (text: string) => void) {
    this.#gtm = gtm;
    this.#store = store;
    this.#instance = instance;
    this.#write = write;
    this.#context = { gtm, store, name: instance.name, faults, write };
    this.namespace = instance.startupNamespace ?? 'USER';
  }

  knowsNamespace(name: string): boolean {
    const wanted = name.toUpperCase();
    return wanted === '%SYS' || this.#instance.databases.some((one) => one.name === wanted && !one.foreign);
  }

  /** A class method or routine as the command argument: 5 and 3 for those that are documented so. */
  command(source: string, kind: Kind): number {
    try {
      const value = new Script(this).call(source);
      if (kind === 'freeze' || kind === 'thaw') return value instanceof StatusValue ? 3 : 5;
      if (kind === 'status') return text(value) === '1' ? 5 : 3;
      return 0;
    } catch (error) {
      if (error instanceof Halt) return error.code;
      if (!(error instanceof ScriptError)) throw error;
      this.#write(`\n${error.message}\n`);
      return 1;
    }
  }

  /** Lines of ObjectScript until halt, Process.Terminate or the end of stdin. Errors do not end it. */
  interact(): number {
    this.#write(`\nNode: ${hostname()}, Instance: ${this.#instance.name}\n`);
    const script = new Script(this);
    for (;;) {
      this.#write(`\n${this.namespace}>`);
      const line = readLine();
      if (line === undefined) {
        this.#write('\n');
        return 0;
      }
      this.#write('\n');
      try {
        script.run(line);
      } catch (error) {
        if (error instanceof Halt) return error.code;
        if (!(error instanceof ScriptError)) throw error;
        this.#write(`\n${error.message}\n`);
      }
    }
  }

  classMethod(className: string, method: string): Method {
    const system = className.toLowerCase().startsWith('%system.');
    const found = Object.entries(classesOf(this.#context)).find(([name]) =>
      system ? name.toLowerCase() === className.toLowerCase() : name === className,
    );
    // Classes without % live in %SYS only.
    if (found === undefined || (this.namespace !== '%SYS' && !className.startsWith('%'))) {
      throw new ScriptError('CLASS DOES NOT EXIST', className);
    }
    const methods = found[1];
    const act = methods[method];
    if (act === undefined) throw new ScriptError('METHOD DOES NOT EXIST', `${method},${className}`);
    return act;
  }

  routine(label: string, routine: string): Method {
    const labels = this.namespace === '%SYS' ? routinesOf(this.#context)[routine] : undefined;
    if (labels === undefined) throw new ScriptError('NOROUTINE', routine);
    const act = labels[label];
    if (act === undefined) throw new ScriptError('NOLINE', `${label}^${routine}`);
    return act;
  }

  special(name: string): Value | undefined {
    if (name === '$zv' || name === '$zversion') return versionText(this.#instance);
    if (name === '$namespace') return this.namespace;
    if (name === '$job' || name === '$j') return String(process.pid);
    if (name === '$h' || name === '$horolog') {
      const now = new Date();
      const midnight = Date.UTC(now.getFullYear(), now.getMonth(), now.getDate());
      const seconds = now.getHours() * 3600 + now.getMinutes() * 60 + now.getSeconds();
      return `${Math.floor(midnight / 86_400_000) + 47_117},${seconds}`;
    }
    if (name === '$username') return 'irisowner';
    return undefined;
  }

  setNamespace(name: string): void {
    if (!this.knowsNamespace(name)) throw new ScriptError('NAMESPACE');
    this.namespace = name.toUpperCase();
  }

  /** The history of backups is kept with the rest of the state, so that no restore turns it back. */
  #historySubscripts(reference: string): readonly string[] | undefined {
    const found = /^\^SYS\("BUHISTORY",(.*)\)$/.exec(reference)?.[1];
    if (found === undefined || this.namespace !== '%SYS') return undefined;
    if (this.#context.faults.noHistory === true) throw new ScriptError('PROTECT', '^SYS("BUHISTORY")');
    return found.split(',').map((each) => each.replace(/^"(.*)"$/, '$1'));
  }

  orderGlobal(reference: string, direction: 1 | -1): Value {
    const history = this.#historySubscripts(reference);
    if (history !== undefined) return nextIndex(this.#store.read(this.#instance.name), history[0] ?? '', direction);
    const { directory, local } = this.#place(reference);
    return this.#evaluate(directory, `$order(${local},${direction})`);
  }

  getGlobal(reference: string): Value | undefined {
    const history = this.#historySubscripts(reference);
    if (history !== undefined) {
      return historyNode(this.#store.read(this.#instance.name), history[0] ?? '', history[1] ?? '');
    }
    const { directory, local } = this.#place(reference);
    const answer = this.#evaluate(directory, `$data(${local})#10_":"_$get(${local})`);
    return answer.startsWith('1:') ? answer.slice(2) : undefined;
  }

  setGlobal(reference: string, value: Value): void {
    const { directory, local } = this.#place(reference);
    this.#execute(directory, `set ${local}=${quote(text(value))}`);
  }

  killGlobal(reference: string): void {
    const { directory, local } = this.#place(reference);
    this.#execute(directory, `kill ${local}`);
  }

  /** The kernel drops it with the process, as the engine does at the end of a session. */
  lock(reference: string, seconds: number): boolean {
    const file = join(this.#store.root, `lock-${this.#instance.name}-${Buffer.from(reference).toString('hex')}`);
    for (let waited = 0; ; waited += 20) {
      const held = tryLock(file);
      // A lock that nobody refers to any more is dropped by the garbage collector.
      if (held !== undefined) return this.#locks.push(held) > 0;
      if (waited >= seconds * 1000) return false;
      pause(20);
    }
  }

  write(out: string): void {
    this.#write(out);
  }

  pause(seconds: number): void {
    pause(seconds * 1000);
  }

  /** The database of a global: the namespace's own, or the one that an extended reference names. */
  #place(reference: string): { readonly directory: string; readonly local: string } {
    const extended = /^\^\|"{1,2}\^\^([^"]+)"{1,2}\|(.+)$/.exec(reference);
    if (extended !== null) {
      const directory = plain(extended[1] as string);
      const known = this.#store.read(this.#instance.name).databases.find((one) => one.directory === directory);
      if (known?.mounted !== true || !hasDatabase(directory)) throw new ScriptError('DIRECTORY', directory);
      return { directory, local: `^${extended[2] as string}` };
    }
    const wanted = this.namespace === '%SYS' ? 'IRISSYS' : this.namespace;
    const database = this.#store.read(this.#instance.name).databases.find((one) => one.name === wanted);
    if (database?.mounted !== true) throw new ScriptError('DATABASE');
    return { directory: database.directory, local: reference };
  }

  #evaluate(directory: string, expression: string): string {
    try {
      return this.#gtm.evaluate(directory, expression);
    } catch {
      throw new ScriptError('DATABASE', directory);
    }
  }

  #execute(directory: string, command: string): void {
    if (this.#gtm.execute(directory, command).code !== 0) throw new ScriptError('DATABASE', directory);
  }
}

const quote = (value: string): string => `"${value.replaceAll('"', '""')}"`;
