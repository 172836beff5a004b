import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { systemClock } from '../../../platform/clock.ts';
import { GuestAgent } from './agent.ts';
import { Qmp, QmpRefusal } from './qmp.ts';

interface Request {
  readonly execute: string;
  readonly arguments?: { readonly id?: number };
  readonly id?: string;
}

interface Peer extends AsyncDisposable {
  readonly path: string;
  readonly asked: readonly string[];
}

/** Somebody on a unix socket who answers as `answer` says. */
async function peer(greet: string, answer: (request: Request, socket: Socket) => void): Promise<Peer> {
  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-qmp-'));
  const path = join(directory, 'socket');
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.write(greet);
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1').replaceAll('\u00ff', '');
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) {
        const request = JSON.parse(line) as Request;
        asked.push(request.execute);
        answer(request, socket);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    path,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true });
    },
  };
}

const greeting = '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}\r\n';
const say = (socket: Socket, message: unknown): boolean => socket.write(`${JSON.stringify(message)}\r\n`);
const done = ({ id }: Request, socket: Socket): boolean => say(socket, { return: {}, id });

describe('QMP', () => {
  it('negotiates, and matches answers by id whatever comes in between', async () => {
    const held: Request[] = [];
    await using server = await peer(greeting, (request, socket) => {
      if (request.execute === 'qmp_capabilities') done(request, socket);
      else held.push(request);
      if (held.length < 2) return;
      say(socket, { event: 'JOB_STATUS_CHANGE', data: { id: 'other', status: 'null' } });
      say(socket, { event: 'JOB_STATUS_CHANGE', data: { id: 'mine', status: 'null' } });
      for (const one of held.toReversed()) say(socket, { return: one.execute, id: one.id });
    });
    using qmp = await Qmp.connect(server.path, systemClock);
    assert.equal(qmp.version, '7.2.22');
    const answers = await Promise.all([qmp.execute({ execute: 'one' }), qmp.execute({ execute: 'two' })]);
    assert.deepEqual(answers, ['one', 'two']);
    assert.deepEqual(await qmp.event('JOB_STATUS_CHANGE', ({ id }) => id === 'mine', 1000), {
      id: 'mine',
      status: 'null',
    });
    await assert.rejects(
      qmp.event('RESET', () => true, 20),
      { code: 'command-failed' },
    );
    assert.deepEqual(server.asked, ['qmp_capabilities', 'one', 'two']);
  });

  it('tells a refusal from an answer that did not come', async () => {
    await using server = await peer(greeting, (request, socket) => {
      if (request.execute === 'qmp_capabilities') done(request, socket);
      if (request.execute === 'no') say(socket, { error: { class: 'GenericError', desc: 'not now' }, id: request.id });
      if (request.execute === 'odd') say(socket, { id: request.id });
    });
    using qmp = await Qmp.connect(server.path, systemClock);
    await assert.rejects(qmp.execute({ execute: 'no' }), (error) => {
      assert.ok(error instanceof QmpRefusal);
      assert.match(error.message, /not now/);
      return true;
    });
    await assert.rejects(qmp.execute({ execute: 'odd' }), { message: /neither a result nor a reason/ });
    await assert.rejects(qmp.execute({ execute: 'never' }, 50), (error) => !(error instanceof QmpRefusal));
  });

  it('fails all that wait when the connection is lost, and all that comes later', async () => {
    await using server = await peer(greeting, (request, socket) => {
      if (request.execute === 'qmp_capabilities') done(request, socket);
      else socket.destroy();
    });
    using qmp = await Qmp.connect(server.path, systemClock);
    const both = [qmp.execute({ execute: 'one' }), qmp.execute({ execute: 'two' })];
    for (const result of await Promise.allSettled(both)) assert.equal(result.status, 'rejected');
    await assert.rejects(qmp.execute({ execute: 'three' }), { code: 'command-failed', message: /closed|failed/ });
  });

  it('does not take rubbish for an answer', async () => {
    for (const rubbish of ['not json\n', '17\n']) {
      await using server = await peer(greeting, (request, socket) => {
        if (request.execute === 'qmp_capabilities') done(request, socket);
        else socket.write(rubbish);
      });
      using qmp = await Qmp.connect(server.path, systemClock);
      await assert.rejects(qmp.execute({ execute: 'one' }), { code: 'command-failed', message: /no JSON|no message/ });
    }
  });

  it('says who does not listen and who does not greet', async () => {
    await assert.rejects(Qmp.connect('/nonexistent/socket', systemClock), (error: { details?: { errno?: string } }) => {
      assert.equal(error.details?.errno, 'ENOENT');
      return true;
    });
    await using silent = await peer('', () => undefined);
    await assert.rejects(Qmp.connect(silent.path, systemClock, 50), { code: 'command-failed', hint: /second monitor/ });
  });
});

