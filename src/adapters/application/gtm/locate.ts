import { realpathSync, statSync } from 'node:fs';
import { StillpointError } from '../../../model/errors.ts';
import type { RequiredPath } from '../../../model/storage.ts';
import type { Located } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import type { GtmConfig } from './config.ts';
import { Gtm } from './engine.ts';
import { chooseKind } from './hold.ts';
import { memberNow } from './member.ts';
import type { Region } from './parse.ts';

const limitMs = 15_000;

/** Regions with the real paths of their files; the order is the engine's own. */
export async function regionsOf(gtm: Gtm, signal?: AbortSignal): Promise<readonly Region[]> {
  const regions = await gtm.regions({ limitMs, ...(signal === undefined ? {} : { signal }) });
  return regions.map((region) => ({ ...region, file: realpathSync(region.file) }));
}

/**
 * What recovery needs from under a hold is the database files alone: a frozen file is complete without its journal (freezing flushes
 * all buffers first). Journal files are therefore no required paths; they go their own way, for rolling forward.
 */
export async function locate(config: GtmConfig, platform: Platform, signal: AbortSignal): Promise<Located> {
  const gtm = await Gtm.open(config, platform, { limitMs, signal });
  const version = await gtm.version({ limitMs, signal });
  const regions = await regionsOf(gtm, signal);
  const created = await gtm.created(regions, { limitMs, signal });
  const names = regions.map((region) => region.name);
  const { states } = await gtm.states({ limitMs, signal }, names);
  const encrypted = states.find((state) => state.encrypted);
  if (encrypted !== undefined) {
    throw new StillpointError('database-file', `region ${encrypted.region} is encrypted, which is not supported`, {
      hint: 'see README.md of the adapter',
    });
  }
  const globalDirectory = realpathSync(config.globalDirectory);
  const owner = statSync(regions[0]?.file ?? globalDirectory);
  return {
    version,
    member: await memberNow(gtm, platform.host.name, regions, states, { limitMs, signal }),
    holdKind: 'writes-stopped',
    paths: [
      ...regions.map((region) => path(region.file, 'data', region.name)),
      path(globalDirectory, 'configuration', 'global-directory'),
      ...(config.replicationInstance === undefined
        ? []
        : [path(realpathSync(config.replicationInstance), 'external', 'replication-instance')]),
    ],
    bytes: regions.reduce((sum, region) => sum + statSync(region.file).size, 0),
    // A copy elsewhere shares the time of creation; the place tells them apart. A restore in place begins another history of the same
    // file, which only its inode tells: journals and levels of both would be taken for one chain.
    identity: regions
      .map(({ name, file }) => `${name}=${file}@${created.get(name) ?? ''}#${statSync(file).ino}`)
      .join(','),
    facts: {
      version,
      distribution: gtm.place.distribution,
      globalDirectory,
      regions: JSON.stringify(Object.fromEntries(regions.map((region) => [region.name, region.file]))),
      journals: JSON.stringify(
        Object.fromEntries(
          states.flatMap((state) => (state.journal === 'on' ? [[state.region, state.journalFile ?? '']] : [])),
        ),
      ),
      environment: JSON.stringify(config.environment),
      freeze: chooseKind(config.freeze, states, version),
      ownerUid: String(owner.uid),
      ownerGid: String(owner.gid),
    },
  };
}

function path(file: string, role: RequiredPath['role'], name: string): RequiredPath {
  return { path: file, role, name, kind: 'file', companions: [], leftOut: [] };
}
