import assert from 'node:assert/strict';
import { it } from 'node:test';
import { config } from './config.ts';

const members = { db1: { host: 'db1.example' }, db2: { host: '::1', port: 27_018, as: 'db2.internal:27017' } };
const refused = (settings: unknown): string => {
  const parsed = config.safeParse(settings);
  assert.equal(parsed.success, false);
  return parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
};

it('fills in ports and the database of the account', () => {
  const parsed = config.parse({ members });
  assert.deepEqual([parsed.members['db1']?.port, parsed.authSource, parsed.user], [27_017, 'admin', undefined]);
});

it('refuses unknown keys, lists of hosts, URIs, and a user without a password', () => {
  assert.match(refused({ members, replicaset: 'rs0' }), /replicaset/);
  assert.match(refused({ members: { db1: { host: 'db1', prot: 1 } } }), /prot/);
  assert.match(refused({ members: {} }), /needs at least one member/);
  for (const host of ['db1,db2', 'mongodb://db1', 'user@db1', ''])
    assert.match(refused({ members: { db1: { host } } }), /one host name/);
  assert.match(refused({ members: { db1: { host: 'db1', as: 'db1' } } }), /host:port/);
  assert.match(refused({ members, user: 'watcher' }), /password: user and password belong together/);
  assert.match(refused({ members, tls: { ca: 'ca.pem' } }), /tls.ca/);
});
