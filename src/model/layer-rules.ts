/** By what a provider cuts. */
export type CutBy =
  | 'copy'
  | 'reflink'
  | 'btrfs'
  | 'zfs'
  | 'lvm-thick'
  | 'lvm-thin'
  /** Several thin volumes at once by messages to their pool. */
  | 'dm-thin'
  /** Whole disks, cut from below: by a hypervisor, a cloud, an array. */
  | 'disk';
