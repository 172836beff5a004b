import type { Kind } from './cluster.ts';
import { clusterpro } from './clusterpro.ts';
import { galera } from './galera.ts';
import { irisMirror } from './iris-mirror.ts';
import { mongodb } from './mongodb.ts';
import { patroni } from './patroni.ts';

export const kinds: readonly Kind[] = [irisMirror, patroni, galera, mongodb, clusterpro];
