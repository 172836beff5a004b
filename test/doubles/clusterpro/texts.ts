import type { World } from './world.ts';

/** `clpmdstat --mirror md1`, in the published form. */
export function mdstat(world: World): string {
  const { servers, mirror } = world.state;
  const row = (first: string, cells: readonly string[]): string =>
    `${first.padEnd(17)}${cells.map((cell) => cell.padEnd(21)).join('')}`.trimEnd();
  const lines = [
    `Mirror Status: ${world.status()}`,
    '',
    row(
      'md1',
      servers.map(({ name }) => name),
    ),
    '-'.repeat(60),
    row(
      'Mirror Color',
      servers.map((server) => world.colour(server)),
    ),
  ];
  if (mirror.recovering !== null) {
    const { from, to, endMs } = mirror.recovering;
    const left = Math.max(0, endMs - world.state.nowMs) / world.state.options.resyncMs;
    lines.push(
      '',
      '                 Recovery Status Value',
      'Status:          Recovering',
      `Direction:       src ${from}`,
      `                 dst ${to}`,
      `Percent:         ${Math.floor(100 * (1 - left))}%`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** `clpstat --long`. */
export function stat(world: World, local: string): string {
  const { servers, group } = world.state;
  const dotted = (name: string, status: string): string => `   ${`${name} `.padEnd(36, '.')}: ${status}`;
  const inner = (name: string, status: string, indent: number, more = ''): string =>
    `${' '.repeat(indent)}${name.padEnd(38 - indent)}: ${status.padEnd(17)}${more}`.trimEnd();
  const word = (service: boolean): string => (service ? 'Online' : 'Offline');
  return [
    ' ========================  CLUSTER STATUS  ===========================',
    '  Cluster : cluster1',
    '  <server>',
    ...servers.flatMap((server) => [
      dotted(`${server.name === local ? '*' : ' '}${server.name}`, word(server.service)),
      inner('lankhb1', server.service ? 'Normal' : 'Offline', 6, 'Kernel Mode LAN Heartbe'),
      inner('pingnp1', server.service ? 'Normal' : 'Offline', 6, 'ping resolution'),
    ]),
    '  <group>',
    dotted(' failover1', group.status),
    inner('current', group.current ?? 'None', 6),
    inner('md1', group.status, 6),
    '  <monitor>',
    ...world.monitors().map((monitor) => inner(monitor, world.monitor(monitor), 4)),
    ' =====================================================================',
    '',
  ].join('\n');
}

/** `clpstat -m`. */
export function monitorStat(world: World, local: string): string {
  const { servers } = world.state;
  return [
    ' ==================  MONITOR RESOURCE STATUS  ====================',
    '  Cluster : cluster1',
    ...servers.map(({ name }, index) => `  ${name === local ? '*' : ' '}server${index} : ${name}`),
    '',
    ...world
      .monitors()
      .flatMap((monitor, index) => [
        `  Monitor${index} [${monitor} : ${world.monitor(monitor)}]`,
        ' -----------------------------------------------------------------',
        ...servers.map(
          (server, at) => `    server${at} [${server.service ? 'o' : 'x'}] : ${world.monitorOn(monitor, server)}`,
        ),
        '',
      ]),
    ' =================================================================',
    '',
  ].join('\n');
}

/** What the kernel shows of the disks of one server. */
export function lsblk(world: World, name: string): string {
  const disks = world
    .attachedTo(world.server(name))
    .flatMap(({ attachment }) => (attachment === null ? [] : [attachment.device.replace('/dev/sd', 'xvd')]))
    .toSorted((a, b) => (a < b ? -1 : 1));
  return `${[
    'NAME    MAJ:MIN RM SIZE RO TYPE MOUNTPOINT',
    'xvda    202:0    0  10G  0 disk',
    '├─xvda1 202:1    0   1M  0 part',
    '└─xvda2 202:2    0  10G  0 part /',
    ...disks.flatMap((disk) => [
      `${disk}    202:16   0  20G  0 disk`,
      `├─${disk}1 202:17   0   1G  0 part`,
      `└─${disk}2 202:18   0  19G  0 part`,
    ]),
  ].join('\n')}\n`;
}

/** `lsblk --json --paths --output NAME,TYPE,SERIAL`, of disks that tell their volume. */
export function lsblkJson(world: World, name: string): string {
  const part = (path: string): object => ({ name: path, type: 'part', serial: null });
  const disks = world.attachedTo(world.server(name)).map(({ id, attachment }) => {
    const path = (attachment?.device ?? '').replace('/dev/sd', '/dev/xvd');
    const children = [part(`${path}1`), part(`${path}2`)];
    return { name: path, type: 'disk', serial: id.replaceAll('-', ''), children };
  });
  const root = { name: '/dev/xvda', type: 'disk', serial: null, children: [part('/dev/xvda1'), part('/dev/xvda2')] };
  return `${JSON.stringify({ blockdevices: [root, ...disks] })}\n`;
}
