/** Owns a hold through the guard at the socket that is given, says so, and waits to be killed. */
import { GuardClient } from '../../src/guard/protocol.ts';

const client = await GuardClient.connect(process.argv[2] ?? '');
await client.call('own');
await client.call('prepare');
await client.call('freeze');
process.stdout.write('frozen\n');
