/** Entry of the guard and of its sentinel: `node main.ts guard|sentinel`, with the spec as the first line of standard input. */
import { fileURLToPath } from 'node:url';
import { applications } from '../adapters/registry.ts';
import { guardProcess } from './process.ts';

process.exit(await guardProcess(applications, fileURLToPath(import.meta.url)));
