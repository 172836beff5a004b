/**
 * Draws captured terminal output as an SVG. The capture comes from a pseudo terminal, so that the picture shows what a person sees:
 *   script -qec 'stty cols 112; npm run -s demo' demo.ansi
 *   node_modules/.bin/node tools/terminal-picture.ts demo.ansi docs/images/demo.svg 'npm run demo'
 * Knows what our output uses: colours, carriage return, erase line, column and line moves. Lines wider than the picture end in an ellipsis.
 */
import { readFileSync, writeFileSync } from 'node:fs';

interface Cell {
  readonly character: string;
  readonly style: string;
}

const width = 112;
const cellWidth = 7.8;
const lineHeight = 18;
const margin = 14;
const head = 34;

const colours: Readonly<Record<string, string>> = {
  '31': 'r',
  '32': 'g',
  '33': 'y',
  '36': 'c',
  '90': 'd',
};

/** The screen as it stands at the end, without a limit of height. */
function play(text: string): readonly (readonly Cell[])[] {
  const lines: Cell[][] = [[]];
  let row = 0;
  let column = 0;
  let colour = '';
  let weight = '';
  const line = (): Cell[] => {
    while (lines.length <= row) lines.push([]);
    return lines[row] ?? [];
  };
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  const tokens = text.matchAll(/\u001b\[([0-9;?]*)([A-Za-z])|\u001b[()][0-9A-B]|([\s\S])/gu);
  for (const [, parameters = '', command, character] of tokens) {
    const count = Number(parameters) || 1;
    if (character === '\n') {
      row += 1;
      column = 0;
    } else if (character === '\r') column = 0;
    else if (character !== undefined && character >= ' ') {
      const cells = line();
      while (cells.length < column) cells.push({ character: ' ', style: '' });
      cells[column] = { character, style: `${colour}${weight}` };
      column += 1;
    } else if (command === 'A') row = Math.max(0, row - count);
    else if (command === 'G') column = count - 1;
    else if (command === 'K') line().splice(parameters === '' || parameters === '0' ? column : 0);
    else if (command === 'm') {
      for (const code of (parameters || '0').split(';')) {
        if (code === '0') colour = weight = '';
        else if (code === '39') colour = '';
        else if (code === '22') weight = '';
        else if (code === '1') weight = 'b';
        else if (code === '2') weight = 'f';
        else colour = colours[code] ?? colour;
      }
    }
  }
  while (lines.length > 0 && lines.at(-1)?.length === 0) lines.pop();
  return lines;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function fit(cells: readonly Cell[]): readonly Cell[] {
  return cells.length <= width ? cells : [...cells.slice(0, width - 1), { character: '…', style: '' }];
}

/** One `tspan` for each run of equal style, placed by column, so that a font of another width keeps the columns. */
function draw(cells: readonly Cell[], y: number): string {
  let spans = '';
  for (let from = 0; from < cells.length;) {
    const style = cells[from]?.style ?? '';
    let to = from;
    while (to < cells.length && (cells[to]?.style ?? '') === style) to += 1;
    const text = cells
      .slice(from, to)
      .map((cell) => cell.character)
      .join('');
    if (text.trim() !== '') {
      const lead = text.length - text.trimStart().length;
      const shown = text.trim();
      const x = margin + (from + lead) * cellWidth;
      const names = style.split('').join(' ');
      const length = (shown.length * cellWidth).toFixed(1);
      spans += `<tspan x="${x.toFixed(1)}" textLength="${length}" lengthAdjust="spacingAndGlyphs"${names === '' ? '' : ` class="${names}"`}>${escape(shown)}</tspan>`;
    }
    from = to;
  }
  return spans === '' ? '' : `<text y="${y}">${spans}</text>\n`;
}

function picture(lines: readonly (readonly Cell[])[], title: string): string {
  const total = { x: Math.ceil(width * cellWidth + 2 * margin), y: head + lines.length * lineHeight + margin };
  const dots = ['#e5615a', '#e0a83b', '#54a65a'].map(
    (fill, n) => `<circle cx="${18 + n * 18}" cy="17" r="5.5" fill="${fill}"/>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${total.x} ${total.y}" width="${total.x}" height="${total.y}" role="img">
<title>${escape(title)}</title>
<style>
text{font:13px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;fill:#d6dbe2;white-space:pre}
.t{fill:#9aa4b2}.r{fill:#f07178}.g{fill:#8fce7c}.y{fill:#e6c06a}.c{fill:#6cc7d9}.d,.f{fill:#8892a0}.b{font-weight:700;fill:#fff}
</style>
<rect width="100%" height="100%" rx="8" fill="#1d2229"/>
${dots.join('')}<text class="t" x="${total.x / 2}" y="22" text-anchor="middle">${escape(title)}</text>
${lines.map((cells, index) => draw(fit(cells), head + (index + 1) * lineHeight)).join('')}</svg>
`;
}

const [from, to, title = ''] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  process.stderr.write('usage: terminal-picture.ts CAPTURE PICTURE.svg [TITLE]\n');
  process.exitCode = 2;
} else {
  // `script` frames the capture with lines of its own.
  const capture = readFileSync(from, 'utf8')
    .replace(/^Script started.*\n/, '')
    .replace(/\nScript done[^\n]*\n*$/, '');
  writeFileSync(to, picture(play(capture), title));
}
