import { StillpointError } from '../../../model/errors.ts';
import type { GroupReport, MirrorReport } from './way.ts';

function fail(command: string, line: string): never {
  throw new StillpointError('command-failed', `\`${command}\` printed a line that is not understood: ${line.trim()}`, {
    hint: 'run the command by hand with LANG=C to see what it prints; CLUSTERPRO X 4.3 or later is needed',
  });
}

function linesOf(output: string): readonly string[] {
  return output.split('\n').filter((line) => line.trim() !== '');
}

/** `clpmdstat --mirror RESOURCE`. The columns have the order of the row with the names. What follows the colours is not needed. */
export function parseMirror(output: string, resource: string): MirrorReport {
  const command = `clpmdstat --mirror ${resource}`;
  const lines = linesOf(output);
  const status = /^\s*Mirror Status: +(\S.*?)\s*$/.exec(lines[0] ?? '')?.[1] ?? fail(command, lines[0] ?? '');
  const [named = '', ...servers] = cells(lines[1]);
  const colours = /^\s*Mirror Color +(\S.*)$/.exec(lines[3] ?? '')?.[1];
  if (named !== resource || servers.length < 2) return fail(command, lines[1] ?? '');
  if (!/^\s*-+\s*$/.test(lines[2] ?? '') || colours === undefined) return fail(command, lines[3] ?? '');
  const found = cells(colours);
  if (found.length !== servers.length) return fail(command, colours);
  return { status, colours: new Map(servers.map((server, index) => [server, String(found[index])])) };
}

function cells(line = ''): readonly string[] {
  return line.trim().split(/\s+/);
}

export interface ClusterStatus {
  readonly cluster: string;
  readonly servers: ReadonlyMap<string, string>;
  readonly parts: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly groups: ReadonlyMap<string, GroupReport>;
}

const ruler = /^\s*=+(?: +[A-Z ]+ +=+)?\s*$/;
/** `   *server1 .......: Online`, and a name that leaves no room for dots. */
const outer = /^ {1,4}[* ]?(\S+) \.*: +(\S.*?)\s*$/;
/** `      lankhb1   : Normal     Kernel Mode LAN Heartbeat`: words of a state are one blank apart. */
const inner = /^ {6,}(\S+) +: +(\S+(?: \S+)*)/;

/** `clpstat --long`. A table without its last line was cut short. */
export function parseCluster(output: string): ClusterStatus {
  const command = 'clpstat --long';
  const lines = linesOf(output);
  const [first = '', second = '', ...rest] = lines;
  const last = rest.pop() ?? '';
  const cluster = /^\s*Cluster : +(\S.*?)\s*$/.exec(second)?.[1];
  if (!ruler.test(first) || cluster === undefined || !ruler.test(last)) return fail(command, second);
  const servers = new Map<string, string>();
  const parts = new Map<string, Map<string, string>>();
  const groups = new Map<string, { status: string; current: string | undefined }>();
  let section = '';
  let below = '';
  for (const line of rest) {
    const heading = /^\s*<(\w+)>\s*$/.exec(line)?.[1];
    if (heading !== undefined) {
      section = heading;
      continue;
    }
    // Monitors are asked for each server.
    if (section === 'monitor') continue;
    const [, name = '', status = ''] = outer.exec(line) ?? inner.exec(line) ?? fail(command, line);
    const isInner = inner.test(line);
    if (!isInner) below = name;
    if (section === 'server') {
      if (isInner) parts.get(below)?.set(name, status);
      else {
        servers.set(name, status);
        parts.set(name, new Map());
      }
    } else if (section === 'group') {
      if (!isInner) groups.set(name, { status, current: undefined });
      const group = groups.get(below);
      if (isInner && name === 'current' && group !== undefined && status !== 'None') group.current = status;
    } else return fail(command, line);
  }
  return { cluster, servers, parts, groups };
}

/** `clpstat -m`: servers stand under their own names or under numbers that the head explains. */
export function parseMonitors(output: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const command = 'clpstat -m';
  const lines = linesOf(output);
  const [first = '', second = '', ...rest] = lines;
  const last = rest.pop() ?? '';
  if (!ruler.test(first) || !/^\s*Cluster : /.test(second) || !ruler.test(last)) return fail(command, second);
  const names = new Map<string, string>();
  const monitors = new Map<string, Map<string, string>>();
  let monitor: Map<string, string> | undefined;
  for (const line of rest) {
    const [, head] = /^\s*Monitor\d+ +\[(\S+) *: +\S.*\]\s*$/.exec(line) ?? [];
    const [, alias, name] = /^\s*\*?(\S+) : +(\S+)\s*$/.exec(line) ?? [];
    const [, server, word] = /^\s*(\S+) \[.\] : +(\S.*?)\s*$/.exec(line) ?? [];
    if (head !== undefined) monitors.set(head, (monitor = new Map<string, string>()));
    else if (server !== undefined && word !== undefined && monitor !== undefined)
      monitor.set(names.get(server) ?? server, word);
    else if (alias !== undefined && name !== undefined && monitor === undefined) names.set(alias, name);
    else if (!/^\s*-+\s*$/.test(line)) return fail(command, line);
  }
  return monitors;
}

/** `clptoratio -s`. */
export function parseRatio(output: string): number {
  const found = /^\s*present toratio : +(\d+)\s*$/.exec(output)?.[1];
  return found === undefined ? fail('clptoratio -s', output.split('\n', 1).join('')) : Number(found);
}

/** Commands that act end with this line, besides exit code 0. */
export function hasSucceeded(output: string): boolean {
  return linesOf(output).at(-1)?.trim() === 'Command succeeded.';
}
