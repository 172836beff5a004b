/** Stillpoint in guests: backups under load, kills, power cuts, unsound storage. */
import { scenariosAsTests } from './as-tests.ts';
import { wholeProgram } from './whole-program.ts';

await scenariosAsTests('the whole program', (name) => wholeProgram.has(name));