/** An agent whose file systems are as `state` says, and that may still have old answers in its channel. */
function agentPeer(state: { frozen: boolean; stuck?: boolean; deaf?: boolean; failThaw?: boolean }): Promise<Peer> {
  return peer('{"return": "left over"}\nhalf an ans', ({ execute, arguments: args }, socket) => {
    if (state.deaf === true) return;
    const error = (desc: string): boolean => say(socket, { error: { class: 'GenericError', desc } });
    switch (execute) {
      case 'guest-sync-delimited':
        error('JSON parse error, stray input');
        socket.write(Buffer.concat([Buffer.of(0xff), Buffer.from(`${JSON.stringify({ return: args?.id })}\n`)]));
        break;
      case 'guest-fsfreeze-status':
        say(socket, { return: state.frozen ? 'frozen' : 'thawed' });
        break;
      case 'guest-fsfreeze-freeze':
        state.frozen = true;
        say(socket, { return: 2 });
        break;
      case 'guest-fsfreeze-thaw':
        if (state.stuck !== true) state.frozen = false;
        if (state.failThaw === true) error('fsfreeze hook has failed with status 1');
        else say(socket, { return: 0 });
        break;
      case 'late':
        setTimeout(() => say(socket, { return: 'frozen' }), 100);
        break;
      default:
        error(`Command ${execute} has been disabled`);
    }
  });
}

describe('the guest agent', () => {
  it('freezes, tells, and proves its thaw, whatever lies in the channel', async () => {
    const state = { frozen: false };
    await using server = await agentPeer(state);
    using agent = await GuestAgent.connect(server.path, systemClock);
    assert.equal(await agent.status(), 'thawed');
    assert.equal(await agent.freeze(1000), 2);
    assert.equal(await agent.status(), 'frozen');
    await assert.rejects(agent.run('guest-exec'), { message: /disabled/ });
    await agent.thaw();
    await agent.thaw();
    assert.equal(state.frozen, false);
  });

  it('believes the status and not the answer to the thaw', async () => {
    const hook = { frozen: true, failThaw: true };
    await using server = await agentPeer(hook);
    using agent = await GuestAgent.connect(server.path, systemClock);
    await agent.thaw();
    const stuck = { frozen: true, stuck: true };
    await using other = await agentPeer(stuck);
    using second = await GuestAgent.connect(other.path, systemClock);
    await assert.rejects(second.thaw(), { code: 'thaw-unproven' });
  });

  it('never takes a late answer for that to another question', async () => {
    await using server = await agentPeer({ frozen: false });
    using agent = await GuestAgent.connect(server.path, systemClock);
    await assert.rejects(agent.run('late', {}, 20), { code: 'command-failed' });
    await systemClock.sleep(120);
    assert.equal(await agent.status(), 'thawed');
  });

  it('takes silence for an alarm', async () => {
    const state: { frozen: boolean; deaf?: boolean } = { frozen: true };
    await using server = await agentPeer(state);
    using agent = await GuestAgent.connect(server.path, systemClock);
    state.deaf = true;
    await assert.rejects(agent.thaw(50), { code: 'thaw-unproven' });
    await assert.rejects(GuestAgent.connect(server.path, systemClock, 50), { code: 'command-failed' });
  });
});
