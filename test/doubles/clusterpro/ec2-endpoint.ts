/** An address that speaks EC2's query protocol for the verbs that the stand-in knows: the real `aws` program can be pointed at it. */
import { createServer } from 'node:http';
import type { ClusterproStandIn } from './stand-in.ts';

export interface Ec2Endpoint extends AsyncDisposable {
  readonly url: string;
  /** Names of the actions that were asked for, in order. */
  readonly asked: readonly string[];
}

/** Parameters of a list, by the option of the program that they come from. */
const lists: Readonly<Record<string, string>> = {
  InstanceId: '--instance-ids',
  VolumeId: '--volume-ids',
  SnapshotId: '--snapshot-ids',
  SourceSnapshotId: '--source-snapshot-ids',
  AvailabilityZone: '--availability-zones',
};

const kebab = (name: string): string => name.replaceAll(/(?<!^)(?=[A-Z])/g, '-').toLowerCase();

/** `Action=DescribeVolumes&Filter.1.Name=...` as the arguments of the program. */
export function argumentsOf(query: URLSearchParams): readonly string[] {
  const options = new Map<string, string[]>();
  const add = (name: string, value: string): void => void options.set(name, [...(options.get(name) ?? []), value]);
  const tags: string[] = [];
  for (const [key, value] of query) {
    const [name = '', index, ...rest] = key.split('.');
    if (['Action', 'Version', 'Owner'].includes(name)) continue;
    if (name === 'Filter') {
      if (rest[0] === 'Name') add('--filters', `Name=${value},Values=${query.get(`Filter.${index}.Value.1`) ?? ''}`);
    } else if (name === 'TagSpecification') {
      if (rest[0] === 'Tag' && rest[2] === 'Key')
        tags.push(`{Key=${value},Value=${query.get(key.replace(/Key$/, 'Value')) ?? ''}}`);
    } else {
      add(index === undefined ? `--${kebab(name)}` : (lists[name] ?? `--${kebab(name)}`), value);
    }
  }
  if (tags.length > 0)
    add(
      '--tag-specifications',
      `ResourceType=${query.get('TagSpecification.1.ResourceType')},Tags=[${tags.join(',')}]`,
    );
  return [kebab(query.get('Action') ?? ''), ...[...options].flatMap(([name, values]) => [name, ...values])];
}

/** Names of EC2's answers that are not those of the program's with a small letter. */
const names: Readonly<Record<string, string>> = {
  Reservations: 'reservationSet',
  Instances: 'instancesSet',
  StartingInstances: 'instancesSet',
  StoppingInstances: 'instancesSet',
  Volumes: 'volumeSet',
  Attachments: 'attachmentSet',
  Snapshots: 'snapshotSet',
  BlockDeviceMappings: 'blockDeviceMapping',
  FastSnapshotRestores: 'fastSnapshotRestoreSet',
  FastSnapshotRestoreStateErrors: 'fastSnapshotRestoreStateErrorSet',
  Successful: 'successful',
  Unsuccessful: 'unsuccessful',
};

function nameOf(key: string, of: Readonly<Record<string, unknown>>): string {
  if (key === 'State' && typeof of['State'] === 'object') return 'instanceState';
  if (key === 'State' && !('FastSnapshotRestoreState' in of) && !('StateTransitionReason' in of)) return 'status';
  return names[key] ?? `${key.charAt(0).toLowerCase()}${key.slice(1)}`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function xml(value: unknown): string {
  if (Array.isArray(value)) return value.map((each) => `<item>${xml(each)}</item>`).join('');
  if (typeof value !== 'object' || value === null) return escaped(String(value));
  const of = value as Readonly<Record<string, unknown>>;
  return Object.entries(of)
    .map(([key, each]) => {
      const name = nameOf(key, of);
      // As EC2 gives it; the program decodes it.
      const inner = key === 'Output' ? Buffer.from(String(each)).toString('base64') : xml(each);
      return `<${name}>${inner}</${name}>`;
    })
    .join('');
}

export async function ec2Endpoint(standIn: ClusterproStandIn): Promise<Ec2Endpoint> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const body: Buffer[] = [];
    request.on('data', (part: Buffer) => void body.push(part));
    request.on('end', () => {
      const query = new URLSearchParams(Buffer.concat(body).toString());
      const action = query.get('Action') ?? '';
      asked.push(action);
      const { exitCode, stdout, stderr } = standIn.run('client', 'aws', 'ec2', ...argumentsOf(query));
      const [, code, said] = /\((\w[\w.]*)\) when calling the \w+ operation: (.*)/.exec(stderr) ?? [];
      if (exitCode === 0)
        response.end(`<${action}Response><requestId>r</requestId>${xml(JSON.parse(stdout))}</${action}Response>`);
      else if (code === undefined) response.destroy();
      else {
        response.statusCode = 400;
        response.end(
          `<Response><Errors><Error><Code>${code}</Code><Message>${escaped(said ?? '')}</Message></Error></Errors><RequestID>r</RequestID></Response>`,
        );
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  return {
    url: `http://127.0.0.1:${address.port}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
