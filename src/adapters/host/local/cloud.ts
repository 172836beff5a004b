import type { Block } from './parse.ts';

/** What a disk is called outside of its machine: the name that a snapshot request would use. */
export interface CloudDisk {
  readonly cloud: 'aws' | 'azure' | 'google' | 'hyper-v' | 'vmware' | 'virtio';
  /** Undefined where the machine alone cannot tell. */
  readonly volume: string | undefined;
}

type Disk = Pick<Block, 'kernelName' | 'serial' | 'vendor' | 'model' | 'wwn' | 'hctl'>;

/** The chassis asset tag of every Azure machine (Microsoft's documentation of the instance metadata service). */
const azureChassis = '7783-7084-3265-9085-8269-3286-77';

type Rule = (disk: Disk, links: readonly string[], chassis: string | undefined) => CloudDisk | undefined;

/** First match counts: the more special ones stand first. */
const rules: readonly Rule[] = [
  /** AWS user guide, "map NVMe disks to EBS volumes": the serial is the volume's id without its dash. */
  ({ model, serial }) => {
    if (model === undefined || !/^Amazon (Elastic Block Store|EC2 NVMe Instance Storage)/.test(model)) return undefined;
    const id = /^vol-?([0-9a-f]{8,17})$/.exec(serial ?? '')?.[1];
    return { cloud: 'aws', volume: id === undefined ? undefined : `vol-${id}` };
  },
  /** Google's udev rule names each disk after its device name. */
  ({ vendor, model, serial }, links) => {
    const named = links.map((link) => /^by-id\/google-(.+)$/.exec(link)?.[1]).find((name) => name !== undefined);
    if (named !== undefined) return { cloud: 'google', volume: named };
    const google = vendor === 'Google' || model === 'nvme_card-pd';
    return google ? { cloud: 'google', volume: vendor === 'Google' ? serial : undefined } : undefined;
  },
  /** Azure's udev rules: by logical unit number for data disks, by role for the others. */
  (_disk, links) => {
    for (const link of links) {
      const [, lun] = /^azure\/(?:scsi1\/lun|data\/by-lun\/)(\d+)$/.exec(link) ?? [];
      if (lun !== undefined) return { cloud: 'azure', volume: `lun${lun}` };
      const [, role] = /^azure\/(root|os|resource|local)\b/.exec(link) ?? [];
      if (role !== undefined) return { cloud: 'azure', volume: role === 'root' ? 'os' : role };
    }
    return undefined;
  },
  /** Without the rules the SCSI address must do. The first controller holds system and temporary disk; data disks are on a later one. */
  ({ vendor, model, hctl }, _links, chassis) => {
    if (vendor !== 'Msft' || model !== 'Virtual Disk') return undefined;
    const cloud = chassis === azureChassis ? 'azure' : 'hyper-v';
    const [host, channel, target, lun] = hctl?.split(':') ?? [];
    const data = host !== undefined && host !== '0' && channel === '0' && target === '0';
    return { cloud, volume: data && lun !== undefined ? `lun${lun}` : undefined };
  },
  /** With disk.EnableUUID the page 0x83 identifier and the serial are the virtual disk's UUID, which VMware begins with 6000c29. */
  ({ wwn, serial, vendor }) => {
    for (const text of [wwn, serial]) {
      const [, hex] = /^(?:0x|naa\.)?(6000c29[0-9a-f]{25})$/i.exec(text ?? '') ?? [];
      if (hex !== undefined) return { cloud: 'vmware', volume: vmdkUuid(hex) };
    }
    return vendor === 'VMware' ? { cloud: 'vmware', volume: undefined } : undefined;
  },
  /** The serial of a virtio disk is what its hypervisor was told; without one there is no name. */
  ({ kernelName, serial }) => (/^vd[a-z]+$/.test(kernelName) ? { cloud: 'virtio', volume: serial } : undefined),
];

/** As vSphere's API writes it in `backing.uuid`. */
function vmdkUuid(hex: string): string {
  return hex.toLowerCase().replace(/^6000c29(.)(.{4})(.{4})(.{4})(.{12})$/, '6000C29$1-$2-$3-$4-$5');
}

/** `links`: the disk's names below /dev/disk. Pure; undefined for a disk that no rule knows. */
export function cloudDiskOf(disk: Disk, links: readonly string[], chassis: string | undefined): CloudDisk | undefined {
  for (const rule of rules) {
    const found = rule(disk, links, chassis);
    if (found !== undefined) return found;
  }
  return undefined;
}
