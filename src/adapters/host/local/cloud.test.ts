import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cloudDiskOf } from './cloud.ts';

type Disk = Parameters<typeof cloudDiskOf>[0];

const nothing: Disk = {
  kernelName: 'sdb',
  serial: undefined,
  vendor: undefined,
  model: undefined,
  wwn: undefined,
  hctl: undefined,
};
const azure = '7783-7084-3265-9085-8269-3286-77';
const virtual = { vendor: 'Msft', model: 'Virtual Disk' };

interface Case {
  readonly disk: Partial<Disk>;
  readonly links?: readonly string[];
  readonly chassis?: string;
  readonly is: ReturnType<typeof cloudDiskOf>;
}

/** The forms are the vendors' documented ones. */
const table: Readonly<Record<string, Case>> = {
  'an EBS volume': {
    disk: { kernelName: 'nvme1n1', model: 'Amazon Elastic Block Store', serial: 'vol0a1b2c3d4e5f60718' },
    is: { cloud: 'aws', volume: 'vol-0a1b2c3d4e5f60718' },
  },
  'an EBS volume with a dash in its serial': {
    disk: { model: 'Amazon Elastic Block Store', serial: 'vol-0a1b2c3d' },
    is: { cloud: 'aws', volume: 'vol-0a1b2c3d' },
  },
  'an EBS volume without a serial': {
    disk: { model: 'Amazon Elastic Block Store' },
    is: { cloud: 'aws', volume: undefined },
  },
  'a local disk of EC2, which is no volume': {
    disk: { model: 'Amazon EC2 NVMe Instance Storage', serial: 'AWS22A1B2C3D4E5F6071' },
    is: { cloud: 'aws', volume: undefined },
  },
  'a disk that Google named': {
    disk: { vendor: 'Google', model: 'PersistentDisk', serial: 'persistent-disk-1' },
    links: ['by-path/pci-0000:00:03.0-scsi-0:0:2:0', 'by-id/google-pg-data'],
    is: { cloud: 'google', volume: 'pg-data' },
  },
  'a disk of Google without its links': {
    disk: { vendor: 'Google', model: 'PersistentDisk', serial: 'pg-data' },
    is: { cloud: 'google', volume: 'pg-data' },
  },
  'an NVMe disk of Google without its links, whose serial is not its name': {
    disk: { model: 'nvme_card-pd', serial: 'nvme_card-pd' },
    is: { cloud: 'google', volume: undefined },
  },
  'a data disk of Azure': {
    disk: { ...virtual, hctl: '3:0:0:7' },
    links: ['by-id/scsi-1', 'azure/scsi1/lun7'],
    is: { cloud: 'azure', volume: 'lun7' },
  },
  'a data disk of Azure, newer links': {
    disk: {},
    links: ['azure/data/by-lun/0'],
    is: { cloud: 'azure', volume: 'lun0' },
  },
  'the system disk of Azure': { disk: virtual, links: ['azure/root'], is: { cloud: 'azure', volume: 'os' } },
  'the temporary disk of Azure': {
    disk: virtual,
    links: ['azure/resource'],
    is: { cloud: 'azure', volume: 'resource' },
  },
  'a data disk of Azure by its SCSI address': {
    disk: { ...virtual, hctl: '1:0:0:3' },
    chassis: azure,
    is: { cloud: 'azure', volume: 'lun3' },
  },
  'no data disk by its SCSI address': {
    disk: { ...virtual, hctl: '0:0:0:1' },
    chassis: azure,
    is: { cloud: 'azure', volume: undefined },
  },
  'a disk of Hyper-V': {
    disk: { ...virtual, hctl: '2:0:0:1' },
    chassis: 'x',
    is: { cloud: 'hyper-v', volume: 'lun1' },
  },
  'a disk of Hyper-V without an address': { disk: virtual, is: { cloud: 'hyper-v', volume: undefined } },
  'a VMDK by its WWN': {
    disk: { vendor: 'VMware', model: 'Virtual disk', wwn: '0x6000c298df15fe89ddcb8ea33329595d' },
    is: { cloud: 'vmware', volume: '6000C298-df15-fe89-ddcb-8ea33329595d' },
  },
  'a VMDK by its serial': {
    disk: { serial: '6000C298DF15FE89DDCB8EA33329595D' },
    is: { cloud: 'vmware', volume: '6000C298-df15-fe89-ddcb-8ea33329595d' },
  },
  'a VMDK that does not show its UUID': { disk: { vendor: 'VMware' }, is: { cloud: 'vmware', volume: undefined } },
  'a virtio disk with a serial': {
    disk: { kernelName: 'vdb', serial: '8f3a1c2e-7b41-4d5a-9' },
    is: { cloud: 'virtio', volume: '8f3a1c2e-7b41-4d5a-9' },
  },
  'a virtio disk without one': { disk: { kernelName: 'vda' }, is: { cloud: 'virtio', volume: undefined } },
  'a disk of nobody': { disk: { vendor: 'ATA', model: 'Samsung SSD 870', serial: 'S6PNNX0R' }, is: undefined },
};

describe('cloudDiskOf', () => {
  for (const [name, { disk, links, chassis, is }] of Object.entries(table)) {
    it(`knows ${name}`, () => assert.deepEqual(cloudDiskOf({ ...nothing, ...disk }, links ?? [], chassis), is));
  }
});
