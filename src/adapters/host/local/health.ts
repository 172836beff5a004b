import type { Finding } from '../../../model/point.ts';
import type { LvRow, PvRow, VgRow } from './parse-lvm.ts';
import type { ArrayState, MapperTarget, Signature } from './parse-system.ts';

/** From this share of a pool, in percent, an extension is due; from the second on the pool may be full before a backup is done. */
const poolWarning = 80;
const poolError = 95;

export function error(check: string, said: string): Finding {
  return { severity: 'error', check, said };
}

export function warning(check: string, said: string): Finding {
  return { severity: 'warning', check, said };
}

/** Unknown health is never a silent pass. `grave`: for a layer that loses data when it is unwell. */
export function unasked(check: string, name: string, why: string, grave = false): Finding {
  return (grave ? error : warning)(check, `the health of ${name} could not be asked: ${why}`);
}

/** Of sync_action: `check` only reads, and the two that mean rest. Everything else writes to members. */
const quietActions = new Set(['idle', 'frozen', 'check']);
const brokenStates = new Set(['clear', 'inactive', 'suspended', 'broken']);

/** Kernel documentation, admin-guide/md: array_state, degraded, sync_action, dev-NAME/state. */
export function arrayFindings(name: string, array: ArrayState): readonly Finding[] {
  const findings: Finding[] = [];
  const { state, degraded, action, members } = array;
  if (state === undefined) findings.push(unasked('md', name, 'the kernel shows no array_state', true));
  else if (brokenStates.has(state)) findings.push(error('md', `${name} is ${state}`));
  if (degraded !== undefined && degraded > 0) {
    findings.push(
      error('md', `${name} is degraded: ${degraded} of its ${array.disks ?? 'unknown'} members are missing`),
    );
  }
  if (action !== undefined && !quietActions.has(action)) {
    findings.push(error('md', `${name} writes to its members: ${action} is under way`));
  }
  if (action === 'check') findings.push(warning('md', `${name} is being checked; reads are slow`));
  if (action === 'frozen') findings.push(warning('md', `${name} would not recover by itself: its recovery is frozen`));
  if (array.mismatches !== undefined && array.mismatches > 0) {
    findings.push(warning('md', `the last check of ${name} found ${array.mismatches} sectors that differ`));
  }
  const slots = new Map<string, string>();
  for (const { name: member, states, slot } of members) {
    if (states.includes('faulty')) findings.push(error('md', `${member} of ${name} is faulty`));
    const other = slot === undefined ? undefined : slots.get(slot);
    if (other !== undefined) findings.push(error('md', `${other} and ${member} are both member ${slot} of ${name}`));
    if (slot !== undefined) slots.set(slot, member);
  }
  return findings;
}

/** lvs(8), lv_attr: what stands in the place of the volume type, of the state and of the health. */
const typeErrors: ReadonlyMap<string, string> = new Map([
  ['p', 'is being moved to another physical volume (pvmove)'],
  ['O', 'has a snapshot that is being merged into it'],
  ['S', 'is a snapshot that is being merged into its origin'],
]);
const stateErrors: ReadonlyMap<string, string> = new Map([
  ['s', 'is suspended'],
  ['S', 'is suspended, and invalid as a snapshot'],
  ['I', 'is an invalid snapshot: its space was full'],
  ['m', 'failed to merge its snapshot'],
  ['M', 'is suspended, and failed to merge its snapshot'],
  ['d', 'has a device without a table'],
  ['i', 'is half made: its device has only an inactive table'],
  ['c', 'needs a check of its thin pool'],
  ['C', 'is suspended and needs a check of its thin pool'],
  ['X', 'is in an unknown state'],
]);
const healthErrors: ReadonlyMap<string, string> = new Map([
  ['p', 'is partial: a physical volume is missing'],
  ['X', 'is of unknown health'],
  ['r', 'needs a refresh: one of its devices failed for a while'],
  ['F', 'has failed'],
  ['D', 'is out of data space'],
  ['M', 'has read-only metadata'],
  ['E', 'has errors in its cache'],
]);

