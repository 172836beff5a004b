import type { Config } from './config.ts';

export type Argv = readonly [string, ...string[]];

export const runTag = 'stillpoint-run';
export const serverTag = 'stillpoint-server';

/** Options stand behind the verb, as the program takes them anywhere. */
function ec2(settings: Pick<Config, 'region' | 'profile'>, verb: string, ...rest: readonly string[]): Argv {
  const { region, profile } = settings;
  return [
    'aws',
    'ec2',
    verb,
    ...rest,
    ...(region === undefined ? [] : ['--region', region]),
    ...(profile === undefined ? [] : ['--profile', profile]),
    ...['--output', 'json'],
  ];
}

type Where = Pick<Config, 'region' | 'profile'>;

function tags(type: 'snapshot' | 'volume', all: Readonly<Record<string, string>>): readonly string[] {
  const listed = Object.entries(all).map(([key, value]) => `{Key=${key},Value=${value}}`);
  return ['--tag-specifications', `ResourceType=${type},Tags=[${listed.join(',')}]`];
}

const filter = (key: string, value: string): string => `Name=tag:${key},Values=${value}`;

export const describeInstance = (where: Where, id: string): Argv =>
  ec2(where, 'describe-instances', '--instance-ids', id);
export const startInstance = (where: Where, id: string): Argv => ec2(where, 'start-instances', '--instance-ids', id);
export const stopInstance = (where: Where, id: string): Argv => ec2(where, 'stop-instances', '--instance-ids', id);
export const consoleOutput = (where: Where, id: string): Argv =>
  ec2(where, 'get-console-output', '--latest', '--instance-id', id);

export const createSnapshot = (where: Where, volume: string, run: string): Argv => [
  ...ec2(where, 'create-snapshot', '--volume-id', volume, '--description', `stillpoint ${run}`),
  ...tags('snapshot', { [runTag]: run }),
];
export const snapshotsOf = (where: Where, run: string): Argv =>
  ec2(where, 'describe-snapshots', '--owner-ids', 'self', '--filters', filter(runTag, run));
/** A filter, for an id that is gone is an error otherwise. */
export const snapshotById = (where: Where, id: string): Argv =>
  ec2(where, 'describe-snapshots', '--owner-ids', 'self', '--filters', `Name=snapshot-id,Values=${id}`);
export const deleteSnapshot = (where: Where, id: string): Argv => ec2(where, 'delete-snapshot', '--snapshot-id', id);

export const createVolume = (
  where: Where & Pick<Config, 'volumeType'>,
  snapshot: string,
  zone: string,
  run: string,
  server: string,
): Argv => [
  ...ec2(where, 'create-volume', '--snapshot-id', snapshot, '--availability-zone', zone),
  ...['--volume-type', where.volumeType],
  ...tags('volume', { [runTag]: run, [serverTag]: server }),
];
export const volumesOf = (where: Where, run: string, server: string): Argv =>
  ec2(where, 'describe-volumes', '--filters', filter(runTag, run), filter(serverTag, server));
export const volumesFrom = (where: Where, snapshot: string): Argv =>
  ec2(where, 'describe-volumes', '--filters', `Name=snapshot-id,Values=${snapshot}`);
export const deleteVolume = (where: Where, id: string): Argv => ec2(where, 'delete-volume', '--volume-id', id);
export const detachVolume = (where: Where, id: string, instance: string): Argv =>
  ec2(where, 'detach-volume', '--volume-id', id, '--instance-id', instance);
export const attachVolume = (where: Where, id: string, instance: string, device: string): Argv =>
  ec2(where, 'attach-volume', '--volume-id', id, '--instance-id', instance, '--device', device);

const fast = (where: Where, verb: string, snapshot: string, zones: readonly string[]): Argv =>
  ec2(where, verb, '--availability-zones', ...zones, '--source-snapshot-ids', snapshot);
export const enableFast = (where: Where, snapshot: string, zones: readonly string[]): Argv =>
  fast(where, 'enable-fast-snapshot-restores', snapshot, zones);
export const disableFast = (where: Where, snapshot: string, zones: readonly string[]): Argv =>
  fast(where, 'disable-fast-snapshot-restores', snapshot, zones);
export const fastStates = (where: Where, snapshot: string): Argv =>
  ec2(where, 'describe-fast-snapshot-restores', '--filters', `Name=snapshot-id,Values=${snapshot}`);
