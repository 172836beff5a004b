import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { stunSvg } from './stun-svg.ts';
import { causeNames, stunCauses, type Stun, type StunReport } from './stun.ts';

const zero = Date.parse('2026-01-05T02:00:00Z');
const hour = 3_600_000;

function stun(durationMs: number, cause: Stun['cause'] = 'creation', atMs = zero): Stun {
  return {
    atMs,
    durationMs,
    cause,
    file: 'vmware.log',
    line: 7,
    ...(cause === 'creation' ? { snapshot: 'nightly' } : {}),
  };
}

function report(stuns: readonly Stun[], machine = 'vmware.log'): StunReport {
  return { machine, files: [machine], fromMs: zero, toMs: zero + 9 * hour, yearGuessed: false, torn: 0, stuns };
}

interface Text {
  readonly from: number;
  readonly to: number;
  readonly y: number;
  readonly text: string;
}

/** Every text but those in the bars' own strip, with the room that it takes at least. */
function texts(svg: string): readonly Text[] {
  return [...svg.matchAll(/<text class="(?!letter)([\w -]*)"? x="([\d.]+)" y="([\d.]+)"([^>]*)>(.*?)<\/text>/g)].map(
    ([, kind = '', x = '', y = '', more = '', inner = '']) => {
      const text = inner.replaceAll(/<[^>]*>/g, '').replaceAll(/&\w+;/g, '&');
      const half = (text.length * (kind === 'title' ? 10 : 5.5)) / 2;
      const middle = Number(x) + (more.includes('"middle"') ? 0 : more.includes('"end"') ? -half : half);
      return { from: middle - half, to: middle + half, y: Number(y), text };
    },
  );
}

function assertLegible(svg: string): void {
  const all = texts(svg);
  const height = Number(/height="(\d+)"/.exec(svg)?.[1]);
  for (const { from, to, y, text } of all)
    assert.ok(from >= 0 && to <= 1080 && y >= 10 && y <= height, `${text} is not in the picture`);
  for (const [index, one] of all.entries())
    for (const other of all.slice(index + 1))
      assert.ok(
        one.to <= other.from || other.to <= one.from || Math.abs(one.y - other.y) >= 10,
        `${one.text} lies on ${other.text}`,
      );
}

describe('stunSvg', () => {
  it('shows each stun with its cause, its figure and where it stands', () => {
    const svg = stunSvg(
      [report([stun(291.4), stun(4410.97, 'consolidation', zero + hour), stun(512, 'helper', zero + hour + 9000)])],
      8000,
    );
    for (const text of [
      '✕  1 of 3 not below the margin',
      '4.41 s, consolidation, until 2026-01-05T03:00:00.000Z (vmware.log:7)',
      "291 ms, snapshot 'nightly', until",
      'snapshot: 1, longest 291 ms',
      'failover margin',
      '02:00:00',
      '2026-01-05',
    ])
      assert.ok(svg.includes(text), text);
    assert.equal([...svg.matchAll(/class="consolidation over"/g)].length, 1);
    assertLegible(svg);
  });

  it('tells the causes by letter and pattern too', () => {
    const svg = stunSvg(
      [report(stunCauses.map((cause, index) => stun(10 * (index + 1), cause, zero + index * hour)))],
      8000,
    );
    for (const cause of stunCauses) {
      assert.ok(svg.includes(`${causeNames[cause]}: 1`), cause);
      assert.equal([...svg.matchAll(new RegExp(`url\\(#stun-${cause}\\)`, 'g'))].length, 2, cause);
    }
    const letters = [...svg.matchAll(/class="letter"[^>]*>(\w)</g)].map(([, letter = '']) => letter);
    assert.equal(letters.join(''), 'SMCHVOSMCHVO');
    assertLegible(svg);
  });

  it('says when there is no stun, and that all is well', () => {
    const svg = stunSvg([{ ...report([]), yearGuessed: true }], 8000);
    assert.ok(svg.includes('>no stun</text>') && svg.includes('✓  no stun') && svg.includes('year guessed'));
    assert.ok(stunSvg([report([stun(3)])], 8000).includes('✓  all below the margin'));
  });

  it('makes letters smaller with their bars, and leaves them out where they would run into each other', () => {
    const alternating = (count: number): string =>
      stunSvg(
        [
          report(
            Array.from({ length: count }, (_, at) => stun(50, at % 2 === 0 ? 'helper' : 'other', zero + at * 1000)),
          ),
        ],
        8000,
      );
    const letters = (svg: string, kind: string): number => [...svg.matchAll(new RegExp(`class="${kind}"`, 'g'))].length;
    const [few, more, many] = [alternating(20), alternating(85), alternating(150)];
    // Two stand in the legend.
    assert.deepEqual([letters(few, 'letter'), letters(few, 'letter small')], [22, 0]);
    assert.deepEqual([letters(more, 'letter'), letters(more, 'letter small')], [2, 85]);
    assert.deepEqual([letters(many, 'letter'), letters(many, 'letter small')], [2, 0]);
    for (const svg of [few, more, many]) assertLegible(svg);
  });

  it('makes one bar of neighbours where there are more stuns than room, and keeps the longest', () => {
    const many = Array.from({ length: 2000 }, (_, index) =>
      stun(index === 777 ? 9330 : 5, 'consolidation', zero + index * 1000),
    );
    const svg = stunSvg([report(many)], 8000);
    assert.ok([...svg.matchAll(/<title>/g)].length < 700);
    assert.match(svg, /9\.33 s, consolidation, until [^,]*, the longest of 8/);
    assert.match(svg, /class="cap"/);
    assert.ok(svg.includes('to 8 stuns a bar'));
    assertLegible(svg);
  });

  it('names machines, and tells how many it left out', () => {
    const svg = stunSvg(
      Array.from({ length: 10 }, (_, index) => report([stun(50)], `db${index}/<vmware>.log`)),
      8000,
    );
    assert.ok(svg.includes('Stuns of 10 machines') && svg.includes('and 2 more machines'));
    assert.ok(svg.includes('db7/&lt;vmware&gt;.log') && !svg.includes('db8/'));
    assertLegible(svg);
  });

  it('is legible and in its frame, whatever the stuns are', () => {
    const any = fc.record({
      gapMs: fc.integer({ min: 1, max: 90 * 24 * hour }),
      durationMs: fc.oneof(fc.double({ min: 0, max: 300_000, noNaN: true }), fc.constantFrom(0, 1, 10, 1000, 1e9)),
      cause: fc.constantFrom(...stunCauses),
    });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 120 }), fc.integer({ min: 1, max: 300_000 }), (all, qosMs) => {
        let atMs = zero;
        const svg = stunSvg(
          [report(all.map(({ gapMs, durationMs, cause }) => stun(durationMs, cause, (atMs += gapMs))))],
          qosMs,
        );
        assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
        for (const match of svg.matchAll(
          /<rect class="bar" x="([\d.-]+)" y="([\d.-]+)" width="([\d.-]+)" height="([\d.-]+)"/g,
        ))
          for (const figure of match.slice(1)) assert.ok(Number(figure) >= 0, match[0]);
        assertLegible(svg);
      }),
      { numRuns: 60 },
    );
  });
});
