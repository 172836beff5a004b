import type { Finding } from '../../../model/point.ts';
import { type Answered, answeredOf, componentOf, isInside, type Seen } from './component.ts';

/** Part of the time that the cluster was paused for a member that does not keep up. */
const oftenPaused = 0.1;

function finding(severity: Finding['severity'], check: string, said: string, value?: number): Finding {
  return { severity, check, said, ...(value === undefined ? {} : { value }) };
}

export function clusterFindings(seen: readonly Seen[], writer: Answered | undefined): readonly Finding[] {
  const inside = componentOf(seen);
  const [first] = inside;
  if (first === undefined) {
    return [
      finding('error', 'component', 'no member that answers is in a primary component: the cluster takes no write'),
    ];
  }
  const { configuration, size, options } = first.facts;
  const found: Finding[] = [
    finding('info', 'configuration', `${size} members in configuration ${configuration}`, Number(configuration)),
  ];
  if (writer === undefined) found.push(finding('error', 'primary', 'none of the configured writers takes writes'));
  if (size > inside.length) {
    const said = `${size - inside.length} of ${size} members are an arbitrator, not configured here, or do not answer`;
    found.push(finding('info', 'members', said, size - inside.length));
  }
  if (options.ignoresQuorum) {
    const said = 'pc.ignore_quorum or pc.ignore_sb is on: both sides of a split go on';
    found.push(finding('error', 'quorum', said));
  }
  if (options.autoEvict > 0) {
    const said = `evs.auto_evict is ${options.autoEvict}: a member that is late again and again is shut out until it is restarted`;
    found.push(finding('warning', 'auto-evict', said));
  }
  const evicted = answeredOf(seen).find(({ facts }) => facts.evicted !== '');
  if (evicted !== undefined) found.push(finding('error', 'evicted', `shut out for good: ${evicted.facts.evicted}`));
  return found;
}

export function memberFindings(member: Answered): readonly Finding[] {
  const { facts } = member;
  const found: Finding[] = [];
  if (!facts.on) return [finding('error', 'wsrep', 'wsrep_on is off: what it writes reaches nobody')];
  if (!isInside(member)) {
    const said = `it is in no primary component: ${facts.component}, connected ${word(facts.connected)}, ready ${word(facts.ready)}`;
    found.push(finding('error', 'component', said));
  }
  if (facts.desyncs > 0 || facts.state === 'Donor/Desynced') {
    const said = `it is a donor or desynchronized (${facts.desyncs} times): the others do not wait for it, and it may be far behind`;
    found.push(finding('warning', 'desync', said, facts.desyncs));
  }
  if (facts.refusesWrites) {
    found.push(finding('info', 'read-only', 'read_only or wsrep_reject_queries keeps clients from writing to it'));
  }
  return [...found, ...flowControl(member)];
}

function flowControl({ facts }: Answered): readonly Finding[] {
  const found: Finding[] = [];
  if (facts.asksForPause) {
    found.push(
      finding('warning', 'flow-control', 'it makes the whole cluster wait until it has caught up', facts.queue),
    );
  } else if (facts.pausedNow) {
    found.push(finding('warning', 'flow-control', 'it waits for a member that has not caught up', facts.queue));
  }
  if (facts.paused >= oftenPaused) {
    const said = `flow control paused it for ${Math.round(facts.paused * 100)} % of the time`;
    found.push(finding('warning', 'paused', said, facts.paused));
  }
  return found;
}

function word(on: boolean): string {
  return on ? 'ON' : 'OFF';
}