/** `measured`: device-mapper's own figures of the device are at hand, which are exact and newer. */
export function volumeFindings(row: LvRow, measured: boolean): readonly Finding[] {
  const name = `${row.group}/${row.name}`;
  const findings: Finding[] = [];
  const add = (said: string | undefined): void => {
    if (said !== undefined) findings.push(error('lvm', `${name} ${said}`));
  };
  add(typeErrors.get(row.attr.charAt(0)));
  // Of a raid image the capital letter means that it is not in sync; its volume says the same with a percentage.
  add(stateErrors.get(row.attr.charAt(4)));
  add(healthErrors.get(row.attr.charAt(8)));
  if (row.attr.charAt(8) === 'm') findings.push(warning('lvm', `${name} has sides that differ (mismatches exist)`));
  const action = row.syncAction;
  if (action !== undefined && !quietActions.has(action)) add(`is not in sync: ${action} is under way`);
  if (action === 'check') findings.push(warning('lvm', `${name} is being checked; reads are slow`));
  if (
    row.segtype === 'mirror' &&
    row.attr.charAt(0) !== 'p' &&
    row.copyPercent !== undefined &&
    row.copyPercent < 100
  ) {
    add(`is a mirror that is copied to ${row.copyPercent} %`);
  }
  if (row.attr.startsWith('s')) findings.push(...fullness('lvm', `the snapshot ${name}`, row.dataPercent));
  if (row.segtype === 'thin-pool' && !measured) {
    findings.push(
      ...fullness('thin-pool', `the data of thin pool ${name}`, row.dataPercent),
      ...fullness('thin-pool', `the metadata of thin pool ${name}`, row.metadataPercent),
    );
  }
  return findings;
}

function fullness(check: string, what: string, percent: number | undefined): readonly Finding[] {
  if (percent === undefined || percent < poolWarning) return [];
  return [(percent > poolError ? error : warning)(check, `${what} takes ${percent} % of its space`)];
}

export function groupFindings(group: VgRow): readonly Finding[] {
  if (group.missing === 0) return [];
  return [error('lvm', `volume group ${group.name} lacks ${group.missing} of its physical volumes`)];
}

/** Two devices with one UUID: LVM uses one of them, and which one may change with the next boot. */
export function physicalFindings(all: readonly PvRow[]): readonly Finding[] {
  return all
    .filter(({ attr }) => attr.startsWith('d'))
    .map(({ device, uuid }) =>
      warning('lvm', `${device} is a duplicate of physical volume ${uuid}: a clone stands beside the original`),
    );
}

/** What device-mapper itself says of one device's targets (kernel documentation, admin-guide/device-mapper). */
export function mapperFindings(name: string, targets: readonly MapperTarget[]): readonly Finding[] {
  return targets.flatMap(({ target, words }) => targetFindings[target]?.(name, words) ?? []);
}

type Words = readonly string[];

