import { statSync } from 'node:fs';
import type { Finding } from '../../../model/point.ts';
import type { Platform } from '../../../ports/module.ts';
import type { GtmConfig } from './config.ts';
import { Gtm } from './engine.ts';
import { whyNotOnline } from './hold.ts';
import { regionsOf } from './locate.ts';
import { parseReceived, type SourceServer } from './parse-journal.ts';
import type { RegionState } from './parse.ts';
import { describeFreeze } from './record.ts';
import { replicationOf, sourceServers } from './replication.ts';

const limitMs = 15_000;
const newestTested = 'GT.M V7.0-005';

function finding(severity: Finding['severity'], what: string, said: string): Finding {
  return { severity, check: what, said };
}

/** Findings of `stillpoint check`; changes nothing. */
export async function* check(config: GtmConfig, platform: Platform, signal: AbortSignal): AsyncGenerator<Finding> {
  const gtm = await Gtm.open(config, platform, { limitMs, signal });
  const version = await gtm.version({ limitMs, signal });
  yield version.startsWith(newestTested)
    ? finding('info', 'version', version)
    : finding('warning', 'version', `${version}; this program was tested with ${newestTested}`);
  const asked = process.getuid?.() === 0 ? 'as the owner of the files' : 'as this user';
  yield finding('info', 'user', `mupip runs ${asked}, uid ${gtm.uid}: a freeze belongs to that uid alone`);
  const writable = statSync(gtm.place.distribution).mode & 0o022;
  if (writable !== 0) {
    yield finding('warning', 'distribution', `${gtm.place.distribution} can be written by others than its owner`);
  }
  const regions = await regionsOf(gtm, signal);
  const { states } = await gtm.states(
    { limitMs, signal },
    regions.map((region) => region.name),
  );
  for (const state of states)
    yield* regionFindings(state, gtm.uid, regions.find((each) => each.name === state.region)?.file);
  yield* replication(gtm, states, { limitMs, signal });
  const why = whyNotOnline(states, version);
  const kind = config.freeze ?? (why === undefined ? 'online' : 'plain');
  if (kind === 'online' && why !== undefined)
    yield finding('error', 'freeze', `an online freeze is not possible: ${why}`);
  else yield finding('info', 'freeze', why === undefined ? kind : `${kind}; online is not possible: ${why}`);
  if (kind === 'online') {
    const bytes = Math.min(...states.map((state) => state.globalBuffers * state.blockBytes));
    yield finding(
      'info',
      'global-buffers',
      `writers go on under an online freeze until they have filled ${Math.round(bytes / 1024 / 1024)} MiB of global buffers of a region, then wait`,
    );
  }
}

/** Which side of a replicated pair this is, and how far the other one is behind, as far as this one knows. */
async function* replication(
  gtm: Gtm,
  states: readonly RegionState[],
  limits: { readonly limitMs: number; readonly signal: AbortSignal },
): AsyncGenerator<Finding> {
  if (!states.some((state) => state.replication === 'ON')) return;
  const file = await replicationOf(gtm, limits);
  if (file === undefined) {
    yield finding(
      'warning',
      'replication',
      'it is on, and application.gtm.replicationInstance is not set: no journal is purged',
    );
    return;
  }
  const role = await gtm.role(states, limits);
  const side = role === 'standalone' ? 'its servers do not run' : role;
  yield finding(role === 'standalone' ? 'warning' : 'info', 'replication', `instance ${file.instance}: ${side}`);
  const servers = await sourceServers(gtm, limits);
  for (const secondary of file.secondaries) yield backlogFinding(secondary, servers, file.rootPrimary);
  if (role !== 'replica') return;
  const received = parseReceived((await gtm.mupip(['replicate', '-receiver', '-showbacklog'], limits)).text);
  if (received === undefined) {
    yield finding('warning', 'replication', 'no receiver server runs: this instance falls behind');
    return;
  }
  const waiting = Number(received.received - received.processed);
  const said = `processed up to ${received.processed}, ${waiting} more received; what is still with the sender is not known here`;
  yield { ...finding('info', 'backlog', said), value: waiting };
}

function backlogFinding(secondary: string, servers: readonly SourceServer[], rootPrimary: boolean): Finding {
  const server = servers.find((each) => each.secondary === secondary);
  if (server === undefined) {
    return finding('warning', 'replication', `no source server runs for instance ${secondary}: no journal is purged`);
  }
  if (server.passive) {
    const said = `the source server for instance ${secondary} is passive: it sends nothing`;
    return finding(rootPrimary ? 'warning' : 'info', 'replication', said);
  }
  const behind = Number(server.posted - server.acknowledged);
  const said = `instance ${secondary} had processed ${server.acknowledged} of ${server.posted} updates at its last heartbeat, ${behind} are open`;
  return { ...finding('info', 'backlog', said), value: behind };
}

function* regionFindings(state: RegionState, uid: number, file: string | undefined): Generator<Finding> {
  yield state.frozen === undefined
    ? finding('info', 'frozen', describeFreeze(state))
    : finding('error', 'frozen', describeFreeze(state));
  if (file !== undefined && process.getuid?.() !== 0 && statSync(file).uid !== uid) {
    yield finding('warning', 'user', `${state.region}: ${file} belongs to another user than uid ${uid}`);
  }
  if (state.journal !== 'on') {
    yield finding(
      'warning',
      'journal',
      `${state.region}: journaling is ${state.journal}: no rolling forward, and a crash can damage it`,
    );
  } else if (!state.beforeImages) {
    yield finding('warning', 'journal', `${state.region}: journaling has no before-images`);
  } else yield finding('info', 'journal', `${state.region}: on, with before-images, ${state.journalFile ?? ''}`);
}
