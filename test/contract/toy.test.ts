import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/platform/clock.ts';
import { decodeRows, encodeRow, ToyApplication, toyFiles, writeRow } from '../doubles/toy-application.ts';
import { applicationContract } from './application.ts';

applicationContract('toy', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sp-toy-'));
  await writeFile(join(directory, toyFiles.rows), encodeRow(0));
  return {
    application: () => new ToyApplication({ directory, fault: 'none' }, systemClock),
    elsewhere: {
      module: new URL('../doubles/toy-application.ts', import.meta.url).href,
      exportName: 'toy',
      config: { directory },
    },
    write: (row) => writeRow(directory, toyFiles.rows, row),
    read: async (copy) => {
      const rows = decodeRows(await readFile(copy.at(copy.required[0]?.path ?? '')));
      return rows.filter((row) => row !== undefined);
    },
    damage: async (copy) => {
      const handle = await open(copy.at(copy.required[0]?.path ?? ''), 'r+');
      await handle.write(Buffer.from('damage'), 0, 6, 32);
      await handle.close();
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
});
