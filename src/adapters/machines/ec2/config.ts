import { z } from 'zod';

/** They become arguments of a command. */
const server = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}$/, { error: 'must be the name of a server as the cluster gives it' });

const oneVolume =
  'must be one device: a mirror on several volumes is not handled; put all mirrors of the group on partitions of one volume';

const word = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, { error: 'must be one word' });

export const config = z
  .strictObject({
    region: word.optional().describe('Region of the instances. That of the profile or the environment if absent.'),
    profile: word.optional().describe('Profile of the `aws` program. The default one if absent.'),
    instances: z
      .record(server, z.string().regex(/^i-[0-9a-f]{1,32}$/, { error: 'must be an instance id such as i-0abc' }))
      .refine((all) => Object.keys(all).length === 2, { error: 'must name the instances of both servers' })
      .describe('The instance of each server, by its name in the cluster.'),
    volumeType: word
      .default('gp3')
      .describe('Type of the volumes that a restore makes, with the throughput that the type has by itself.'),
    devices: z
      .record(
        server,
        z.strictObject(
          {
            device: z
              .string()
              .regex(/^(?:\/dev\/)?[a-z]+[a-z0-9]*$/, {
                error: 'must be a device name as EC2 has it, such as /dev/sdb',
              })
              .describe("Device at which EC2 attaches the mirror's volume, such as /dev/sdb."),
            partitions: z
              .array(z.string().startsWith('/dev/', { error: 'must be an absolute path' }))
              .min(1)
              .describe(
                "The cluster and data partition as the cluster's configuration names them, all on that volume.",
              ),
          },
          { error: ({ input }) => (Array.isArray(input) ? oneVolume : undefined) },
        ),
      )
      .describe('Where the one volume with the mirror disk is, for each server.'),
  })
  .refine(({ instances, devices }) => Object.keys(instances).every((name) => devices[name] !== undefined), {
    error: 'devices must name a device for each of `instances`',
  })
  .describe(
    'EC2 instances and their EBS volumes, by the `aws` program (AWS CLI version 1 or 2). Not yet met for real.',
  );

export type Config = z.output<typeof config>;
