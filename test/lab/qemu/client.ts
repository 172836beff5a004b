/**
 * A run of the provider in a process of its own, to be killed: cuts, opens, reads, closes and deletes until then. The argument is
 * `{ config, stateDirectory, paths }` as JSON; prints each step when it begins.
 */
import { readdirSync } from 'node:fs';
import { qemu } from '../../../src/adapters/snapshot/qemu/provider.ts';
import type { Config } from '../../../src/adapters/snapshot/qemu/config.ts';
import type { RequiredPath } from '../../../src/model/storage.ts';
import { realPlatform } from '../../doubles/platform.ts';

const { config, stateDirectory, paths } = JSON.parse(process.argv[2] ?? '') as {
  readonly config: Config;
  readonly stateDirectory: string;
  readonly paths: readonly RequiredPath[];
};
const { signal } = new AbortController();
const say = (what: string): boolean => process.stdout.write(`${what}\n`);
const provider = qemu.create(config, realPlatform(stateDirectory));
const group = await provider.locate(paths, signal);
say('prepare');
await provider.prepare(group, signal);
say('cut');
const { cuts } = await provider.cut(group, 'stillpoint-killed', signal);
say('open');
const opened = await Promise.all(cuts.map(({ snapshot }) => provider.open(snapshot)));
say('read');
for (const one of opened) for (const { path } of paths) if (one.at(path) !== undefined) readdirSync(one.at(path) ?? '');
say('close');
for (const one of opened) await one[Symbol.asyncDispose]();
say('delete');
for (const { snapshot } of cuts) await provider.delete(snapshot);
say('done');
