import { z } from 'zod';
import { StillpointError } from '../../../model/errors.ts';
import type { MirrorReport, Report } from './way.ts';

const named = z.object({ name: z.string().min(1), status: z.string().min(1) });
const result = z.object({ code: z.union([z.number(), z.string()]), message: z.string() });

const answers = {
  cluster: z.object({ cluster: z.object({ name: z.string().min(1) }) }),
  servers: z.object({ servers: z.array(named) }),
  groups: z.object({ groups: z.array(named.extend({ current: z.string() })) }),
  monitors: z.object({ monitors: z.array(named.extend({ servers: z.array(named) })) }),
  toratio: z.object({ cluster: z.object({ toratio: z.coerce.number().positive() }) }),
};

export interface RestAnswers {
  readonly cluster: string;
  readonly servers: string;
  readonly groups: string;
  readonly monitors: string;
  readonly toratio: string;
}

/** Bodies of the five GET requests. Throws `command-failed` with the path that was not understood. */
export function parseReport(bodies: RestAnswers, mirrors: ReadonlyMap<string, string>): Report {
  const { cluster } = read(answers.cluster, bodies.cluster, '/cluster');
  const { servers } = read(answers.servers, bodies.servers, '/servers');
  const { groups } = read(answers.groups, bodies.groups, '/groups');
  const { monitors: all } = read(answers.monitors, bodies.monitors, '/monitors');
  const { toratio } = read(answers.toratio, bodies.toratio, '/cluster/toratio').cluster;
  const monitors = new Map(all.map((each) => [each.name, new Map(each.servers.map((on) => [on.name, on.status]))]));
  return {
    cluster: cluster.name,
    servers: new Map(servers.map(({ name, status }) => [name, status])),
    parts: new Map(),
    groups: new Map(
      groups.map(({ name, status, current }) => [
        name,
        { status, current: current === 'None' || current === '' ? undefined : current },
      ]),
    ),
    monitors,
    mirrors: new Map([...mirrors].map(([resource, monitor]) => [resource, mirrorBy(monitors.get(monitor))])),
    ratio: toratio,
  };
}

/** What the monitor of a mirror says stands for the colour of its server, and for the state of the mirror if all servers say the same. */
const colours: Readonly<Record<string, string>> = {
  Online: 'GREEN',
  Normal: 'GREEN',
  Caution: 'YELLOW',
  Error: 'RED',
};
const states: Readonly<Record<string, string>> = { GREEN: 'Normal', YELLOW: 'Recovering', RED: 'Abnormal' };

/** The API tells nothing of a mirror itself. A monitor that is suspended or stopped says nothing: no colour, no state. */
function mirrorBy(monitor: ReadonlyMap<string, string> = new Map()): MirrorReport {
  const found = new Map([...monitor].map(([server, word]) => [server, colours[word] ?? `monitor ${word}`]));
  const [word = '', ...others] = new Set(found.values());
  const status = others.length === 0 ? states[word] : undefined;
  return { status: status ?? `monitor ${[...new Set(monitor.values())].join(', ')}`.trim(), colours: found };
}

/** Of a POST: undefined when it was done, else why not. A command that failed is told with status 200. */
export function parseRefusal(status: number, body: string): string | undefined {
  const said = z.object({ result }).safeParse(json(body));
  if (!said.success) return `it answered ${status} without a result`;
  const { code, message } = said.data.result;
  if (status === 200 && Number(code) === 0 && message === '') return undefined;
  return message === '' ? `it answered ${status}, code ${code}` : message;
}

function json(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function read<T>(schema: z.ZodType<T>, body: string, path: string): T {
  const value = json(body);
  const failed = z.object({ result }).safeParse(value);
  const found = schema.safeParse(value);
  if (found.success && failed.success && Number(failed.data.result.code) === 0) return found.data;
  const why = failed.success && failed.data.result.message !== '' ? `: ${failed.data.result.message}` : '';
  throw new StillpointError('command-failed', `the API's answer to ${path} is not understood${why}`, {
    hint: 'ask it by hand with curl; CLUSTERPRO X 4.2 or later is needed',
  });
}
