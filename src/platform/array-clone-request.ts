import type { StorageStack } from '../model/storage.ts';
import type { Exec } from './exec.ts';

/**
 * Opens copies of the disks below a path (made by a hypervisor, a cloud, an array) beside their running originals: arrays and volume
 * groups are put together again from the copies alone, under other names and UUIDs, and the file system is mounted read-only.
 *
 * No copy is ever written: each member lies under a throw-away overlay, or is copied itself where there is no device mapper. What the
 * assembling, the change of UUIDs and the replay of logs write goes there.
 *
 * That all copies are of one instant is the caller's word: members of one array that were copied at different times are put together without
 * a complaint if they are not too far apart for the kernel.
 *
 * Tried with md RAID10, LVM (linear and thin), xfs and ext4 on mdadm 4.2 and LVM 2.03.16 without udev. Where udev runs, scanners see the
 * members for a moment before they have UUIDs of their own; machines that put arrays or volume groups together by themselves should be told
 * to leave devices of this name alone. Encrypted layers cannot be opened.
 */
export interface ArrayCloneRequest {
  readonly exec: Exec;
  /** Holds stores and the mount point, below `arrays`. Must not lie on the copies. */
  readonly stateDirectory: string;
  /** Names everything that is made, so that `closeArrayClone` of another process finds it: letters, digits, `_ . -`, at most 40. */
  readonly name: string;
  readonly members: readonly ArrayMember[];
  /** Of the original path, as it was when the copies were made. */
  readonly stack: StorageStack;
  /** Gives the file system a new UUID. Needed to mount btrfs, which mixes up devices of one UUID. Default: only then. */
  readonly newFileSystemUuid?: boolean;
  readonly signal?: AbortSignal;
  /** How much may be written to each member's overlay; the store is sparse. Default 1 GiB. A full one makes reads fail, never wrong. */
  readonly storeBytes?: number;
}

export interface ArrayMember {
  /** Which layer of the stack it is a copy of: the layer's id (`block:8:16`), its name, or the serial, WWN or volume in its details. */
  readonly original: string;
  /** The copy: a block device, or an image file of the disk's bytes. */
  readonly device: string;
}
