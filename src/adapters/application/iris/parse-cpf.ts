/** A configuration parameter file (iris.cpf, cache.cpf): what of it says where files lie. */
export interface Cpf {
  readonly databases: readonly { readonly name: string; readonly directory: string; readonly remote: boolean }[];
  readonly currentJournalDirectory: string;
  readonly alternateJournalDirectory: string;
  readonly journalPrefix: string;
  /** Empty: the manager's directory. */
  readonly wijDirectory: string;
  /** Empty: messages.log or cconsole.log in the manager's directory. */
  readonly console: string;
}

/** Values as written, sections and keys without regard to case. Lines that are no `key=value` are passed over: most of a CPF is not ours. */
export function parseSections(text: string): ReadonlyMap<string, readonly (readonly [string, string])[]> {
  const sections = new Map<string, (readonly [string, string])[]>();
  let current: (readonly [string, string])[] = [];
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    const section = /^\[(.+)\]$/.exec(line);
    if (section !== null) {
      const name = (section[1] as string).toLowerCase();
      current = sections.get(name) ?? [];
      sections.set(name, current);
      continue;
    }
    const equals = line.indexOf('=');
    if (equals > 0 && !/^[;#]/.test(line)) current.push([line.slice(0, equals).trim(), line.slice(equals + 1).trim()]);
  }
  return sections;
}

export function parseCpf(text: string): Cpf {
  const sections = parseSections(text);
  const value = (section: string, key: string): string =>
    sections.get(section)?.findLast(([name]) => name.toLowerCase() === key)?.[1] ?? '';
  const databases = (sections.get('databases') ?? []).map(([name, setting]) => {
    // NAME=directory,server,mounting...: a second field names the ECP server that has the files.
    const [directory = '', server = ''] = setting.split(',').map((part) => part.trim());
    return { name, directory: trimmed(directory), remote: server !== '' };
  });
  return {
    databases: databases.filter(({ directory }) => directory !== ''),
    currentJournalDirectory: trimmed(value('journal', 'currentdirectory')),
    alternateJournalDirectory: trimmed(value('journal', 'alternatedirectory')),
    journalPrefix: value('journal', 'journalfileprefix'),
    wijDirectory: trimmed(value('config', 'wijdir')),
    // CPF keeps `console=file,mode`; the file is empty unless it was moved.
    console: (value('config', 'console').split(',')[0] as string).trim(),
  };
}

function trimmed(directory: string): string {
  return directory.length > 1 ? directory.replace(/[/\\]+$/, '') : directory;
}
