/** `program.ts ROOT SERVER PROGRAM ARGS...`: what stands behind the executables of a stand-in. The server `client` has only `aws`. */
import { writeSync } from 'node:fs';
import { aws } from './ec2.ts';
import { runProgram } from './programs.ts';
import { hang, Store } from './state.ts';
import { World } from './world.ts';

const [root = '', server = '', program = '', ...args] = process.argv.slice(2);
const store = new Store(root);
const answer = store.update((state) => {
  const world = new World(state, store);
  return server === 'client' ? aws(world, args) : runProgram(world, server, program, args);
});
if (answer === 'hang') hang(root);
else {
  writeSync(1, answer.out);
  writeSync(2, answer.err ?? '');
  process.exitCode = answer.code;
}
