import { z } from 'zod';
import { secretSetting } from './secret-setting.ts';

/** How one server of MariaDB is reached: the same settings wherever a configuration names one. */
export const mariadbPlace = z
  .strictObject({
    host: z
      .string()
      .min(1)
      .default('/run/mysqld/mysqld.sock')
      .describe('File of the Unix socket, or the host name or address of this one server; never one that moves.'),
    port: z.int().min(1).max(65_535).default(3306).describe('Port; a Unix socket has none.'),
    user: z.string().min(1).default('root').describe('Account that asks.'),
    password: secretSetting.optional(),
  })
  .describe('How the server of this member is reached.');

export type MariadbPlace = z.output<typeof mariadbPlace>;
