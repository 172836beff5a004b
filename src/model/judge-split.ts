import { isWhole, type SplitEvidence, type SplitLook, type SplitSeen } from './mirror-split.ts';

/** Rules of the method `mirror-split`, each with its one name. */
export type SplitRule =
  | 'split-not-observed'
  | 'group-not-stopped'
  | 'mirror-not-whole'
  | 'standby-not-isolated'
  | 'machine-not-off'
  | 'volume-changed'
  | 'monitor-resumed'
  | 'snapshot-incomplete'
  | 'split-disordered';

interface Broken {
  readonly rule: SplitRule;
  readonly said: string;
}

type When = SplitLook['when'];

const inOrder: readonly When[] = [
  'chosen',
  'before-break',
  'after-break',
  'before-leave',
  'off',
  'after-cut',
  'record',
];

/** Every rule that is broken. Pure. Empty: the disk shows the state at which the group had been stopped in order. */
export function judgeSplit(split: SplitEvidence): readonly Broken[] {
  const found = new Set(split.looks.map(({ when }) => when));
  const missing = inOrder.filter((when) => !found.has(when));
  if (missing.length > 0)
    return missing.map((when) => ({ rule: 'split-not-observed', said: `the cluster was not looked at: ${when}` }));
  const looks = split.looks.toSorted((a, b) => inOrder.indexOf(a.when) - inOrder.indexOf(b.when));
  return [
    ...looks.flatMap(({ when, seen }) => rulesAt(when, seen, split)),
    ...snapshotRules(split),
    ...orderRules(split, looks),
  ];
}

function rulesAt(when: When, seen: SplitSeen, split: SplitEvidence): readonly Broken[] {
  const { before } = split;
  const standby = seen.servers[before.standby];
  const broken: Broken[] = [];
  const add = (rule: SplitRule, said: string): void => void broken.push({ rule, said: `${said} (${when})` });
  const isBreak = when === 'before-break' || when === 'after-break';
  if (isBreak && seen.group.status !== 'offline') add('group-not-stopped', `the group was ${seen.group.status}`);
  if ((when === 'chosen' || when === 'before-break' || when === 'record') && !isWhole(seen, before))
    add('mirror-not-whole', `the mirror was ${seen.mirror}`);
  if ((when === 'after-break' || when === 'before-leave') && standby?.colour !== 'RED')
    add('standby-not-isolated', `${before.standby} was ${standby?.colour ?? 'unknown'}`);
  const isOff = when === 'off' || when === 'after-cut';
  if (isOff && standby?.machine !== 'stopped')
    add('machine-not-off', `the machine of ${before.standby} was ${standby?.machine ?? 'unknown'}`);
  if (standby?.attached?.volume !== split.volume)
    add('volume-changed', `at ${split.device} was ${standby?.attached?.volume ?? 'nothing'}, not ${split.volume}`);
  // A server that is off has no monitor that could run.
  const watched = before.monitors.filter(({ server }) => !isOff || server !== before.standby);
  if (when !== 'chosen' && when !== 'record')
    for (const { monitor, server } of watched)
      if (seen.servers[server]?.suspended.includes(monitor) !== true)
        add('monitor-resumed', `${monitor} was not suspended on ${server}`);
  return broken;
}

function snapshotRules({ snapshot, volume }: SplitEvidence): readonly Broken[] {
  const broken: Broken[] = [];
  if (snapshot.volume !== volume)
    broken.push({ rule: 'volume-changed', said: `the snapshot is of ${snapshot.volume}, not of ${volume}` });
  if (snapshot.state !== 'completed')
    broken.push({ rule: 'snapshot-incomplete', said: `the snapshot ${snapshot.id} is ${snapshot.state}` });
  return broken;
}

function orderRules({ called, returned }: SplitEvidence, looks: readonly SplitLook[]): readonly Broken[] {
  const cut = inOrder.indexOf('after-cut');
  const times = [...looks.slice(0, cut).map(({ at }) => at), called, returned, ...looks.slice(cut).map(({ at }) => at)];
  const all = times.map(({ monoMs }) => monoMs);
  return all.join(' ') === all.toSorted((a, b) => a - b).join(' ')
    ? []
    : [{ rule: 'split-disordered', said: 'the looks and the cut are not in their order in time' }];
}
