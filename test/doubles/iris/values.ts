/** Values of ObjectScript: strings (numbers are strings too), $LISTs, statuses and objects. */
export type Value = string | ListValue | StatusValue | ObjectValue;

export class ListValue {
  readonly items: readonly Value[];

  constructor(items: readonly Value[]) {
    this.items = items;
  }
}

/** A %Status that is an error; success is the string 1. */
export class StatusValue {
  readonly code: string;
  readonly text: string;

  constructor(said: string, code = '5001') {
    this.code = code;
    this.text = said;
  }

  get message(): string {
    return `ERROR #${this.code}: ${this.text}`;
  }
}

export class ObjectValue {
  readonly className: string;
  readonly properties: Record<string, Value>;
  readonly methods: Readonly<Record<string, Method>>;

  constructor(className: string, properties: Record<string, Value>, methods: Readonly<Record<string, Method>>) {
    this.className = className;
    this.properties = properties;
    this.methods = methods;
  }
}

/** Passed by reference (`.x`): what the method sets, the caller's variable holds afterwards. */
export class Reference {
  readonly set: (value: Value, subscript?: string) => void;

  constructor(assign: (value: Value, subscript?: string) => void) {
    this.set = assign;
  }
}

export type Argument = Value | Reference | undefined;
export type Method = (args: readonly Argument[]) => Value;

/** An error that the engine prints as `<NAME>info`. */
export class ScriptError extends Error {
  readonly mark: string;

  constructor(mark: string, info = '') {
    super(`<${mark}>${info === '' ? '' : ` *${info}`}`);
    this.mark = mark;
  }
}

/** Ends the session with an exit code. */
export class Halt extends Error {
  readonly code: number;

  constructor(code: number) {
    super('halt');
    this.code = code;
  }
}

export const yes = (condition: boolean): string => (condition ? '1' : '0');

export function text(value: Argument, fallback = ''): string {
  if (value === undefined || value instanceof Reference) return fallback;
  if (typeof value === 'string') return value;
  if (value instanceof StatusValue) return `0 ${listBytes([value.code, value.text])}`;
  if (value instanceof ListValue) return listBytes(value.items);
  return `1@${value.className}`;
}

/** $LIST's own form: length, type, bytes. */
function listBytes(items: readonly Value[]): string {
  return items.map((item) => `${String.fromCharCode(text(item).length + 2)}\u0001${text(item)}`).join('');
}

export function number(value: Argument, fallback = 0): number {
  if (value === undefined || value instanceof Reference) return fallback;
  if (value instanceof StatusValue) return 0;
  const found = /^[+-]?\d*\.?\d*/.exec(text(value).trim())?.[0] ?? '';
  const parsed = Number(found);
  return Number.isFinite(parsed) ? parsed : 0;
}

export const truth = (value: Argument): boolean => number(value) !== 0;

export function set(argument: Argument, value: Value, subscript?: string): void {
  if (argument instanceof Reference) argument.set(value, subscript);
}

export function list(argument: Argument): readonly Value[] {
  if (argument instanceof ListValue) return argument.items;
  if (text(argument) === '') return [];
  throw new ScriptError('LIST');
}
