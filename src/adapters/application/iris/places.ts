import { basename, isAbsolute, join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { Control } from './control.ts';
import { type Cpf, parseCpf } from './parse-cpf.ts';
import type { Instance } from './parse-instances.ts';

/** Where the files of one instance lie. As written: links are resolved by `locate` only. */
export interface Places {
  readonly instance: Instance;
  readonly cpfFile: string;
  readonly cpf: Cpf;
  readonly manager: string;
  /** messages.log, or cconsole.log of Caché. */
  readonly console: string;
}

export function managerOf(instance: Instance): string {
  return join(instance.dataDirectory, 'mgr');
}

/** `PRODUCT` is blank in releases before IRIS, and their file is cache.cpf. */
export function isCache(instance: Instance): boolean {
  return instance.product === '' && basename(instance.cpf).startsWith('cache');
}

export async function placesOf(control: Control, instance: Instance): Promise<Places> {
  const cpfFile = isAbsolute(instance.cpf) ? instance.cpf : join(instance.dataDirectory, instance.cpf || 'iris.cpf');
  const text = await control.read(cpfFile);
  if (text === undefined) {
    throw new StillpointError('database-file', `${cpfFile} of ${instance.name} cannot be read`, {
      hint: 'run as the owner of the instance: set application.iris.user',
    });
  }
  const cpf = parseCpf(text);
  if (cpf.databases.length === 0) {
    throw new StillpointError('database-file', `${cpfFile} of ${instance.name} names no database`, {
      hint: 'look whether it is the file that `iris list` shows',
    });
  }
  const manager = managerOf(instance);
  const usual = join(manager, isCache(instance) ? 'cconsole.log' : 'messages.log');
  const console = cpf.console === '' ? usual : absolute(cpf.console, manager);
  return { instance, cpfFile, cpf, manager, console };
}

/** A relative directory of the CPF is relative to the manager's directory. */
export function absolute(directory: string, manager: string): string {
  return isAbsolute(directory) ? directory : join(manager, directory);
}

/** Where the instance keeps its journal files; below the manager's directory unless the CPF says otherwise. */
export function journalDirectories({ cpf, manager }: Places): readonly string[] {
  const named = [cpf.currentJournalDirectory, cpf.alternateJournalDirectory].filter((each) => each !== '');
  const all = (named.length === 0 ? ['journal'] : named).map((each) => absolute(each, manager));
  return [...new Set(all)];
}

/** One log a hold and instance: what stands in it was written under this hold, and a file that is not there means a hold that never came here. */
export function logName(runId: string, instance: string): string {
  return `stillpoint-${runId.replace(/[^A-Za-z0-9_.-]/g, '_')}-${instance}.log`;
}

export function logDirectoryOf(control: Control, instance: Instance): string {
  return control.config.logDirectory ?? managerOf(instance);
}
