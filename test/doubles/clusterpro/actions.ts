import type { Server } from './state.ts';
import type { World } from './world.ts';

export interface Answer {
  readonly out: string;
  readonly err?: string;
  readonly code: number;
}

const good = (lines: readonly string[]): Answer => ({ out: `${lines.join('\n')}\n`, code: 0 });
const bad = (lines: readonly string[], code = 1): Answer => ({ out: `${lines.join('\n')}\n`, code });

export interface PhaseOptions {
  readonly 'no-shutdown'?: boolean;
  readonly 'no-reboot'?: boolean;
  readonly 'skip-copy'?: boolean;
}

/** `clpbackup.sh --pre`: the mirror must be broken on this side, and the group elsewhere. */
export function backupPre(world: World, server: Server, options: PhaseOptions): Answer {
  const begin = 'clpbackup.sh : Beginning backup-mode.';
  if (
    world.state.group.current === server.name ||
    world.colour(server) !== 'RED' ||
    world.volumeOf(server) === undefined
  )
    return bad([begin, 'The status of md1 is invalid.', 'clpbackup.sh : Command failed.']);
  world.changeCluster(server, (partition) => void (partition.backup = true));
  server.startup = 'manual';
  const lines = [
    begin,
    'All backup flags have set to <ON>.',
    'clpbackup.sh : Changing the setting of cluster services to Manual Startup.',
  ];
  if (options['no-shutdown'] === true) return good([...lines, 'clpbackup.sh : Command succeeded.']);
  world.shutDown(server);
  return good([...lines, 'clpbackup.sh : Shutting down...', 'Command succeeded.', 'clpbackup.sh : Command succeeded.']);
}

export function backupPost(world: World, server: Server, options: PhaseOptions): Answer {
  const agent = ['clpbackup.sh : Starting Mirror Agent.', 'Command succeeded.'];
  if (server.service || !world.backupMode(server)) {
    if (world.volumeOf(server) === undefined) world.destroyPartitions(server);
    return bad([...agent, 'clpbackup.sh : Command failed.']);
  }
  world.changeCluster(server, (partition) => void (partition.backup = false));
  server.startup = 'auto';
  const lines = [
    ...agent,
    'clpbackup.sh : Ending backup-mode.',
    'All backup flags have set to <OFF>.',
    'clpbackup.sh : Changing the setting of cluster services to Auto Startup.',
    'clpbackup.sh : Stopping Mirror Agent.',
    'Command succeeded.',
  ];
  if (options['no-reboot'] === true) return good([...lines, 'clpbackup.sh : Command succeeded.']);
  world.startBoot(server, false);
  return good([...lines, 'clpbackup.sh : Rebooting...']);
}

export function restorePre(world: World, server: Server, options: PhaseOptions): Answer {
  server.startup = 'manual';
  const line = 'clprestore.sh : Changing the setting of cluster services to Manual Startup.';
  if (options['no-shutdown'] === true) return good([line, 'clprestore.sh : Command succeeded.']);
  world.shutDown(server);
  return good([line, 'clprestore.sh : Shutting down...', 'Command succeeded.', 'clprestore.sh : Command succeeded.']);
}

export function restorePost(world: World, server: Server, options: PhaseOptions): Answer {
  if (world.state.options.initialConstruction)
    return bad([
      'clprestore.sh : "Execute initial mirror construction" of md1 is on.',
      'clprestore.sh : Command failed.',
    ]);
  if (server.service)
    return bad(['clprestore.sh : The cluster services are running.', 'clprestore.sh : Command failed.']);
  if (world.volumeOf(server) === undefined) {
    world.destroyPartitions(server);
    return bad(['The main handle on initializing mirror disk <md1> failed.', 'clprestore.sh : Command failed.']);
  }
  const skipCopy = options['skip-copy'] === true;
  world.changeCluster(server, (partition) =>
    // Nothing of the content is compared: two sides that were promised to be equal are taken for equal.
    Object.assign(partition, { generation: 0, by: '', backup: false, initial: !skipCopy }),
  );
  server.startup = 'auto';
  const lines = [
    'Mirror info will be set as default.',
    'The main handle on initializing mirror disk <md1> success.',
    'Initializing mirror disk complete.',
    'clprestore.sh : Changing the setting of cluster services to Auto Startup.',
  ];
  if (options['no-reboot'] === true) return good([...lines, 'clprestore.sh : Command succeeded.']);
  world.startBoot(server, false);
  return good([...lines, 'clprestore.sh : Rebooting...']);
}

/** `clpmdctrl --break`: isolates the side on which it is called; the other one is the newer from now on. */
export function breakMirror(world: World, server: Server): string | undefined {
  const other = world.other(server.name);
  if (world.status() !== 'Normal' || world.state.group.current === server.name) return 'The status of md1 is invalid.';
  world.diverge(other);
  return undefined;
}

export function suspend(world: World, monitor: string, server: Server): string | undefined {
  if (!world.monitors().includes(monitor)) return `Specified monitor resource(${monitor}) does not exist.`;
  if (!world.isUp(server)) return `Specified server(${server.name}) is not online.`;
  if (!server.suspended.includes(monitor)) server.suspended.push(monitor);
  return undefined;
}

export function resume(world: World, monitor: string, server: Server): string | undefined {
  if (!world.monitors().includes(monitor)) return `Specified monitor resource(${monitor}) does not exist.`;
  if (!world.isUp(server)) return `Specified server(${server.name}) is not online.`;
  server.suspended = server.suspended.filter((each) => each !== monitor);
  return undefined;
}

/** `2m`, `3h`, `4d`. */
export function milliseconds(time: string): number {
  const [, count = '', unit = ''] = /^(\d+)([mhd])$/.exec(time) ?? [];
  return Number(count) * ({ m: 60_000, h: 3_600_000, d: 86_400_000 }[unit] ?? Number.NaN);
}

/** Done when its time has come, by `advance`. */
export function runJob(world: World, server: Server): void {
  if (server.job === null || server.power !== 'running') return;
  const { kind, status } = server.job;
  const { phase, options } = JSON.parse(status.replace(/^running /, '')) as {
    readonly phase: 'pre' | 'post';
    readonly options: PhaseOptions;
  };
  const act =
    kind === 'backup' ? (phase === 'pre' ? backupPre : backupPost) : phase === 'pre' ? restorePre : restorePost;
  const { out } = act(world, server, options);
  server.job = { kind, status: out.trimEnd().split('\n').at(-1) ?? '' };
}
