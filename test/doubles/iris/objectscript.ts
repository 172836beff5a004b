/**
 * A reader of the little ObjectScript that scripts around backups use; README.md lists it. What it does not know is `<SYNTAX>`.
 * Strict left to right, as the language: no operator binds more than another.
 */
import { functions } from './functions.ts';
import {
  Halt,
  number,
  ObjectValue,
  Reference,
  ScriptError,
  text,
  truth,
  yes,
  type Argument,
  type Method,
  type Value,
} from './values.ts';

/** What the language itself does not know: classes, routines, system variables, globals. */
export interface World {
  classMethod(className: string, method: string): Method;
  routine(label: string, routine: string): Method;
  special(name: string): Value | undefined;
  /** Undefined when it has no value. */
  getGlobal(reference: string): Value | undefined;
  /** `$order` of a global, forwards or backwards. */
  orderGlobal(reference: string, direction: 1 | -1): Value;
  setGlobal(reference: string, value: Value): void;
  killGlobal(reference: string): void;
  setNamespace(name: string): void;
  /** False when another process has it after that time. Held until the process ends. */
  lock(reference: string, seconds: number): boolean;
  write(text: string): void;
  pause(seconds: number): void;
}

const commands: Readonly<Record<string, string>> = {
  s: 'set',
  d: 'do',
  w: 'write',
  i: 'if',
  q: 'quit',
  h: 'halt',
  k: 'kill',
  n: 'new',
  f: 'for',
  zn: 'znspace',
};

export class Script {
  readonly #world: World;
  readonly #variables = new Map<string, Value>();
  #source = '';
  #at = 0;
  #skip = 0;
  #test = false;

  constructor(world: World) {
    this.#world = world;
  }

  /** One line, as typed at the prompt: blocks must end on it. */
  run(line: string): void {
    this.#source = line;
    this.#at = 0;
    this.#skip = 0;
    this.#commands('');
  }

  /** The command argument of `iris session`: a class method or a routine's label, called without a word before it. */
  call(source: string): Value {
    this.#source = source.trim();
    this.#at = 0;
    this.#skip = 0;
    const value = this.#callable();
    if (this.#at < this.#source.length) throw new ScriptError('SYNTAX');
    return value ?? '';
  }

  #commands(end: string): void {
    for (;;) {
      this.#blanks();
      if (this.#at >= this.#source.length) {
        if (end !== '') throw new ScriptError('SYNTAX');
        return;
      }
      if (end !== '' && this.#source[this.#at] === end) return;
      if (this.#source[this.#at] === ';' || this.#source.startsWith('//', this.#at)) {
        this.#at = this.#source.length;
        continue;
      }
      const word = this.#match(/[A-Za-z]+/y);
      if (word === undefined) throw new ScriptError('SYNTAX');
      const name = commands[word.toLowerCase()] ?? word.toLowerCase();
      this.#command(name);
    }
  }

  #command(name: string): void {
    if (name === 'if') return this.#if();
    if (name === 'while') return this.#while();
    if (name === 'for') return this.#for();
    const condition = this.#take(':') ? truth(this.#expression()) : true;
    if (!condition) this.#skip += 1;
    try {
      this.#plain(name);
    } finally {
      if (!condition) this.#skip -= 1;
    }
  }

