import { z } from 'zod';
import { secretSetting } from './secret-setting.ts';

/** How one server of MongoDB is reached. */
export const mongodbPlace = z
  .strictObject({
    host: z
      .string()
      .regex(/^[A-Za-z0-9_.:-]+$/, { error: 'must be one host name or address, without port or user' })
      .describe('Host name or address of this one server; never one that moves, no list and no URI.'),
    port: z.int().min(1).max(65_535).default(27_017).describe('Port of that server; it has no socket file here.'),
  })
  .describe('How the server of this member is reached.');

/** The account that asks, and TLS: the same for all servers of a set. */
export const mongodbAccess = {
  user: z.string().min(1).optional().describe('Account that asks; none where the servers run without access control.'),
  password: secretSetting.optional(),
  authSource: z.string().min(1).default('admin').describe('Database in which the account is defined.'),
  tls: z
    .strictObject({
      ca: z
        .string()
        .startsWith('/')
        .optional()
        .describe('File of the CA that signed the certificates. The system’s if absent.'),
      certificate: z
        .string()
        .startsWith('/')
        .optional()
        .describe('File of our own certificate and its key without a passphrase, both in PEM.'),
    })
    .optional()
    .describe('Encrypts the connections. Certificates and their names are always checked.'),
};

export type MongodbPlace = z.output<typeof mongodbPlace>;

const access = z.object(mongodbAccess);
export type MongodbAccess = z.output<typeof access>;
