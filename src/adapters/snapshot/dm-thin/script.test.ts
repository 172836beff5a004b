import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemExec } from '../../../platform/exec.ts';
import { cutScript, executorScript, quoted, timerScript, watcherScript, type CutDevice } from './script.ts';

const timeoutMs = 15_000;
const programs = {
  sh: '/bin/sh',
  setsid: '/usr/bin/setsid',
  sleep: '/bin/sleep',
  dmsetup: '/sbin/dmsetup',
  fsfreeze: '/sbin/fsfreeze',
};

function device(name: string, mountPoint: string, id: number): CutDevice {
  return { name, number: '253:5', mountPoint, mountId: '40', pool: 'vg0-pool-tpool', origin: 1, id };
}

const nasty = ['/mnt/a b', `/mnt/it's "$(touch /tmp/no)" \`no\` \\ *`, '/mnt/two\nlines', '/mnt/-f'];
const devices = nasty.map((mountPoint, index) => device(`vg0-${index}`, mountPoint, 8_388_608 + index));

describe('the shell programs of a cut', () => {
  it('hand every name on as it is', async () => {
    const script = `printf '%s\\0' ${nasty.map((word) => quoted(word)).join(' ')}`;
    const { stdout } = await systemExec.check({ argv: ['sh', '-c', script], timeoutMs });
    assert.deepEqual(stdout.split('\0').slice(0, -1), nasty);
  });

  it('are understood by the shell, whatever the mount points are called', async () => {
    const [, , whole = ''] = cutScript(devices, programs, { label: `stillpoint-'x'`, limitMs: 2000 });
    const texts = [
      whole,
      executorScript(devices, programs),
      watcherScript(devices, programs, 2000),
      timerScript(devices, programs, 2000),
    ];
    for (const text of texts) {
      const checked = await systemExec.run({ argv: ['sh', '-n', '-c', text], timeoutMs });
      assert.deepEqual([checked.exitCode, checked.stderr], [0, '']);
    }
  });

  it('freeze all before the first is suspended, suspend all before the first snapshot, and go back the same way', () => {
    const lines = executorScript([device('vg0-a', '/mnt/a', 8_388_608), device('vg0-b', '/mnt/b', 8_388_609)], programs)
      // What is undone on the way stands before.
      .split('exec </dev/null')[1]
      ?.split('\n')
      .filter((line) => line.includes('/sbin/'))
      .map((line) => /'(--freeze|suspend|create_snap [\d ]+|resume|--unfreeze)'/.exec(line)?.[1]?.split(' ')[0])
      .filter((word) => word !== undefined);
    assert.deepEqual(lines, [
      ...['--freeze', '--freeze', 'suspend', 'suspend', 'create_snap', 'create_snap'],
      ...['resume', 'resume', '--unfreeze', '--unfreeze'],
    ]);
  });

  it('undo by resuming before thawing', () => {
    const text = timerScript([device('vg0-a', '/mnt/a', 8_388_608)], programs, 1500);
    assert.ok(text.indexOf("'resume'") < text.indexOf("'--unfreeze'"));
    assert.match(text, /'\/bin\/sleep' 1\.5\nundo "\$1"/);
  });
});
