/** `docker` and `kubectl` that know one thing: how to reach the instances of this stand-in. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isatty } from 'node:tty';

export interface Container {
  readonly name: string;
  readonly running: boolean;
  readonly mounts: readonly { readonly source: string; readonly destination: string }[];
}

export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly containers: readonly string[];
  readonly running: boolean;
  readonly claims: readonly { readonly volume: string; readonly claim: string; readonly mountPath: string }[];
}

export interface Places {
  readonly containers: readonly Container[];
  readonly pods: readonly Pod[];
}

function places(root: string): Places {
  const file = join(root, 'places.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Places) : { containers: [], pods: [] };
}

function complain(text: string, code: number): number {
  process.stderr.write(`${text}\n`);
  return code;
}

/** Runs a command as inside a container: only the instance's own executables and the shell's are found. */
function inside(root: string, argv: readonly string[], stdin: boolean, missing: (program: string) => string): number {
  const [program = '', ...args] = argv;
  const own = join(root, 'bin', program);
  const path = program.includes('/')
    ? program
    : existsSync(own)
      ? own
      : ['/bin', '/usr/bin'].map((one) => join(one, program)).find((one) => existsSync(one));
  if (path === undefined || !existsSync(path)) return complain(missing(program), 126 + 1);
  const done = spawnSync(path, args, {
    stdio: [stdin ? 'inherit' : 'ignore', 'inherit', 'inherit'],
    env: { ...process.env, PATH: `${join(root, 'bin')}:/usr/bin:/bin` },
  });
  if (done.signal !== null) return 137;
  return done.status ?? 1;
}

interface Flags {
  interactive: boolean;
  terminal: boolean;
  readonly values: Record<string, string>;
}

/** Short and long flags before the first plain word (or before `--`). `takes` lists those with a value. */
function flags(
  words: readonly string[],
  takes: readonly string[],
): { readonly flags: Flags; readonly rest: readonly string[] } {
  const found: Flags = { interactive: false, terminal: false, values: {} };
  let at = 0;
  for (; at < words.length; at += 1) {
    const word = words[at] as string;
    if (word === '--' || !word.startsWith('-')) break;
    const [name = '', value] = word.split('=', 2);
    if (takes.includes(name)) found.values[name] = value ?? words[(at += 1)] ?? '';
    else if (/^-[it]+$/.test(word) || word === '--interactive' || word === '--tty' || word === '--stdin') {
      found.interactive ||= word === '--interactive' || word === '--stdin' || /^-[it]*i/.test(word);
      found.terminal ||= word === '--tty' || /^-[it]*t/.test(word);
    }
  }
  return { flags: found, rest: words.slice(at) };
}

export function docker(root: string, words: readonly string[], write: (text: string) => void): number {
  const [verb = '', ...more] = words;
  if (verb === 'inspect') return inspect(root, more, write);
  if (verb !== 'exec') return complain(`docker: '${verb}' is not a docker command.\nSee 'docker --help'`, 1);
  const { flags: set, rest } = flags(more, ['-u', '--user', '-e', '--env', '-w', '--workdir']);
  const [name = '', ...argv] = rest;
  if (argv.length === 0) return complain('"docker exec" requires at least 2 arguments.', 1);
  if (set.terminal && !isatty(0)) return complain('the input device is not a TTY', 1);
  const container = places(root).containers.find((one) => one.name === name);
  if (container === undefined) return complain(`Error response from daemon: No such container: ${name}`, 1);
  if (!container.running) return complain(`Error response from daemon: container ${name} is not running`, 1);
  return inside(
    root,
    argv,
    set.interactive,
    (program) =>
      `OCI runtime exec failed: exec failed: unable to start container process: exec: "${program}": executable file not found in $PATH: unknown`,
  );
}

function inspect(root: string, more: readonly string[], write: (text: string) => void): number {
  const { flags: set, rest: names } = flags(more, ['-f', '--format', '--type']);
  const known = places(root).containers;
  const found = names.map((name) => known.find((one) => one.name === name));
  const there = found.filter((one) => one !== undefined).map(inspected);
  // The one template that is asked for here; one line for each container.
  if (set.values['--format'] === '{{json .Mounts}}')
    write(there.map(({ Mounts }) => `${JSON.stringify(Mounts)}\n`).join(''));
  else write(`${JSON.stringify(there, undefined, 4)}\n`);
  const missing = names[found.indexOf(undefined)];
  return missing === undefined ? 0 : complain(`Error: No such object: ${missing}`, 1);
}