const targetFindings: Readonly<Record<string, (name: string, words: Words) => readonly Finding[]>> = {
  error: (name) => [error('device-mapper', `a part of ${name} is replaced by errors: its disk is missing`)],

  snapshot: (name, words) =>
    /^\d+\/\d+ /.test(`${words.join(' ')} `)
      ? []
      : [error('device-mapper', `the snapshot ${name} is no longer good: ${words.join(' ')}`)],

  thin: (name, [first]) => (first === 'Fail' ? [error('thin-pool', `the thin pool of ${name} has failed`)] : []),

  'thin-pool': (name, words) => {
    const [transaction = '', metadata = '', data = '', , mode = ''] = words;
    if (!/^\d+$/.test(transaction)) return [error('thin-pool', `the thin pool ${name} has failed (${transaction})`)];
    return [
      ...(words.includes('needs_check') ? [error('thin-pool', `the thin pool ${name} needs a check`)] : []),
      ...(mode === 'rw' ? [] : [error('thin-pool', `the thin pool ${name} is in mode ${mode}`)]),
      ...fullness('thin-pool', `the data of thin pool ${name}`, share(data)),
      ...fullness('thin-pool', `the metadata of thin pool ${name}`, share(metadata)),
    ];
  },

  // One letter for each member: A in sync, a not in sync, D failed, - absent.
  raid: (name, [, , health = '', , action = '']) => [
    ...(/[D-]/.test(health) ? [error('device-mapper', `${name} is degraded: its members are ${health}`)] : []),
    ...(health.includes('a') ? [error('device-mapper', `${name} is not in sync: its members are ${health}`)] : []),
    ...(quietActions.has(action) || action === ''
      ? []
      : [error('device-mapper', `${name} writes to its members: ${action}`)]),
  ],

  mirror: (name, words) => {
    const count = Number(words[0]);
    const [copied = '', , health = ''] = words.slice(1 + count);
    const [done, of] = copied.split('/');
    return [
      ...(done === of ? [] : [error('device-mapper', `the mirror ${name} has copied ${copied} regions`)]),
      ...(/^A*$/.test(health) ? [] : [error('device-mapper', `a side of the mirror ${name} has failed (${health})`)]),
    ];
  },

  cache: (name, words) => {
    if (words.length < 11) return [error('device-mapper', `the cache of ${name} has failed (${words.join(' ')})`)];
    const dirty = Number(words[10]);
    const writeback = words.includes('writeback');
    const said = `the cache of ${name} holds ${dirty} blocks that are not on its origin`;
    return [
      ...(words.includes('needs_check') ? [error('device-mapper', `the cache of ${name} needs a check`)] : []),
      ...(dirty === 0
        ? []
        : [(writeback ? error : warning)('device-mapper', `${said}${writeback ? ' (writeback)' : ''}`)]),
    ];
  },

  writecache: (name, [errors = '', blocks, free]) => [
    ...(errors === '0' ? [] : [error('device-mapper', `the write cache of ${name} has had errors (${errors})`)]),
    ...(blocks === free
      ? []
      : [
          error(
            'device-mapper',
            `the write cache of ${name} holds blocks that are not on its origin: ${free} of ${blocks} are free`,
          ),
        ]),
  ],

  // Each path is named by its numbers, and A or F follows.
  multipath: (name, words) => {
    const paths = [...words.join(' ').matchAll(/\d+:\d+ ([AF])/g)].map(([, state]) => state);
    const failed = paths.filter((state) => state === 'F').length;
    if (failed === 0 && paths.length > 0) return [];
    if (failed === paths.length) return [error('multipath', `no path of ${name} works`)];
    return [warning('multipath', `${failed} of the ${paths.length} paths of ${name} have failed`)];
  },
};

function share(used: string): number | undefined {
  const [part, all] = used.split('/').map(Number);
  if (part === undefined || all === undefined || !(all > 0)) return undefined;
  return Math.round((part / all) * 10_000) / 100;
}

export function btrfsFindings(
  mountPoint: string,
  seen: { readonly missing: readonly string[]; readonly errors: number },
): readonly Finding[] {
  return [
    ...(seen.missing.length === 0
      ? []
      : [error('btrfs', `device ${seen.missing.join(', ')} of the btrfs at ${mountPoint} is missing`)]),
    ...(seen.errors === 0
      ? []
      : [
          warning(
            'btrfs',
            `the devices of the btrfs at ${mountPoint} have had ${seen.errors} errors (\`btrfs device stats\`)`,
          ),
        ]),
  ];
}

/**
 * Other devices that carry the identity of `own`: a clone beside the original, which the next assembly or mount may take for it.
 * `ours` are all paths of the stack's own devices.
 */
export function cloneFindings(
  what: string,
  own: Pick<Signature, 'uuid' | 'member'>,
  all: readonly Signature[],
  ours: ReadonlySet<string>,
): readonly Finding[] {
  return all
    .filter(({ uuid, member, device }) => uuid === own.uuid && member === own.member && !ours.has(device))
    .map(({ device }) =>
      warning('clone', `${device} has the same identity as ${what}: a clone stands beside the original`),
    );
}
