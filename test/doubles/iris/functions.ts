import { ListValue, number, Reference, text, type Argument, type Method, type Value } from './values.ts';

const two = (value: number): string => String(value).padStart(2, '0');

/** Functions that need nothing but their arguments. */
export const functions: Record<string, Method> = {
  $listbuild: (args) => new ListValue(args.map((one) => (one === undefined || one instanceof Reference ? '' : one))),
  $list: (args) => item(args),
  $listget: (args) => item(args),
  $listlength: ([one]) => String(one instanceof ListValue ? one.items.length : 0),
  $listtostring: ([one, separator]) =>
    (one instanceof ListValue ? one.items : [])
      .map((each) => text(each))
      .join(separator === undefined ? ',' : text(separator)),
  $listfromstring: ([one, separator]) =>
    new ListValue(text(one).split(separator === undefined ? ',' : text(separator))),
  $piece: ([one, separator, from, to]) => {
    const first = number(from, 1);
    return text(one)
      .split(text(separator))
      .slice(first - 1, number(to, first))
      .join(text(separator));
  },
  $length: ([one, separator]) =>
    String(separator === undefined ? text(one).length : text(one).split(text(separator)).length),
  $extract: ([one, from, to]) => text(one).slice(number(from, 1) - 1, number(to, number(from, 1))),
  $char: (args) => String.fromCharCode(...args.map((one) => number(one))),
  $ascii: ([one]) => String(text(one).charCodeAt(0) || -1),
  $find: ([one, what]) =>
    String(text(one).indexOf(text(what)) + (text(one).includes(text(what)) ? text(what).length + 1 : 1)),
  $translate: ([one, from, to]) =>
    Array.from(text(one))
      .map((letter) => (text(from).includes(letter) ? (text(to)[text(from).indexOf(letter)] ?? '') : letter))
      .join(''),
  $replace: ([one, from, to]) => text(one).replaceAll(text(from), text(to)),
  $zstrip: ([one]) => text(one).trim(),
  $zconvert: ([one, how]) => (/^l/i.test(text(how)) ? text(one).toLowerCase() : text(one).toUpperCase()),
  $zdatetime: () => {
    const now = new Date();
    return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())} ${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  },
};

for (const [short, long] of [
  ['$lb', '$listbuild'],
  ['$li', '$list'],
  ['$lg', '$listget'],
  ['$ll', '$listlength'],
  ['$lts', '$listtostring'],
  ['$lfs', '$listfromstring'],
  ['$p', '$piece'],
  ['$l', '$length'],
  ['$e', '$extract'],
  ['$c', '$char'],
  ['$a', '$ascii'],
  ['$f', '$find'],
  ['$tr', '$translate'],
  ['$zdt', '$zdatetime'],
  ['$zcvt', '$zconvert'],
] as const) {
  functions[short] = functions[long] as Method;
}

function item([one, at, fallback]: readonly Argument[]): Value {
  const index = number(at, 1);
  const items = one instanceof ListValue ? one.items : [];
  const found = index === -1 ? items.at(-1) : items[index - 1];
  if (found !== undefined) return found;
  if (fallback === undefined || fallback instanceof Reference) return '';
  return fallback;
}