function inspected(container: Container) {
  return {
    Name: `/${container.name}`,
    State: { Status: container.running ? 'running' : 'exited', Running: container.running },
    Mounts: container.mounts.map((mount) => ({
      Type: 'bind',
      Source: mount.source,
      Destination: mount.destination,
      Mode: '',
      RW: true,
      Propagation: 'rprivate',
    })),
  };
}

export function kubectl(root: string, words: readonly string[], write: (text: string) => void): number {
  const takes = [
    '-n',
    '--namespace',
    '-c',
    '--container',
    '--context',
    '--kubeconfig',
    '-o',
    '--output',
    '--request-timeout',
  ];
  const before = flags(words, takes);
  const [verb = '', ...more] = before.rest;
  const dashes = more.indexOf('--');
  const options = dashes === -1 ? more : more.slice(0, dashes);
  const plainWords: string[] = [];
  const set: Flags = before.flags;
  for (let rest = options; rest.length > 0;) {
    const parsed = flags(rest, takes);
    Object.assign(set.values, parsed.flags.values);
    set.interactive ||= parsed.flags.interactive;
    set.terminal ||= parsed.flags.terminal;
    if (parsed.rest[0] !== undefined) plainWords.push(parsed.rest[0]);
    rest = parsed.rest.slice(1);
  }
  const namespace = set.values['-n'] ?? set.values['--namespace'] ?? 'default';
  if (verb === 'get') return getPod(root, namespace, plainWords, write);
  if (verb !== 'exec') return complain(`error: unknown command "${verb}" for "kubectl"`, 1);
  if (dashes === -1) return complain('error: you must specify at least one command for the container', 1);
  const name = (plainWords[0] ?? '').replace(/^pods?\//, '');
  const pod = places(root).pods.find((one) => one.namespace === namespace && one.name === name);
  if (pod === undefined) return complain(`Error from server (NotFound): pods "${name}" not found`, 1);
  const container = set.values['-c'] ?? set.values['--container'] ?? pod.containers[0] ?? '';
  if (!pod.containers.includes(container)) {
    return complain(`Error from server (BadRequest): container ${container} is not valid for pod ${name}`, 1);
  }
  if (!pod.running)
    return complain('error: cannot exec into a container in a completed pod; current phase is Failed', 1);
  if (set.terminal && !isatty(0)) {
    process.stderr.write('Unable to use a TTY - input is not a terminal or the right kind of file\n');
  }
  const code = inside(
    root,
    more.slice(dashes + 1),
    set.interactive,
    (program) =>
      `error: Internal error occurred: error executing command in container: exec: "${program}": executable file not found in $PATH`,
  );
  if (code !== 0) process.stderr.write(`command terminated with exit code ${code}\n`);
  return code;
}

function getPod(root: string, namespace: string, words: readonly string[], write: (text: string) => void): number {
  const [kind = '', name = ''] = words[0]?.includes('/') === true ? words[0].split('/') : words;
  if (!/^(?:pods?|po)$/.test(kind)) return complain(`error: the server doesn't have a resource type "${kind}"`, 1);
  const pod = places(root).pods.find((one) => one.namespace === namespace && one.name === name);
  if (pod === undefined) return complain(`Error from server (NotFound): pods "${name}" not found`, 1);
  const document = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: pod.name, namespace: pod.namespace },
    spec: {
      containers: pod.containers.map((container) => ({
        name: container,
        volumeMounts: pod.claims.map((claim) => ({ name: claim.volume, mountPath: claim.mountPath })),
      })),
      volumes: pod.claims.map((claim) => ({ name: claim.volume, persistentVolumeClaim: { claimName: claim.claim } })),
    },
    status: {
      phase: pod.running ? 'Running' : 'Failed',
      containerStatuses: pod.containers.map((container) => ({ name: container, ready: pod.running })),
    },
  };
  write(`${JSON.stringify(document, undefined, 4)}\n`);
  return 0;
}
