import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseRefusal, parseReport, type RestAnswers } from './parse-rest.ts';

const result = { code: 0, message: '' };
const mirrors = new Map([['md1', 'mdw1']]);

function bodies(words: readonly string[], current = 'server1'): RestAnswers {
  const servers = words.map((status, index) => ({ name: `server${index + 1}`, status }));
  const all = {
    cluster: { cluster: { name: 'c', status: 'Normal' }, result },
    servers: { servers: servers.map(({ name }) => ({ name, status: 'Online' })), result },
    groups: { groups: [{ name: 'failover1', status: 'Online', current, resources: [] }], result },
    monitors: { monitors: [{ name: 'mdw1', type: 'mdw', status: 'Normal', servers }], result },
    toratio: { cluster: { toratio: 3 }, result },
  };
  return Object.fromEntries(
    Object.entries(all).map(([key, body]) => [key, JSON.stringify(body)]),
  ) as unknown as RestAnswers;
}

describe('parseReport', () => {
  it('reads servers, groups, monitors and the ratio', () => {
    const report = parseReport(bodies(['Online', 'Online']), mirrors);
    assert.equal(report.cluster, 'c');
    assert.deepEqual(
      [...report.servers],
      [
        ['server1', 'Online'],
        ['server2', 'Online'],
      ],
    );
    assert.deepEqual(report.groups.get('failover1'), { status: 'Online', current: 'server1' });
    assert.equal(report.monitors.get('mdw1')?.get('server2'), 'Online');
    assert.equal(report.ratio, 3);
    assert.deepEqual(report.mirrors.get('md1'), {
      status: 'Normal',
      colours: new Map([
        ['server1', 'GREEN'],
        ['server2', 'GREEN'],
      ]),
    });
    for (const none of ['None', '']) {
      assert.equal(parseReport(bodies([], none), mirrors).groups.get('failover1')?.current, undefined);
    }
  });

  it('takes the mirror from its monitor, and for unknown where that says nothing of it', () => {
    const state = (...words: readonly string[]) => parseReport(bodies(words), mirrors).mirrors.get('md1');
    assert.equal(state('Caution', 'Caution')?.status, 'Recovering');
    assert.equal(state('Error', 'Error')?.status, 'Abnormal');
    assert.equal(state('Normal', 'Online')?.status, 'Normal');
    assert.equal(state('Online', 'Suspend')?.status, 'monitor Online, Suspend');
    assert.equal(state('Suspend', 'Suspend')?.status, 'monitor Suspend');
    assert.equal(state('Suspend')?.colours.get('server1'), 'monitor Suspend');
    assert.equal(state()?.status, 'monitor');
    assert.deepEqual(parseReport(bodies([]), new Map([['md2', 'mdw2']])).mirrors.get('md2'), {
      status: 'monitor',
      colours: new Map(),
    });
  });

  it('names the path that it does not understand, and quotes a refusal', () => {
    const good = bodies(['Online', 'Online']);
    const odd: readonly (readonly [Partial<RestAnswers>, RegExp])[] = [
      [{ cluster: '' }, /answer to \/cluster is not understood$/],
      [{ servers: '{}' }, /\/servers/],
      [{ groups: JSON.stringify({ groups: [{ name: 'g' }], result }) }, /\/groups/],
      [{ monitors: '<html>' }, /\/monitors/],
      [{ toratio: JSON.stringify({ cluster: { toratio: 0 }, result }) }, /\/cluster\/toratio/],
      [{ servers: JSON.stringify({ servers: [], result: { code: 1, message: 'No cluster.' } }) }, /: No cluster\.$/],
      [{ servers: JSON.stringify({ servers: [], result: { code: 1, message: '' } }) }, /\/servers/],
      [{ servers: JSON.stringify({ servers: [] }) }, /\/servers/],
    ];
    for (const [change, message] of odd)
      assert.throws(() => parseReport({ ...good, ...change }, mirrors), { code: 'command-failed', message });
  });
});

describe('parseRefusal', () => {
  it('is nothing only for status 200, code 0 and no message', () => {
    const body = (code: number | string, message: string): string => JSON.stringify({ result: { code, message } });
    assert.equal(parseRefusal(200, body(0, '')), undefined);
    assert.equal(parseRefusal(200, body('0', '')), undefined);
    assert.equal(parseRefusal(200, body(0, 'Busy.')), 'Busy.');
    assert.equal(parseRefusal(200, body(5, '')), 'it answered 200, code 5');
    assert.equal(parseRefusal(500, body(0, '')), 'it answered 500, code 0');
    assert.equal(parseRefusal(200, ''), 'it answered 200 without a result');
  });
});
