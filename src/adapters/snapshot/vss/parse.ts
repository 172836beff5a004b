import { StillpointError } from '../../../model/errors.ts';

const guid = String.raw`\{[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}`;

/** The ids of shadow copies by the aliases of our script. All else in a log is words, in the language of that Windows. */
export function parseLog(log: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const [, id = '', alias = ''] of log.matchAll(new RegExp(`(${guid})[ \\t]+%(sp_[0-9a-f]+)%`, 'g'))) {
    found.set(alias, id.toLowerCase());
  }
  return found;
}

/** Codes of "Error codes" in the documentation of VSS (vsserror.h), which no language changes, in words and with what to do. */
const meanings: Readonly<Record<string, readonly [said: string, hint: string]>> = {
  '80042304': ['a provider is not registered', 'see `vssadmin list providers`'],
  '80042306': [
    'the provider vetoed the shadow copy',
    'see the events of VolSnap and VSS, and `vssadmin list shadowstorage`',
  ],
  '8004230c': ['the volume cannot have shadow copies', 'only NTFS and ReFS volumes of this machine can'],
  '8004230f': ['the provider failed unexpectedly', 'see the events of VSS and of the provider'],
  '80042312': ['there are too many volumes in one set', 'at most 64 are possible'],
  '80042313': ['the file systems could not be flushed in time', 'back up when the disks are less busy'],
  '80042314': ['writes could not be held in time', 'back up when the disks are less busy'],
  '80042316': ['another shadow copy is being made', 'wait for the other backup; two cannot run at a time'],
  '80042317': ['the volume has as many shadow copies as it can', 'see `vssadmin list shadows`'],
  '8004231f': [
    'there is too little room for the shadow copy',
    'see `vssadmin list shadowstorage` and `vssadmin resize shadowstorage`',
  ],
  '800423f0': ['a writer needs volumes that are not in the set', 'add them under `volumes`'],
  '800423f1': ['a writer is out of resources', 'wait some minutes and try again'],
  '800423f2': [
    'a writer did not freeze or thaw in time (60 s)',
    'back up when it is less busy; see `vssadmin list writers`',
  ],
  '800423f3': ['a writer failed for a passing reason', 'try again; see `vssadmin list writers`'],
  '800423f4': ['a writer failed', 'see the events of that application and `vssadmin list writers`'],
  '80070005': ['access was denied', elevated()],
};

function elevated(): string {
  return 'log in as a member of Administrators: SSH sessions of such users have full rights, others have not';
}

/** Why diskshadow failed, as far as its output tells in every language: by codes, or by words that stand in code. */
export function whyNot(output: string): { readonly said: string; readonly hint: string } {
  for (const [, code = ''] of output.matchAll(/0x([0-9a-fA-F]{8})/g)) {
    const meaning = meanings[code.toLowerCase()];
    if (meaning !== undefined) return { said: `${meaning[0]} (0x${code.toLowerCase()})`, hint: meaning[1] };
  }
  if (output.includes('InitializeForBackup')) return { said: 'VSS refused the user', hint: elevated() };
  const last = output.trim().split(/\r?\n/).slice(-4).join('; ');
  return { said: last === '' ? 'diskshadow said nothing' : last, hint: 'run diskshadow by hand on that machine' };
}

export interface Writer {
  readonly name: string;
  readonly id: string;
  /** As VSS_WRITER_STATE counts: 1 stable, 2 to 5 waiting in a backup, 6 and above failed at some step, 0 unknown. */
  readonly state: number;
  readonly lastError: string;
  readonly isWell: boolean;
}

const errorsInEnglish =
  /^(?:No error|Timed out|Retryable error|Non-retryable error|Inconsistent shadow copy|Out of resources|Unexpected error|.*\b(?:error|failed|writer)\b.*)$/i;

/**
 * `vssadmin list writers`. Names of fields are not read, but the last error has no number: a Windows that does not say "No error" is
 * refused, for a failed writer would pass as a sound one. Throws `command-failed` also if there is no writer at all.
 */
export function parseWriters(output: string): readonly Writer[] {
  const block = new RegExp(
    String.raw`^\S[^'\n]*'([^\n]*)'\s*\n[^\n]*(${guid})\s*\n[^\n]*${guid}\s*\n[^\n]*\[(\d+)\][^\n]*\n[^:：\n]*[:：][ \t]*([^\n]*?)[ \t]*$`,
    'gm',
  );
  const text = output.replaceAll('\r\n', '\n');
  const writers = [...text.matchAll(block)].map(([, name = '', id = '', state = '', lastError = '']) => ({
    name,
    id: id.toLowerCase(),
    state: Number(state),
    lastError,
    isWell: Number(state) >= 1 && Number(state) <= 5 && /^No error$/i.test(lastError),
  }));
  const states = text.match(/\[\d+\]/g) ?? [];
  if (writers.length === 0 || writers.length !== states.length) {
    throw new StillpointError('command-failed', '`vssadmin list writers` printed what is not understood', {
      hint: 'run it by hand on that machine: it must list all writers with their states, and needs full rights',
    });
  }
  const foreign = writers.find(({ lastError }) => !errorsInEnglish.test(lastError));
  if (foreign !== undefined) {
    throw new StillpointError(
      'command-failed',
      `the Windows machine does not speak English: ${foreign.name} says ${foreign.lastError}`,
      {
        hint: 'set the display language of the account that is used for backups to English; the state of writers cannot be read otherwise',
      },
    );
  }
  return writers;
}

export interface Shadow {
  readonly id: string;
  readonly set: string;
  /** `\\?\Volume{...}\`, in lower case. */
  readonly originalVolume: string;
}

/** `vssadmin list shadows`. No shadow copies at all is no GUID at all. */
export function parseShadows(output: string): readonly Shadow[] {
  const shadows: Shadow[] = [];
  let set = '';
  let id = '';
  for (const line of output.split(/\r?\n/)) {
    const last = new RegExp(`(${guid})\\s*$`).exec(line)?.[1]?.toLowerCase();
    const volume = /\\\\\?\\Volume\{[0-9a-fA-F-]{36}\}\\/.exec(line)?.[0].toLowerCase();
    if (volume !== undefined && id !== '') {
      shadows.push({ id, set, originalVolume: volume });
      id = '';
    } else if (last !== undefined && /^\S/.test(line)) set = last;
    else if (last !== undefined) id = last;
  }
  return shadows;
}

export interface KeptLog {
  readonly label: string;
  readonly attempt: string;
  readonly log: string;
}

/** What our own script `listLogs` prints. */
export function parseLogs(output: string): readonly KeptLog[] {
  return output
    .split(/\r?\n/)
    .filter((line) => line !== '')
    .map((line) => {
      const found = /^log (stillpoint-\S+) \[([0-9a-f]*)\] ([A-Za-z0-9+/=]*)$/.exec(line);
      if (found === null) {
        throw new StillpointError(
          'command-failed',
          `a list of logs holds a line that is not understood: ${line.slice(0, 200)}`,
          {
            hint: 'look into the directory of the setting `directory` on the Windows machine',
          },
        );
      }
      const [, label = '', attempt = '', log = ''] = found;
      return { label, attempt, log: Buffer.from(log, 'base64').toString('utf8') };
    });
}
