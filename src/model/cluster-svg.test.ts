import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { member, MemoryTopology } from '../../test/doubles/memory-topology.ts';
import { clusterSvg, lagText } from './cluster-svg.ts';

async function draw(change: (topology: MemoryTopology) => void = () => undefined): Promise<string> {
  const topology = new MemoryTopology();
  change(topology);
  return clusterSvg(await topology.view());
}

const boxes = (svg: string): readonly { x: number; y: number; width: number; height: number }[] =>
  [...svg.matchAll(/<rect class="box" x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)"/g)].map((match) => {
    const [x = 0, y = 0, width = 0, height = 0] = match.slice(1).map(Number);
    return { x, y, width, height };
  });

describe('the picture of a cluster', () => {
  it('has a box for each member, inside the page and over no other', async () => {
    for (const count of [1, 2, 4, 5, 9]) {
      const svg = await draw((at) => {
        at.members = [
          member('one', 'primary'),
          ...Array.from({ length: count - 1 }, (_none, index) => member(`r${index}`, 'replica')),
        ];
      });
      const [width = 0, height = 0] = (/viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(svg) ?? []).slice(1).map(Number);
      const all = boxes(svg);
      assert.equal(all.length, count);
      for (const [index, one] of all.entries()) {
        assert.ok(one.x >= 0 && one.x + one.width <= width && one.y + one.height <= height);
        for (const other of all.slice(index + 1)) {
          const apart = Math.abs(one.x - other.x) >= one.width || Math.abs(one.y - other.y) >= one.height;
          assert.ok(apart, `${JSON.stringify(one)} lies over ${JSON.stringify(other)}`);
        }
      }
      assert.equal(svg.match(/class="link"/g)?.length ?? 0, count - 1, 'each replica has its link');
    }
  });

  it('tells health by sign and not by colour alone, and what is wrong', async () => {
    const svg = await draw((at) => {
      at.members = [
        member('a', 'primary', { health: 'trouble', leadsQuorum: true }),
        member('b', 'backup', {
          health: 'down',
          findings: [{ severity: 'error', check: 'x', said: 'its slot is lost' }],
        }),
        member('c', 'async', {
          health: 'unknown',
          mayTakeOver: false,
          findings: [{ severity: 'warning', check: 'y', said: 'paused' }],
        }),
        member('d', 'arbiter', { mayTakeOver: false }),
      ];
      at.heldOffBy = 'us';
    });
    for (const said of ['! a', '✕ b', '? c', '✓ d', 'its slot is lost', 'paused', 'leads the quorum', 'held off'])
      assert.ok(svg.includes(said), said);
    assert.equal(svg.match(/class="link/g)?.length, 2, 'an arbiter is sent nothing');
    assert.equal(svg.match(/class="link broken"/g)?.length, 2);
  });

  it('has no links without one primary, and says when nobody takes over or tells the time', async () => {
    const none = await draw((at) => {
      at.members = [member('a', 'backup'), member('b', 'backup', { mayTakeOver: false })];
      at.automatic = false;
      at.quorum = { kind: 'none', health: 'healthy', said: '' };
    });
    assert.ok(!none.includes('class="link'));
    assert.match(none, /only a person/);
    assert.match(none, /nobody is asked/);
    assert.match(await draw((at) => void (at.detectionMs = undefined)), /after a time not known/);
  });

  it('takes any name for text', async () => {
    const svg = await draw((at) => {
      at.members = [member('<script>&"', 'primary'), member('x'.repeat(200), 'backup')];
    });
    assert.ok(svg.includes('&lt;script&gt;&amp;&quot;'));
    assert.ok(!svg.includes('<script'));
    assert.ok(!svg.includes('x'.repeat(30)));
  });
});

describe('a lag in words', () => {
  for (const [lag, said] of [
    [undefined, '?'],
    [{ caughtUp: true }, 'all'],
    [{ caughtUp: true, ms: 3000 }, '3.0 s behind'],
    [{ caughtUp: false, bytes: 12 }, '12 B behind'],
    [{ caughtUp: false, bytes: 0, ms: 40 }, '40 ms behind'],
    [{ caughtUp: false }, 'behind'],
    [{ caughtUp: undefined }, '?'],
  ] as const) {
    it(`${JSON.stringify(lag)} is ${said}`, () => assert.equal(lagText(lag), said));
  }
});