  #plain(name: string): void {
    if (name === 'halt')
      return this.#run(() => {
        throw new Halt(0);
      });
    if (name === 'quit')
      return this.#run(() => {
        throw new Quit();
      });
    if (!this.#take(' ')) throw new ScriptError('SYNTAX');
    this.#blanks();
    const one: Readonly<Record<string, () => void>> = {
      set: () => this.#set(),
      do: () => void this.#callable(),
      write: () => this.#write(),
      hang: () => {
        const seconds = number(this.#expression());
        this.#run(() => this.#world.pause(seconds));
      },
      kill: () => {
        const target = this.#target();
        this.#run(() => target.kill());
      },
      new: () => void this.#target(),
      lock: () => this.#lock(),
      znspace: () => {
        const namespace = text(this.#expression());
        this.#run(() => this.#world.setNamespace(namespace));
      },
    };
    const act = one[name];
    if (act === undefined) throw new ScriptError('SYNTAX');
    do {
      this.#blanks();
      act();
    } while (this.#take(','));
  }

  #run(act: () => void): void {
    if (this.#skip === 0) act();
  }

  #set(): void {
    const target = this.#target();
    this.#blanks();
    if (!this.#take('=')) throw new ScriptError('SYNTAX');
    const value = this.#expression();
    this.#run(() => target.set(value));
  }

  /** `lock +^global(subscripts):seconds` and no other form. */
  #lock(): void {
    if (!this.#take('+') || this.#source[this.#at] !== '^') throw new ScriptError('SYNTAX');
    const reference = this.#global();
    if (!this.#take(':')) throw new ScriptError('SYNTAX');
    const seconds = number(this.#expression());
    this.#run(() => void (this.#test = this.#world.lock(reference, seconds)));
  }

  #write(): void {
    if (this.#take('!')) {
      this.#run(() => this.#world.write('\n'));
      while (this.#take('!')) this.#run(() => this.#world.write('\n'));
      return;
    }
    if (this.#take('?')) {
      const column = number(this.#primary());
      return this.#run(() => this.#world.write(' '.repeat(column)));
    }
    const value = this.#expression();
    this.#run(() => this.#world.write(text(value)));
  }

  #block(runs: boolean): void {
    if (!this.#take('{')) throw new ScriptError('SYNTAX');
    if (!runs) this.#skip += 1;
    this.#commands('}');
    this.#at += 1;
    if (!runs) this.#skip -= 1;
  }

  #if(): void {
    this.#blanks();
    let met = truth(this.#expression());
    this.#blanks();
    if (this.#source[this.#at] !== '{') {
      // The old form governs the rest of the line.
      if (!met) this.#at = this.#source.length;
      return;
    }
    let taken = met;
    this.#block(met);
    for (;;) {
      const back = this.#at;
      this.#blanks();
      const word = this.#match(/else(?:if)?(?=[\s{])/iy)?.toLowerCase();
      if (word === undefined) {
        this.#at = back;
        return;
      }
      this.#blanks();
      met = word === 'else' ? !taken : truth(this.#expression()) && !taken;
      this.#blanks();
      this.#block(met);
      taken ||= met;
    }
  }

  #while(): void {
    this.#blanks();
    const begin = this.#at;
    for (let turns = 0; ; turns += 1) {
      this.#at = begin;
      const met = this.#skip === 0 && truth(this.#expression());
      if (this.#skip > 0) this.#expression();
      this.#blanks();
      if (!met || turns > 100_000) return this.#block(false);
      if (!this.#turn()) return;
    }
  }

  #for(): void {
    this.#blanks();
    if (this.#source[this.#at] === '{') {
      const begin = this.#at;
      while (this.#skip === 0 && this.#turn()) this.#at = begin;
      if (this.#skip > 0) this.#block(false);
      return;
    }
    const target = this.#target();
    this.#blanks();
    if (!this.#take('=')) throw new ScriptError('SYNTAX');
    const from = number(this.#expression());
    const step = this.#take(':') ? number(this.#expression()) : 1;
    const to = this.#take(':') ? number(this.#expression()) : Infinity;
    this.#blanks();
    const begin = this.#at;
    for (let at = from; this.#skip === 0 && (step < 0 ? at >= to : at <= to); at += step) {
      this.#at = begin;
      target.set(String(at));
      if (!this.#turn()) return;
    }
    this.#at = begin;
    this.#block(false);
  }

  /** One turn of a loop; false when `quit` left it. The place behind the block is then known all the same. */
  #turn(): boolean {
    const begin = this.#at;
    try {
      this.#block(true);
      return true;
    } catch (error) {
      if (!(error instanceof Quit)) throw error;
      this.#at = begin;
      this.#block(false);
      return false;
    }
  }

  /** What `set` and `kill` may name: a variable with or without subscripts, a property, a global, $namespace. */
  #target(): { readonly set: (value: Value) => void; readonly kill: () => void } {
    if (this.#source[this.#at] === '^') {
      const reference = this.#global();
      return {
        set: (value) => this.#world.setGlobal(reference, value),
        kill: () => this.#world.killGlobal(reference),
      };
    }
    if (this.#match(/\$namespace|\$znspace/iy) !== undefined) {
      return { set: (value) => this.#world.setNamespace(text(value)), kill: () => undefined };
    }
    const name = this.#match(/%?[A-Za-z][A-Za-z0-9]*/y);
    if (name === undefined) throw new ScriptError('SYNTAX');
    if (this.#take('.')) {
      const property = this.#match(/%?[A-Za-z][A-Za-z0-9]*/y) ?? '';
      return {
        set: (value) => {
          const object = this.#variables.get(name);
          if (!(object instanceof ObjectValue)) throw new ScriptError('INVALID OREF');
          if (!(property in object.properties)) throw new ScriptError('PROPERTY DOES NOT EXIST', property);
          object.properties[property] = value;
        },
        kill: () => undefined,
      };
    }
    const key =
      this.#source[this.#at] === '('
        ? `${name}(${this.#arguments()
            .map((one) => text(one))
            .join(',')})`
        : name;
    return { set: (value) => void this.#variables.set(key, value), kill: () => this.#forget(key) };
  }

  /** With its subscripts. */
  #forget(key: string): void {
    for (const known of this.#variables.keys())
      if (known === key || known.startsWith(`${key}(`)) this.#variables.delete(known);
  }

  /** `^name(subscripts)` in M's own words; a database in front stays as typed (`^|"^^/dir/"|name`). */
  #global(): string {
    const head = this.#match(/\^(?:\|[^|]*\|)?%?[A-Za-z][A-Za-z0-9.]*/y);
    if (head === undefined) throw new ScriptError('SYNTAX');
    if (this.#source[this.#at] !== '(') return head;
    return `${head}(${this.#arguments()
      .map((one) => quoted(text(one)))
      .join(',')})`;
  }

  #expression(): Value {
    let left = this.#primary();
    for (;;) {
      const back = this.#at;
      this.#blanks();
      const operator = this.#match(/'=|'\[|&&|\|\||>=|<=|[_=<>+\-*/#\\[]/y);
      if (operator === undefined) {
        this.#at = back;
        return left;
      }
      this.#blanks();
      left = operate(operator, left, this.#primary());
    }
  }

  #primary(): Value {
    this.#blanks();
    const first = this.#source[this.#at];
    if (first === '"') return this.#string();
    if (first === '(') {
      this.#at += 1;
      const value = this.#expression();
      this.#blanks();
      if (!this.#take(')')) throw new ScriptError('SYNTAX');
      return value;
    }
    if (this.#take("'")) return yes(!truth(this.#primary()));
    if (this.#take('-')) return String(-number(this.#primary()));
    if (this.#take('+')) return String(number(this.#primary()));
    const digits = this.#match(/\d+(?:\.\d+)?/y);
    if (digits !== undefined) return digits;
    if (first === '^') {
      const reference = this.#global();
      if (this.#skip > 0) return '';
      const found = this.#world.getGlobal(reference);
      if (found === undefined) throw new ScriptError('UNDEFINED', reference);
      return found;
    }
    const value = this.#callable();
    if (value === undefined) throw new ScriptError('SYNTAX');
    return value;
  }

  /** `##class(C).M(...)`, `$$L^R(...)`, `L^R(...)`, `$SYSTEM.X.M(...)`, `$function(...)`, `object.method(...)`, `variable`. */
  #callable(): Value | undefined {
    const className = this.#match(/##class\(\s*([%A-Za-z][A-Za-z0-9.]*)\s*\)\./iy, 1);
    if (className !== undefined) return this.#chain(this.#classCall(className));
    const routine = this.#match(/\$\$([%A-Za-z][A-Za-z0-9]*\^[%A-Za-z][A-Za-z0-9.]*)/y, 1);
    if (routine !== undefined) return this.#routine(routine);
    const system = this.#match(/\$SYSTEM\.([A-Za-z]+)\./iy, 1);
    if (system !== undefined) return this.#chain(this.#classCall(`%SYSTEM.${system}`));
    const special = this.#match(/\$[A-Za-z]+/y);
    if (special !== undefined) return this.#dollar(special.toLowerCase());
    const label = this.#match(/%?[A-Za-z][A-Za-z0-9]*\^%?[A-Za-z][A-Za-z0-9.]*/y);
    if (label !== undefined) return this.#routine(label);
    const variable = this.#match(/%?[A-Za-z][A-Za-z0-9]*/y);
    return variable === undefined ? undefined : this.#variable(variable);
  }

  #classCall(className: string): Value {
    const method = this.#match(/%?[A-Za-z][A-Za-z0-9]*/y);
    if (method === undefined) throw new ScriptError('SYNTAX');
    const args = this.#arguments();
    return this.#skip > 0 ? '' : this.#world.classMethod(className, method)(args);
  }

  #routine(label: string): Value {
    const [name = '', routine = ''] = label.split('^');
    const args = this.#source[this.#at] === '(' ? this.#arguments() : [];
    return this.#skip > 0 ? '' : this.#world.routine(name, routine)(args);
  }

  #variable(name: string): Value {
    if (this.#source[this.#at] === '(') {
      const key = `${name}(${this.#arguments()
        .map((one) => text(one))
        .join(',')})`;
      return this.#known(key);
    }
    if (this.#source[this.#at] !== '.') return this.#known(name);
    return this.#chain(this.#known(name));
  }

  #known(key: string): Value {
    const value = this.#variables.get(key);
    if (value === undefined && this.#skip === 0) throw new ScriptError('UNDEFINED', key);
    return value ?? '';
  }

  /** Properties and methods behind an object. */
  #chain(start: Value): Value {
    let value = start;
    while (/^\.%?[A-Za-z]/.test(this.#source.slice(this.#at, this.#at + 3))) {
      this.#at += 1;
      const name = this.#match(/%?[A-Za-z][A-Za-z0-9]*/y) ?? '';
      const args = this.#source[this.#at] === '(' ? this.#arguments() : undefined;
      if (this.#skip > 0) continue;
      if (!(value instanceof ObjectValue)) throw new ScriptError('INVALID OREF');
      if (args === undefined) {
        const property: Value | undefined = value.properties[name];
        if (property === undefined) throw new ScriptError('PROPERTY DOES NOT EXIST', `${name},${value.className}`);
        value = property;
      } else {
        const method: Method | undefined = value.methods[name];
        if (method === undefined) throw new ScriptError('METHOD DOES NOT EXIST', `${name},${value.className}`);
        value = method(args);
      }
    }
    return value;
  }

  #arguments(): readonly Argument[] {
    if (!this.#take('(')) throw new ScriptError('SYNTAX');
    const args: Argument[] = [];
    this.#blanks();
    if (this.#take(')')) return args;
    for (;;) {
      this.#blanks();
      if (this.#source[this.#at] === ',' || this.#source[this.#at] === ')') args.push(undefined);
      else if (/^\.%?[A-Za-z]/.test(this.#source.slice(this.#at, this.#at + 3))) {
        this.#at += 1;
        const name = this.#match(/%?[A-Za-z][A-Za-z0-9]*/y) ?? '';
        args.push(
          new Reference((value, key) => void this.#variables.set(key === undefined ? name : `${name}(${key})`, value)),
        );
      } else args.push(this.#expression());
      this.#blanks();
      if (this.#take(')')) return args;
      if (!this.#take(',')) throw new ScriptError('SYNTAX');
    }
  }

  #dollar(name: string): Value {
    if (this.#source[this.#at] === '(') {
      if (name === '$get' || name === '$g' || name === '$data' || name === '$d') return this.#get(name);
      if (name === '$select' || name === '$s') return this.#select();
      if (name === '$order' || name === '$o') return this.#order();
      const call = functions[name];
      if (call === undefined) throw new ScriptError('SYNTAX');
      const args = this.#arguments();
      return this.#skip > 0 ? '' : call(args);
    }
    if (name === '$test' || name === '$t') return yes(this.#test);
    const value = this.#world.special(name);
    if (value === undefined) throw new ScriptError('SYNTAX');
    return value;
  }

  #get(name: string): Value {
    this.#at += 1;
    const back = this.#at;
    let value: Value | undefined;
    if (this.#source[back] === '^') {
      const reference = this.#global();
      value = this.#skip > 0 ? '' : this.#world.getGlobal(reference);
    } else {
      const variable = this.#match(/%?[A-Za-z][A-Za-z0-9]*/y) ?? '';
      const key =
        this.#source[this.#at] === '('
          ? `${variable}(${this.#arguments()
              .map((one) => text(one))
              .join(',')})`
          : variable;
      value = this.#variables.get(key);
    }
    const fallback = this.#take(',') ? this.#expression() : '';
    if (!this.#take(')')) throw new ScriptError('SYNTAX');
    if (name.startsWith('$d')) return yes(value !== undefined);
    return value ?? fallback;
  }

  /** Of globals only. */
  #order(): Value {
    this.#at += 1;
    this.#blanks();
    if (this.#source[this.#at] !== '^') throw new ScriptError('SYNTAX');
    const reference = this.#global();
    const direction = this.#take(',') ? number(this.#expression()) : 1;
    if (!this.#take(')')) throw new ScriptError('SYNTAX');
    return this.#skip > 0 ? '' : this.#world.orderGlobal(reference, direction < 0 ? -1 : 1);
  }

  #select(): Value {
    this.#at += 1;
    let chosen: Value | undefined;
    for (;;) {
      const met = truth(this.#expression());
      if (!this.#take(':')) throw new ScriptError('SYNTAX');
      const value = this.#expression();
      if (met) chosen ??= value;
      this.#blanks();
      if (this.#take(')')) break;
      if (!this.#take(',')) throw new ScriptError('SYNTAX');
      this.#blanks();
    }
    if (chosen === undefined) throw new ScriptError('SELECT');
    return chosen;
  }

  #string(): string {
    const found = this.#match(/"((?:[^"]|"")*)"/y, 1);
    if (found === undefined) throw new ScriptError('SYNTAX');
    return found.replaceAll('""', '"');
  }

  #blanks(): void {
    this.#match(/[ \t]+/y);
  }

  #take(what: string): boolean {
    if (!this.#source.startsWith(what, this.#at)) return false;
    this.#at += what.length;
    return true;
  }

  #match(pattern: RegExp, group = 0): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source);
    if (found === null) return undefined;
    this.#at = pattern.lastIndex;
    return found[group];
  }
}

class Quit extends Error {}

function quoted(value: string): string {
  return /^-?(?:0|[1-9]\d*)$/.test(value) ? value : `"${value.replaceAll('"', '""')}"`;
}

function operate(operator: string, left: Value, right: Value): Value {
  switch (operator) {
    case '_':
      return text(left) + text(right);
    case '=':
      return yes(text(left) === text(right));
    case "'=":
      return yes(text(left) !== text(right));
    case '[':
      return yes(text(left).includes(text(right)));
    case "'[":
      return yes(!text(left).includes(text(right)));
    case '&&':
      return yes(truth(left) && truth(right));
    case '||':
      return yes(truth(left) || truth(right));
    case '>':
      return yes(number(left) > number(right));
    case '<':
      return yes(number(left) < number(right));
    case '>=':
      return yes(number(left) >= number(right));
    case '<=':
      return yes(number(left) <= number(right));
    default:
      return arithmetic(operator, number(left), number(right));
  }
}

function arithmetic(operator: string, left: number, right: number): string {
  if (operator === '+') return String(left + right);
  if (operator === '-') return String(left - right);
  if (operator === '*') return String(left * right);
  if (right === 0) throw new ScriptError('DIVIDE');
  if (operator === '/') return String(left / right);
  return String(operator === '\\' ? Math.trunc(left / right) : left % right);
}
