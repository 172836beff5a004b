import { z } from 'zod';

export const config = z
  .strictObject({
    qmp: z
      .string()
      .startsWith('/')
      .optional()
      .describe(
        'Unix socket of the QMP monitor of a virtual machine or a qemu-storage-daemon on this machine, used by nobody else. Without it this provider takes no path.',
      ),
    disks: z
      .record(z.string(), z.string().min(1))
      .optional()
      .describe(
        'Which node of the process a disk is, for disks that have no serial number of their own: `{ /dev/vdb: data0 }`. A loop device may also be named by the file behind it. Default: disks are found by the serial number that both sides know.',
      ),
    overlayDirectory: z
      .string()
      .startsWith('/')
      .optional()
      .describe(
        'Directory for the overlays that keep what is overwritten while a snapshot exists; never on a disk that is cut. Default: qemu in the state directory.',
      ),
    reserve: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe(
        "Part of each disk's size that is reserved for its overlay before the cut. If an overlay's disk runs full, QEMU makes the machine's own write fail; 1, the default, makes that impossible.",
      ),
  })
  .describe('Whole disks of a virtual machine or a qemu-storage-daemon, all of a group at one instant.');

export type Config = z.infer<typeof config>;
