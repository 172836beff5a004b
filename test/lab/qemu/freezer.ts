/** Freezes a guest by its agent and stays, to be killed: what an orchestrator that dies leaves. The argument is the agent's socket. */
import { GuestAgent } from '../../../src/adapters/snapshot/qemu/agent.ts';
import { systemClock } from '../../../src/platform/clock.ts';

using agent = await GuestAgent.connect(process.argv[2] ?? '', systemClock);
await agent.freeze(60_000);
process.stdout.write('frozen\n');
systemClock.every(1000, () => undefined);
await systemClock.sleep(600_000);
