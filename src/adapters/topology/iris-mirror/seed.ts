import { chmod, lstat, mkdir, rename, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Seeded, SeedRequest } from '../../../ports/topology.ts';
import type { Catalogue, Instance, Refusal } from './instance.ts';
import { directoryIn } from './parse-lists.ts';
import { type SeedDatabase, seedScript } from './seed-script.ts';

/**
 * Steps that put a restored copy into a member, as a script beside the copy: the databases are activated and caught up by the member's own
 * running engine, in the mirror that it already belongs to, and that is for a person to begin. The cluster is asked and not changed.
 */
export async function memberFromCopy(
  mirror: string,
  request: SeedRequest,
  instances: readonly Instance[],
  leader: string | undefined,
  signal: AbortSignal,
): Promise<Seeded> {
  const find = (wanted: string | undefined): Instance | undefined => instances.find(({ name }) => name === wanted);
  const [to, primary] = [find(request.member), find(leader)];
  if (to === undefined) {
    throw new StillpointError('config-invalid', `${request.member} is no instance in the configuration`, {
      hint: `name it under topology.iris-mirror.instances, with its instance and member`,
    });
  }
  if (primary === undefined) {
    throw new StillpointError('role-unsuitable', `no configured instance is primary of ${mirror}`, {
      hint: 'see `stillpoint mirror status`',
    });
  }
  const catalogue = orThrow(primary, await primary.catalogue(mirror, signal));
  if (catalogue.databases.length === 0) {
    throw new StillpointError('role-unsuitable', `${mirror} has no mirrored database`, {
      hint: 'add databases to the mirror at the primary first',
    });
  }
  const files = await Promise.all(instances.map((each) => each.configuration(signal)));
  const own = files[instances.indexOf(to)];
  const databases = await Promise.all(
    catalogue.databases.map(async ({ name, directory }) => {
      const known = files.flatMap((cpf) => (typeof cpf === 'string' ? (directoryIn(cpf, name) ?? []) : []));
      const source = await inCopy(request, name, [directory, ...known]);
      const there = typeof own === 'string' ? directoryIn(own, name) : undefined;
      return { name, ...source, directory: there ?? directory };
    }),
  );
  const said = [
    `${databases.length === 1 ? 'the database' : 'the databases'} ${databases.map(({ name }) => name).join(', ')} of ${mirror}, into ${databases.map(({ directory }) => directory).join(', ')}`,
    await journalSaid(request, primary, catalogue, signal),
    'users, tasks, namespaces and whatever else a mirror does not replicate stay as they are on the member: see `stillpoint mirror diff`',
    'not yet tried on a real mirror: read the script first',
  ];
  const script = await write(request, {
    ...{ mirror, member: request.member, instance: to.instance, databases },
    kind: await to.kind(),
  });
  return { said, next: `sh ${script}` };
}

function orThrow({ name }: Instance, answer: Catalogue | Refusal): Catalogue {
  if (!('said' in answer)) return answer;
  throw new StillpointError('cluster-unknown', `${name} does not tell its mirrored databases: ${answer.said}`, {
    hint: 'see `stillpoint mirror status`',
  });
}

/** `directories`: where members have it. The point is of one of them. */
async function inCopy(
  { at }: SeedRequest,
  name: string,
  directories: readonly string[],
): Promise<Pick<SeedDatabase, 'file' | 'copy'>> {
  for (const directory of directories) {
    for (const file of ['IRIS.DAT', 'CACHE.DAT']) {
      const copy = at(join(directory, file));
      const found = await lstat(copy).catch(() => undefined);
      if (found?.isFile() === true) return { file, copy };
    }
  }
  throw new StillpointError('point-incomplete', `the point holds no database file of ${name}`, {
    hint: `looked for it under ${[...new Set(directories)].join(', ')}; make a point that holds the database`,
  });
}

/** Journals of a mirror have one name on all members; those of a member alone say nothing about others. */
async function journalSaid(
  { journal }: SeedRequest,
  primary: Instance,
  { journals }: Catalogue,
  signal: AbortSignal,
): Promise<string> {
  const file = journal === null ? '' : basename(journal.file);
  if (!/^(?:.*)MIRROR-/.test(file)) {
    return `whether ${primary.name} still has all journals since the backup was not checked: the point names no journal file of the mirror`;
  }
  if (
    await primary.hasFile(
      journals.map((directory) => join(directory, file)),
      signal,
    )
  ) {
    return `${primary.name} still has ${file}, which the copy needs first`;
  }
  throw new StillpointError('journal-gap', `${primary.name} does not have the journal file ${file} any more`, {
    hint: 'make a new point and seed from that',
  });
}

async function write(request: SeedRequest, script: Parameters<typeof seedScript>[0]): Promise<string> {
  const directory = join(request.at('/'), `member-${request.member.replaceAll(/[^A-Za-z0-9_.-]/g, '_')}`);
  const file = join(directory, 'join.sh');
  try {
    await mkdir(directory, { recursive: true });
    await writeFile(`${file}.new`, seedScript(script), { mode: 0o755 });
    await chmod(`${file}.new`, 0o755);
    await rename(`${file}.new`, file);
  } catch (cause) {
    throw new StillpointError('io', `${file} cannot be written: ${messageOf(cause)}`, {
      hint: 'run as root, or as a user who may write there',
      cause,
    });
  }
  return file;
}
