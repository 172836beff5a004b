import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { StillpointError } from '../model/errors.ts';
import { systemExec } from '../platform/exec.ts';
import type { Answer } from './command.ts';
import { plain } from './format.ts';
import { machineOf } from '../flows/stun-logs.ts';
import { stunCommand, type StunOptions } from './stun.ts';

const main = join(import.meta.dirname, '../main.ts');
const transcripts = join(import.meta.dirname, '../../test/transcripts');

async function stillpoint(
  ...argv: readonly string[]
): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  return systemExec.run({
    argv: [process.execPath, main, 'stun', ...argv],
    timeoutMs: 120_000,
    env: { TZ: 'UTC' },
  });
}

interface Document {
  readonly outcome: string;
  readonly marginMs: number;
  readonly error?: { readonly code: string; readonly hint: string };
  readonly total: Readonly<Record<string, number | null>>;
  readonly causes: readonly { readonly cause: string; readonly over: number }[];
  readonly machines: readonly {
    readonly machine: string;
    readonly files: readonly string[];
    readonly yearGuessed: boolean;
    readonly stuns: readonly { readonly at: string; readonly cause: string; readonly file: string }[];
  }[];
}

const context = { signal: new AbortController().signal, paint: plain, reporter: { progress: () => undefined } };

function stunsIn(files: readonly string[], options: Partial<StunOptions> = {}): Promise<Answer> {
  return stunCommand(context, files, { qos: '8s', ...options });
}

async function documentOf(files: readonly string[], qos = '8s'): Promise<Document> {
  const { document } = await stunsIn(files, { qos });
  return JSON.parse(JSON.stringify(document)) as Document;
}

