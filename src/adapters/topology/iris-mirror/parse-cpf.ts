/** One `key=value` of a section, with the key as it is written. */
export interface Setting {
  readonly key: string;
  readonly value: string;
}

/** A section of a configuration parameter file (iris.cpf, cache.cpf), with its name as it is written. */
export interface Section {
  readonly name: string;
  /** By the key in lower case. The last one counts, as it does in the engine. */
  readonly settings: ReadonlyMap<string, Setting>;
}

/** By the section's name in lower case. Comments and lines that are no `key=value` are passed over. Never throws. */
export function parseCpf(text: string): ReadonlyMap<string, Section> {
  const sections = new Map<string, { readonly name: string; readonly settings: Map<string, Setting> }>();
  let settings = new Map<string, Setting>();
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    const name = /^\[(.+)\]$/.exec(line)?.[1];
    if (name !== undefined) {
      const section = sections.get(name.toLowerCase()) ?? { name, settings: new Map<string, Setting>() };
      sections.set(name.toLowerCase(), section);
      settings = section.settings;
      continue;
    }
    const equals = line.indexOf('=');
    if (equals <= 0 || /^[;#]/.test(line)) continue;
    const key = line.slice(0, equals).trim();
    settings.set(key.toLowerCase(), { key, value: line.slice(equals + 1).trim() });
  }
  return sections;
}
