/** A guess that errs on the wide side: the picture has no font of its own. */
export function textWidth(text: string, size: number): number {
  let ems = 0;
  for (const character of text) ems += character > '\u10ff' ? 1.05 : 0.58;
  return ems * size;
}

/** The text escaped, and cut with an ellipsis where it is wider than `room`. */
export function fitted(text: string, size: number, room: number): string {
  const shown = holdable(text);
  if (textWidth(shown, size) <= room) return escape(shown);
  const characters = Array.from(shown);
  while (textWidth(`${characters.join('')}…`, size) > room) characters.pop();
  return `${escape(characters.join(''))}…`;
}

/** Also replaces what XML cannot hold at all. */
export function escape(text: string): string {
  return holdable(text)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

/** Without control characters and lone surrogates. */
function holdable(text: string): string {
  return text.toWellFormed().replaceAll(/[^\t\n\r\P{Cc}]|[\ufffe\uffff]/gu, '\ufffd');
}

/** A coordinate: a tenth of a pixel is finer than any screen. */
export function n(value: number): string {
  return value.toFixed(1);
}
