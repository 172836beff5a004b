/** By what a provider cuts. */
export type CutBy =
  | 'copy'
  | 'reflink'
  | 'btrfs'
  | 'zfs'
  | 'lvm-thick'
  | 'lvm-thin'
  /** Several thin volumes at once, by messages to their pool. */
  | 'dm-thin'
  /** Volumes of a Windows machine: its shadow copy service freezes what lies above by itself. */
  | 'vss'
  /** Whole disks, cut from below: by a hypervisor, a cloud, an array. */
  | 'disk';

/** A layer that can be stopped above a cut, besides the application. `device`: a device mapper device that is suspended. */
export type StoppedLayer = 'file-system' | 'device';

export interface LayerRule {
  readonly cutsBy: CutBy;
  readonly stopped: StoppedLayer;
  /** Kernels from `from` up to but without `below`. */
  readonly kernel: { readonly from?: string; readonly below?: string };
  /** Whether that layer must, may or must never be stopped when the cut is made. */
  readonly rule: 'required' | 'allowed' | 'forbidden';
  readonly why: string;
}

const forAll = {};
/** The first kernel in which a freeze by device mapper may nest in one by a user. */
const nesting = '6.8';

/** Which freeze goes with which cut, on which kernel: every pair has exactly one row for every kernel. */
export const layerRules: readonly LayerRule[] = [
  row('copy', 'file-system', forAll, 'forbidden', 'where the copy is written may lie on the frozen file system'),
  row('reflink', 'file-system', forAll, 'forbidden', 'a reflink on a frozen file system blocks until the thaw'),
  row('btrfs', 'file-system', forAll, 'forbidden', 'a snapshot on a frozen btrfs blocks until the thaw'),
  row('zfs', 'file-system', forAll, 'forbidden', 'ZFS cannot be frozen, and its snapshots need no freeze'),
  row(
    'lvm-thick',
    'file-system',
    { below: nesting },
    'forbidden',
    'LVM freezes the file system itself: on a frozen one lvcreate fails (EBUSY) and leaves half a volume',
  ),
  row('lvm-thick', 'file-system', { from: nesting }, 'forbidden', 'LVM freezes the file system itself'),
  row(
    'lvm-thin',
    'file-system',
    { below: nesting },
    'forbidden',
    'LVM freezes the file system itself: on a frozen one lvcreate fails (EBUSY)',
  ),
  row('lvm-thin', 'file-system', { from: nesting }, 'forbidden', 'LVM freezes the file system itself'),
  row('dm-thin', 'file-system', forAll, 'forbidden', 'the cut freezes the file systems itself, and thaws them'),
  row(
    'vss',
    'file-system',
    forAll,
    'forbidden',
    'Windows stops its own file systems, and here is only a mount of them',
  ),
  row('disk', 'file-system', forAll, 'required', 'what the file system has not written yet is not on the disks'),
  row('copy', 'device', forAll, 'forbidden', 'reading from a suspended device blocks until it is resumed'),
  row('reflink', 'device', forAll, 'forbidden', 'writing to a suspended device blocks until it is resumed'),
  row('btrfs', 'device', forAll, 'forbidden', 'a snapshot writes, and a suspended device blocks until it is resumed'),
  row('zfs', 'device', forAll, 'forbidden', 'a snapshot writes, and a suspended device blocks until it is resumed'),
  row(
    'lvm-thick',
    'device',
    forAll,
    'forbidden',
    'lvcreate resumes its origin, and then counts suspended devices below zero',
  ),
  row('lvm-thin', 'device', forAll, 'forbidden', 'lvcreate fails and the pool takes no more thin volumes'),
  row('dm-thin', 'device', forAll, 'required', 'the cut suspends the devices itself, so that all show one instant'),
  row('vss', 'device', forAll, 'forbidden', 'there is no device of it here'),
  row('disk', 'device', forAll, 'allowed', 'nothing above is asked for anything'),
];

function row(
  cutsBy: CutBy,
  stopped: StoppedLayer,
  kernel: LayerRule['kernel'],
  rule: LayerRule['rule'],
  why: string,
): LayerRule {
  return { cutsBy, stopped, kernel, rule, why };
}

/** The one row for a pair. `kernel` as `uname -r` says it. Throws for a kernel that is no version: a bug of the caller. */
export function layerRule(cutsBy: CutBy, stopped: StoppedLayer, kernel: string): LayerRule {
  const found = layerRules.find(
    (each) => each.cutsBy === cutsBy && each.stopped === stopped && isWithin(versionOf(kernel), each.kernel),
  );
  if (found === undefined) throw new Error(`there is no rule for ${stopped} above ${cutsBy} on kernel ${kernel}`);
  return found;
}

/** What one provider will cut in a backup: on which file systems, by the ids of their layers. */
export interface PlannedCut {
  readonly cutsBy: CutBy;
  readonly fileSystems: ReadonlySet<string>;
}

/** File systems that must be frozen from outside for these cuts. */
export function toFreeze(cuts: readonly PlannedCut[], kernel: string): ReadonlySet<string> {
  const must = cuts.filter(({ cutsBy }) => layerRule(cutsBy, 'file-system', kernel).rule === 'required');
  return new Set(must.flatMap(({ fileSystems }) => [...fileSystems]));
}

/** Every pair of a freeze and a cut in this plan that would fail or hang, in words. Empty: the plan is sound. */
export function forbiddenPairs(cuts: readonly PlannedCut[], kernel: string): readonly string[] {
  const frozen = toFreeze(cuts, kernel);
  const suspended = new Set(
    cuts
      .filter(({ cutsBy }) => layerRule(cutsBy, 'device', kernel).rule === 'required')
      .flatMap(({ fileSystems }) => [...fileSystems]),
  );
  return cuts.flatMap(({ cutsBy, fileSystems }) => {
    const said: string[] = [];
    const onFrozen = [...fileSystems].filter((each) => frozen.has(each));
    const above = layerRule(cutsBy, 'file-system', kernel);
    if (above.rule === 'forbidden' && onFrozen.length > 0)
      said.push(`${cutsBy} on the frozen ${onFrozen.join(', ')}: ${above.why}`);
    const onSuspended = [...fileSystems].filter((each) => suspended.has(each));
    const device = layerRule(cutsBy, 'device', kernel);
    if (device.rule === 'forbidden' && onSuspended.length > 0)
      said.push(`${cutsBy} on ${onSuspended.join(', ')} with its device suspended: ${device.why}`);
    return said;
  });
}

type Version = readonly [number, number];

function versionOf(text: string): Version {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  if (major === undefined || minor === undefined) throw new Error(`${text} is no version of a kernel`);
  return [Number(major), Number(minor)];
}

function isWithin(version: Version, { from, below }: LayerRule['kernel']): boolean {
  return (
    (from === undefined || compare(version, versionOf(from)) >= 0) &&
    (below === undefined || compare(version, versionOf(below)) < 0)
  );
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1];
}
