import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { StillpointError } from '../../../src/model/errors.ts';
import type { FreezeAnswer, FreezeStatus, HoldToken, MemberObservation, ThawAnswer } from '../../../src/model/hold.ts';
import type { Finding } from '../../../src/model/point.ts';
import type { Application, HoldSession, Located } from '../../../src/ports/application.ts';
import type { ApplicationModule, Platform } from '../../../src/ports/module.ts';

/**
 * The smallest engine that is reached by commands alone: `gate freeze|thaw|status`, in the directory where its data lies. As engines do,
 * it answers 5 for frozen and 3 for not.
 */
const config = z.strictObject({ directory: z.string() });

export async function installGate(directory: string): Promise<void> {
  const file = join(directory, 'gate');
  await writeFile(
    file,
    `#!/bin/sh
cd "\${0%/*}" || exit 1
case "$1" in
  freeze) : >frozen; [ -e hang ] && sleep 600; exit 5 ;;
  thaw) rm -f frozen; exit 3 ;;
  status) if [ -e frozen ]; then exit 5; else exit 3; fi ;;
esac
exit 1
`,
  );
  await chmod(file, 0o755);
  await writeFile(join(directory, 'rows'), 'rows\n');
}

class Gate implements Application {
  readonly engine = 'gate';
  readonly #directory: string;
  readonly #platform: Platform;

  constructor(directory: string, platform: Platform) {
    this.#directory = directory;
    this.#platform = platform;
  }

  async locate(): Promise<Located> {
    const path = await this.#platform.host.pathHere(this.#directory);
    if (path === undefined)
      throw new StillpointError('path-outside-group', `${this.#directory} cannot be seen from here`);
    return {
      version: '1',
      member: this.observation(),
      holdKind: 'writes-stopped',
      paths: [{ path, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [] }],
      bytes: 5,
      identity: this.#directory,
      facts: {},
    };
  }

  observation(): MemberObservation {
    return { member: this.#platform.host.name, role: 'standalone', epoch: '1' };
  }

  /** 5, 3, or nothing where it is not known. */
  async call(what: 'freeze' | 'thaw' | 'status', timeoutMs: number): Promise<5 | 3 | undefined> {
    const result = await this.#platform.exec.run({ argv: [join(this.#directory, 'gate'), what], timeoutMs });
    return result.exitCode === 5 || result.exitCode === 3 ? result.exitCode : undefined;
  }

  async answer(what: 'freeze' | 'status', timeoutMs: number): Promise<FreezeAnswer> {
    const code = await this.call(what, timeoutMs);
    return { frozen: code === 5, said: String(code), at: this.#platform.clock.now(), spans: [] };
  }

  openHold(): Promise<HoldSession> {
    return Promise.resolve({
      prepare: () => Promise.resolve(),
      freeze: () => this.answer('freeze', 10_000),
      ask: () => this.answer('status', 3_000),
      observe: () => Promise.resolve(this.observation()),
      thaw: () => this.thaw(),
      close: () => Promise.resolve(),
    });
  }

  async status(): Promise<FreezeStatus> {
    const code = await this.call('status', 3_000).catch(() => undefined);
    return { state: code === undefined ? 'unknown' : code === 5 ? 'frozen' : 'thawed', said: String(code) };
  }

  async thaw(_token?: HoldToken): Promise<ThawAnswer> {
    const before = await this.status();
    const code = await this.call('thaw', 3_000).catch(() => undefined);
    const { state } = await this.status();
    const thawed = code === 3 && state === 'thawed';
    const heldThroughout = before.state === 'frozen' && thawed;
    return { thawed, heldThroughout, said: state, at: this.#platform.clock.now(), spans: [], artifacts: [] };
  }

  // oxlint-disable-next-line class-methods-use-this, require-yield
  async *verify(): AsyncGenerator<Finding> {
    throw new Error('the gate has no copies');
  }
}

export const gate: ApplicationModule<z.output<typeof config>> = {
  kind: 'gate',
  config,
  reachable: true,
  create: (settings, _workload, platform) => new Gate(settings.directory, platform),
};
