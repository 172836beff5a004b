import { createServer, type Server as HttpsServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { milliseconds, resume, suspend, type PhaseOptions } from './actions.ts';
import { takeFault, World } from './world.ts';
import type { Server, Store } from './state.ts';

interface Reply {
  readonly status: number;
  readonly body: object;
}

const base = '/api/v1';

function ok(body: object = {}, message = ''): Reply {
  return { status: 200, body: { ...body, result: { code: message === '' ? 0 : 1, message } } };
}

function refuse(status: number, message: string): Reply {
  return { status, body: { result: { code: status, message } } };
}

type Body = Readonly<Record<string, unknown>>;

function text(body: Body, key: string): string {
  const value = body[key];
  return typeof value === 'string' ? value : '';
}

/** The RESTful API of one server, on a state that the caller has locked. */
function restAnswer(world: World, server: Server, method: string, path: string, body: Body): Reply {
  const { state } = world;
  const parts = path
    .slice(base.length + 1)
    .split('/')
    .map(decodeURIComponent);
  const [what = '', name, verb] = parts;
  if (method === 'GET') return get(world, server, parts);
  const target = state.servers.find((each) => each.name === text(body, 'target'));
  if (what === 'groups' && name === 'failover1' && verb === 'stop') return ok({}, world.stopGroup(true));
  if (what === 'groups' && name === 'failover1' && verb === 'start')
    return ok({}, target === undefined ? 'Invalid server name.' : world.startGroup(target));
  if (what === 'monitors' && (verb === 'suspend' || verb === 'resume') && name !== undefined)
    return ok(
      {},
      target === undefined ? 'Invalid server name.' : (verb === 'suspend' ? suspend : resume)(world, name, target),
    );
  if (path === `${base}/cluster/toratio/set`) return setRatio(world, body);
  if (path === `${base}/cluster/toratio/reset`) {
    world.setRatio(1);
    return ok();
  }
  if (
    what === 'mirrors' &&
    (name === 'backup' || name === 'restore') &&
    (verb === 'preaction' || verb === 'postaction')
  ) {
    if (server.job?.status.startsWith('running') === true) return ok({}, 'The command is already running.');
    const phase = verb === 'preaction' ? 'pre' : 'post';
    server.job = { kind: name, status: `running ${JSON.stringify({ phase, options: body as PhaseOptions })}` };
    world.timer({ atMs: state.nowMs + state.options.jobMs, kind: 'job', server: server.name });
    return ok();
  }
  return refuse(404, 'Not Found');
}

function setRatio(world: World, body: Body): Reply {
  const { ratio } = body;
  const forMs = milliseconds(text(body, 'time'));
  if (typeof ratio !== 'number' || ratio < 1 || ratio > 10_000 || Number.isNaN(forMs))
    return refuse(400, 'Bad Request');
  world.setRatio(ratio, forMs);
  return ok();
}

function get(world: World, server: Server, parts: readonly string[]): Reply {
  const { state } = world;
  const { group } = state;
  const word = (service: boolean): string => (service ? 'Online' : 'Offline');
  const current = group.current ?? 'None';
  const [what = '', name, more] = parts;
  if (what === 'cluster' && name === undefined) return ok({ cluster: { name: 'cluster1', status: 'Normal' } });
  if (what === 'cluster' && name === 'toratio') return ok({ cluster: { toratio: state.ratio } });
  if (what === 'servers')
    return ok({ servers: state.servers.map((each) => ({ name: each.name, status: word(each.service) })) });
  if (what === 'groups') return ok({ groups: [{ name: 'failover1', status: group.status, current }] });
  if (what === 'resources')
    return ok({ resources: [{ name: 'md1', type: 'md', status: group.status, current, group: 'failover1' }] });
  if (what === 'monitors') {
    const monitors = world.monitors().map((monitor) => ({
      name: monitor,
      type: monitor.replace(/\d+$/, ''),
      status: world.monitor(monitor),
      servers: state.servers.map((each) => ({ name: each.name, status: world.monitorOn(monitor, each) })),
    }));
    return ok({ monitors: monitors.filter((each) => name === undefined || each.name === name) });
  }
  if (what === 'mirrors' && (name === 'backup' || name === 'restore') && more === 'status') {
    const status = server.job?.kind === name ? server.job.status.replace(/^running.*/, 'running') : '';
    return ok({ detail: { status } });
  }
  return refuse(404, 'Not Found');
}

export interface RestPort extends AsyncDisposable {
  readonly url: string;
}

async function read(request: IncomingMessage): Promise<Body> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  const said = Buffer.concat(parts).toString('utf8');
  return said === '' ? {} : (JSON.parse(said) as Body);
}

/** Serves the API of one server on loopback. A server that is off takes no connection; here it closes it at once. */
export async function serveRest(
  store: Store,
  name: string,
  tls: { readonly key: string; readonly cert: string },
): Promise<RestPort> {
  const sockets = new Set<Socket>();
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await read(request);
    const method = request.method ?? '';
    const path = request.url ?? '';
    const wanted = `Basic ${Buffer.from(`${store.read().options.user}:${store.read().options.password}`).toString('base64')}`;
    const isKnown = request.headers.authorization === wanted;
    const reply = store.update((state): Reply | 'hang' | 'lost' => {
      const world = new World(state, store);
      const server = world.server(name);
      state.calls.push({ server: name, what: `${method} ${path}` });
      if (server.power !== 'running' || server.silentFromMs !== null) return 'lost';
      if (!isKnown) return refuse(401, 'Unauthorized');
      const fault = takeFault(state, `${method} ${path}`, name);
      if (fault?.how === 'hangs') return 'hang';
      if (fault?.how === 'lost') return 'lost';
      if (fault?.how === 'fails') return refuse(fault.code ?? 500, fault.said ?? 'Internal Server Error');
      if (fault?.how === 'does-nothing') return ok();
      const done = restAnswer(world, server, method, path, body);
      return fault?.how === 'acts-then-lost' ? 'lost' : done;
    });
    if (reply === 'hang') return;
    if (reply === 'lost') {
      request.socket.destroy();
      return;
    }
    response.writeHead(reply.status, { 'Content-Type': 'application/json', Connection: 'close' });
    response.end(JSON.stringify(reply.body));
  };
  const server: HttpsServer = createServer(tls, (request, response) => {
    answer(request, response).catch(() => request.socket.destroy());
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `https://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}
