import { z } from 'zod';

/** Ids are 64 bits, which JSON gives as text. `leader` is absent or 0 while nobody leads. */
const status = z.object({
  header: z.object({ member_id: z.string() }),
  leader: z.string().default('0'),
  raftTerm: z.string().default('0'),
});

export interface EtcdStatus {
  readonly own: string;
  readonly leader: string;
  readonly term: bigint;
}

/** `POST /v3/maintenance/status` of etcd 3.4 and later. Undefined: it is not understood. */
export function parseEtcdStatus(json: unknown): EtcdStatus | undefined {
  const parsed = status.safeParse(json).data;
  if (parsed === undefined || !/^\d+$/.test(parsed.raftTerm)) return undefined;
  return { own: parsed.header.member_id, leader: parsed.leader, term: BigInt(parsed.raftTerm) };
}
