import type { Guest } from './guest/guest.ts';
import type { Disk, Machine } from './uml.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** What a job carries into the guest beside the scenario's name. `full`: everything, not the small sample. */
export interface JobParameters {
  readonly full: boolean;
  readonly [key: string]: Json;
}

/**
 * One file in `scenarios/`, exported as `scenario`. The file is loaded on the host and in the guest, so it imports nothing that needs
 * either of them at load.
 */
export interface Scenario {
  /** As the file is called, without `.ts`. */
  readonly name: string;
  /** One line for people: what is proved. */
  readonly about: string;
  /** In this order `/dev/ubda`, `/dev/ubdb`...; at most 15. Sparse files, so that size costs nothing. */
  readonly disks: readonly Disk[];
  readonly memMiB: number;
  /** For each boot. */
  readonly timeoutMs: number;
  /** Run only with `--full` or STILLPOINT_TEST_FULL=1. */
  readonly full?: true;
  /** Programs that it needs beside those of the lab itself; without them it is skipped, with the reason. */
  readonly programs?: readonly string[];
  /** A further reason to skip it here, asked on the host. */
  whyNot?(): string | undefined;
  /** On the host, before the first boot: puts into the share (`machine.share`) what the guest shall find. */
  prepare?(machine: Machine): Promise<void>;
  /** In the guest. A thrown error fails the scenario. */
  run(guest: Guest, parameters: JobParameters): Promise<Json>;
  /** On the host, for scenarios of several boots or with power cuts. Default: one boot with no parameters but `full`. */
  host?(machine: Machine, parameters: JobParameters): Promise<Json>;
  /** On the host: throws (node:assert) for a result that is not what it should be. */
  assess?(result: Json, parameters: JobParameters): void;
}