describe('stillpoint stun', () => {
  let directory: string;
  let log: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'stillpoint-stun-'));
    log = join(directory, 'vmware.log');
    await copyFile(join(transcripts, 'vmware-log-esxi-6.txt'), log);
  });
  after(() => rm(directory, { recursive: true }));

  it('tells each stun, refuses those over the margin, and draws them', async () => {
    const picture = join(directory, 'stun.svg');
    const { exitCode, stdout, stderr } = await stillpoint(log, '--svg', picture);
    assert.equal(exitCode, 4, stderr);
    assert.match(stdout, /^ {2}2019-03-12 02:33:09 \+00:00 +4\.4 s +117 % +over +consolidation +vmware\.log:18$/m);
    assert.match(stdout, /^failover margin 3\.8 s: half of a detection time of 8\.0 s, less a lost packet$/m);
    assert.match(stdout, /^ {2}all +5 +4\.4 s +1\.3 s +4\.4 s +1$/m);
    assert.match(stderr, /^error: 1 of 5 stuns was not below the failover margin of 3\.8 s: consolidation 1\nHINT: /m);
    assert.match(await readFile(picture, 'utf8'), /^<svg [^]*4\.41 s, consolidation[^]*<\/svg>\n$/);
  });

  it('measures against the detection time that it is told', async () => {
    const { exitCode, stdout } = await stillpoint('--json', log, '--qos', '30s');
    const document = JSON.parse(stdout) as Document;
    assert.deepEqual(
      [exitCode, document.outcome, document.marginMs, document.error],
      [0, 'complete', 14_750, undefined],
    );
    assert.deepEqual(document.total, { count: 5, longestMs: 4410.973, p50Ms: 1290.117, p99Ms: 4410.973, over: 0 });
    const tight = await documentOf([log], '1200ms');
    assert.equal(tight.outcome, 'failed');
    assert.deepEqual(
      tight.causes.map(({ cause, over }) => `${cause} ${over}`),
      ['creation 0', 'creation-memory 1', 'consolidation 2', 'helper 1'],
    );
  });

  it('puts rotated and packed files of a machine together by their times, and keeps machines apart', async () => {
    const folder = join(directory, 'rotated');
    await mkdir(join(folder, 'db2'), { recursive: true });
    const lines = (await readFile(log, 'utf8')).trimEnd().split('\n');
    const parts = [lines.slice(0, 12), lines.slice(12, 16), lines.slice(16)].map((part) => `${part.join('\n')}\n`);
    const files = ['vmware-9.log', 'vmware-10.log.gz', 'vmware.log'].map((name) => join(folder, name));
    const [first = '', second = '', third = ''] = files;
    await writeFile(first, parts[0] ?? '');
    await writeFile(second, gzipSync(parts[1] ?? ''));
    await writeFile(third, parts[2] ?? '');
    const other = join(folder, 'db2', 'vmware.log');
    await copyFile(join(transcripts, 'vmware-log-esx-4.txt'), other);
    await utimes(other, new Date('2011-01-02T00:00:00Z'), new Date('2011-01-02T00:00:00Z'));
    const { machines } = await documentOf([second, third, other, first]);
    const whole = await documentOf([log]);
    const [machine, old] = machines;
    assert.deepEqual(machine?.files, files);
    const bare = ({ at, cause }: { readonly at: string; readonly cause: string }): string => `${at} ${cause}`;
    assert.deepEqual(machine?.stuns.map(bare), whole.machines[0]?.stuns.map(bare));
    assert.deepEqual([old?.machine, old?.yearGuessed, old?.stuns.length], [other, true, 4]);
    assert.equal(old?.stuns[1]?.at, '2011-01-01T00:05:15.009Z');
  });

  it('says so when there is no stun, and when lines are damaged', async () => {
    const quiet = join(directory, 'quiet.log');
    const line = '2019-03-12T02:00:11.320Z| vmx| I125: ';
    await writeFile(quiet, `${line}TOOLS: all well\n${line}Checkpoint_Unstun: vm stopped for 38`);
    const { lines, error } = await stunsIn([quiet]);
    assert.equal(error, undefined);
    assert.match(lines.join('\n'), /no stun in these logs[^]*1 damaged line speaks of a stun/);
    const { total } = await documentOf([quiet]);
    assert.deepEqual(total, { count: 0, longestMs: null, p50Ms: null, p99Ms: null, over: 0 });
    await writeFile(quiet, `${line}Checkpoint_Unstun: vm stopped for\n`.repeat(2));
    assert.match((await stunsIn([quiet])).lines.join('\n'), /2 damaged lines speak of a stun/);
  });

  it('shows only the longest of very many', async () => {
    const many = join(directory, 'many.log');
    const lines = Array.from(
      { length: 100 },
      (_, at) =>
        `2019-03-12T02:${String(at % 60).padStart(2, '0')}:11.3${String(at).padStart(2, '0')}Z| vcpu-0| I125: Checkpoint_Unstun: vm stopped for ${at}000 us`,
    );
    await writeFile(many, lines.join('\n'));
    const { lines: said } = await stunsIn([many]);
    assert.equal(said.filter((line) => line.includes('many.log:')).length, 40);
    assert.match(said.join('\n'), /the 40 longest of 100 stuns/);
  });

  it('answers what is no vmware.log, no file or no duration with a hint and exit code 2', async () => {
    const wrong = join(directory, 'syslog');
    const empty = join(directory, 'empty.log');
    const torn = join(directory, 'torn.log.gz');
    await writeFile(wrong, 'Jan  4 22:15:58 db1 systemd[1]: Started Session 1.\n');
    await writeFile(empty, '');
    await writeFile(torn, gzipSync(await readFile(log)).subarray(0, 300));
    const cases: readonly (readonly [readonly string[], RegExp, string?])[] = [
      [[log, empty], /no vmware\.log: none of its 0 lines/],
      [[join(directory, 'none.log')], /there is no file/],
      [[directory], /is a folder/],
      [[torn], /cannot be read: unexpected end of file/],
      [[log], /--qos needs a unit, such as 8s/, '8'],
      [[log], /--qos must be longer than nothing/, '0s'],
    ];
    for (const [files, said, qos = '8s'] of cases)
      await assert.rejects(stunsIn(files, { qos }), (error: unknown) => {
        assert.ok(error instanceof StillpointError);
        assert.deepEqual([error.code, error.exitCode, error.hint === undefined], ['usage', 2, false]);
        assert.match(error.message, said);
        return true;
      });
    for (const [argv, said] of [
      [[wrong], /no vmware\.log: none of its 1 lines/],
      [[], /missing required argument 'file'/],
    ] as const) {
      const { exitCode, stdout, stderr } = await stillpoint(...argv);
      assert.deepEqual([exitCode, stdout], [2, '']);
      assert.match(stderr, said);
      assert.match(stderr, /^HINT: /m);
    }
  });

  it('cannot draw into a folder that is not there', async () => {
    await assert.rejects(stunsIn([log], { svg: join(directory, 'none', 'stun.svg') }), { code: 'io', exitCode: 5 });
  });

  it('ends when it is told to', async () => {
    const signal = AbortSignal.abort(new StillpointError('cancelled', 'ended'));
    await assert.rejects(stunCommand({ ...context, signal }, [log], { qos: '8s' }), { name: 'AbortError' });
  });
});

describe('machineOf', () => {
  it('is the same for the rotated files of one folder only', () => {
    for (const name of ['vmware.log', 'vmware-0.log', 'vmware-12.log', 'vmware-3.log.gz', 'VMware.log'])
      assert.match(machineOf(`/vmfs/db1/${name}`), /^\/vmfs\/db1\/vmware\.log$/i);
    assert.notEqual(machineOf('/vmfs/db1/vmware.log'), machineOf('/vmfs/db2/vmware.log'));
    assert.notEqual(machineOf('db-1.log'), machineOf('db-2.log'));
    assert.equal(machineOf('db1-vmware-2.log'), machineOf('./db1-vmware.log'));
  });
});
