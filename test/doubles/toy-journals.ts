import { appendFile, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StillpointError } from '../../src/model/errors.ts';
import type { JournalFile, RecoveryTarget } from '../../src/model/journal.ts';
import type { Finding } from '../../src/model/point.ts';
import type { Copy } from '../../src/ports/application.ts';
import type { JournalNeed, Journals, PlacedJournal } from '../../src/ports/journals.ts';
import {
  beginJournals,
  encodeRow,
  journalNames,
  locked,
  partsOf,
  readRows,
  toyFiles,
  type ToyConfig,
} from './toy-files.ts';

/** Text: `<rows before it> <when it began>`, then a line of `<row> <ms>` for each change. */
interface Content {
  readonly begin: number;
  readonly beganAt: string;
  readonly changes: readonly { readonly row: number; readonly atMs: number }[];
}

async function read(path: string): Promise<Content> {
  const [head = '', ...lines] = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const [begin = '', beganAt = ''] = head.split(' ');
  const changes = lines.map((line) => {
    const [row, atMs] = line.split(' ').map(Number);
    return { row: row ?? Number.NaN, atMs: atMs ?? Number.NaN };
  });
  return { begin: Number(begin), beganAt, changes };
}

/** The journal of the toy: real files, one chain a part, positions counted in rows. */
export class ToyJournals implements Journals {
  readonly #config: ToyConfig;

  constructor(config: ToyConfig) {
    this.#config = config;
  }

  async list(): Promise<readonly JournalFile[]> {
    const { directory } = this.#config;
    return await locked(directory, async () => {
      const files: JournalFile[] = [];
      for (const part of partsOf(this.#config)) {
        const names = await journalNames(directory, part);
        for (const { name, path } of names) {
          const { begin, beganAt, changes } = await read(path);
          const last = changes.at(-1);
          const closed = {
            end: String(begin + changes.length),
            endedAt: last === undefined ? beganAt : new Date(last.atMs).toISOString(),
          };
          const bytes = (await stat(path)).size;
          files.push({
            part,
            name,
            path,
            begin: String(begin),
            beganAt,
            bytes,
            ...(name === names.at(-1)?.name ? {} : closed),
          });
        }
      }
      return files;
    });
  }

  async switch(): Promise<void> {
    await locked(this.#config.directory, async () => {
      await beginJournals(this.#config.directory, partsOf(this.#config));
    });
  }

  async needed(): Promise<readonly JournalNeed[]> {
    const text = await readFile(join(this.#config.directory, toyFiles.needed), 'utf8').catch(() => '[]');
    return JSON.parse(text) as readonly JournalNeed[];
  }

  async remove(file: JournalFile): Promise<void> {
    const open = (await journalNames(this.#config.directory, file.part)).at(-1);
    if (open?.name === file.name) throw new StillpointError('io', `${file.name} is still written to`);
    await rm(file.path, { force: true });
  }

  async rollForward(copy: Copy, files: readonly PlacedJournal[], target: RecoveryTarget): Promise<readonly Finding[]> {
    const until = target.kind === 'time' ? Date.parse(target.at) : Number.POSITIVE_INFINITY;
    let applied = 0;
    for (const { file, at } of files) {
      const rows = copy.at(copy.required.find((path) => path.name === file.part)?.path ?? '');
      const { begin, changes } = await read(at);
      const there = (await readRows(rows)).length;
      if (this.#config.fault === 'refuses-journal' || begin > there) {
        const why = `the journal begins at ${begin}, the copy has ${there} rows`;
        throw new StillpointError('journal-misfit', `${file.name} was refused: ${why}`, {
          hint: 'ship the journal again',
        });
      }
      const missing = changes.slice(there - begin).filter((change) => change.atMs <= until);
      await appendFile(rows, Buffer.concat(missing.map((change) => encodeRow(change.row))));
      applied += missing.length;
    }
    return [
      { severity: 'info', check: 'journal', said: `${applied} changes of ${files.length} files`, value: applied },
    ];
  }
}
