/** `vss.ts STATE diskshadow|vssadmin|powershell ARGS...`, and the same as a function: see README.md beside it. */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Shadow {
  readonly set: string;
  readonly volume: string;
  readonly at: string;
  readonly drive?: string;
}
interface State {
  /** By name of the volume: where it is. */
  readonly volumes: Readonly<Record<string, string>>;
  /** By drive letter: where it is mounted when a shadow copy is exposed. */
  readonly drives: Readonly<Record<string, string>>;
  readonly shadows: Readonly<Record<string, Shadow>>;
  readonly writerFailed: boolean;
}

function guidOf(text: string): string {
  // One of the volume, the same in each call.
  return `{${Buffer.from(text.padEnd(16, '-'))
    .toString('hex')
    .slice(0, 32)
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')}}`;
}

function say(...lines: readonly string[]): string {
  return lines.map((line) => `${line}\r\n`).join('');
}

class Failed extends Error {}

function call(program: string, ...argv: readonly string[]): void {
  execFileSync(program, argv, { stdio: 'ignore' });
}

export interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
}

/** Runs one program of the machine whose state is in a directory. */
export function windowsProgram(directory: string, program: string, given: readonly string[], stdin: string): Ended {
  const file = join(directory, 'state.json');
  const args = [...given];
  let stdout = '';
  const state = (): State => JSON.parse(readFileSync(file, 'utf8')) as State;
  const fault = existsSync(join(directory, 'fault')) ? readFileSync(join(directory, 'fault'), 'utf8') : '';
  const isChinese = existsSync(join(directory, 'language'));

  const write = (text: string): void => {
    stdout += text;
  };

  function save(more: Partial<State>): void {
    writeFileSync(`${file}.${process.pid}`, JSON.stringify({ ...state(), ...more }));
    renameSync(`${file}.${process.pid}`, file);
  }

  function here(windowsPath: string): string {
    return join(directory, 'c', windowsPath.replace(/^C:/, '').replaceAll('\\', '/'));
  }

  function create(added: ReadonlyMap<string, string>): string {
    if (fault !== '') rmSync(join(directory, 'fault'));
    if (fault === 'veto')
      throw new Failed(say('', 'COM call "(*vssObject)->DoSnapshotSet" failed.', 'Error 0x80042306'));
    if (fault === 'timeout') throw new Failed(say('', 'A writer ended with 0x800423F2'));
    if (fault === 'silent') return say('', 'Nothing to do.');
    const set = `{${randomUUID()}}`;
    const shadows: Record<string, Shadow> = {};
    const lines: string[] = [];
    for (const [alias, volume] of added) {
      const place = state().volumes[volume];
      if (place === undefined) throw new Failed(say(`The volume ${volume} is not known. 0x8004230C`));
      const id = `{${randomUUID()}}`;
      const at = join(place, 'System Volume Information', id);
      mkdirSync(join(at, '..'), { recursive: true });
      call('btrfs', 'subvolume', 'snapshot', '-r', place, at);
      shadows[id] = { set, volume, at };
      const words = isChinese
        ? ['\u5377\u5f71\u526f\u672c ID', '\u5377\u5f71\u526f\u672c\u96c6', '\u539f\u59cb\u5377\u540d\u79f0']
        : ['Shadow copy ID', 'Shadow copy set', 'Original volume name'];
      lines.push(
        `\t* ${words[0]} = ${id}\t\t%${alias}%`,
        `\t\t- ${words[1]}: ${set}\t%VSS_SHADOW_SET%`,
        `\t\t- ${words[2]}: \\\\?\\Volume${guidOf(volume)}\\ [${volume}]`,
        '',
      );
    }
    // As in the kernel of a real one: all of the set or none.
    save({ shadows: { ...state().shadows, ...shadows }, writerFailed: fault === 'writer-failed' });
    return say(
      '',
      ...lines,
      isChinese ? `\u5df2\u5217\u51fa: ${added.size}` : `Number of shadow copies listed: ${added.size}`,
    );
  }

  function expose(id: string, drive: string): string {
    const { shadows, drives } = state();
    const shadow = shadows[id];
    const at = drives[drive];
    if (shadow === undefined || at === undefined || Object.values(shadows).some((each) => each.drive === drive)) {
      throw new Failed(say(`The shadow copy ${id} cannot be exposed as ${drive}`));
    }
    call('mount', '--bind', shadow.at, at);
    save({ shadows: { ...shadows, [id]: { ...shadow, drive } } });
    return say(`The shadow copy was exposed as ${drive}\\.`);
  }

  function unexpose(id: string): string {
    const { shadows, drives } = state();
    const shadow = shadows[id];
    if (shadow?.drive === undefined) throw new Failed(say(`${id} is not exposed`));
    call('umount', drives[shadow.drive] ?? '');
    const { drive: _, ...rest } = shadow;
    save({ shadows: { ...shadows, [id]: rest } });
    return '';
  }

  function remove(id: string): string {
    const { [id]: shadow, ...rest } = state().shadows;
    if (shadow === undefined) throw new Failed(say(`No shadow copy ${id}`));
    if (shadow.drive !== undefined) throw new Failed(say(`${id} is exposed`));
    call('btrfs', 'subvolume', 'delete', shadow.at);
    save({ shadows: rest });
    return say('1 shadow copy deleted.');
  }

  /** Reads ASCII with CR LF, refuses every line that it does not know, and stops at the first that fails. */
  function diskshadow(): number {
    const script = readFileSync(here(args[args.indexOf('/s') + 1] ?? ''), 'latin1');
    const log = here(args[args.indexOf('/l') + 1] ?? '');
    const print = (text: string): void => {
      write(text);
      writeFileSync(log, text, { flag: 'a' });
    };
    print(say('Microsoft DiskShadow version 1.0', ''));
    const added = new Map<string, string>();
    let began = false;
    for (const line of script.split('\r\n')) {
      if (line === '') continue;
      print(say(`-> ${line}`));
      try {
        const [, volume, alias] = /^add volume (\S+) alias (\w+)$/.exec(line) ?? [];
        const [, exposed, drive] = /^expose (\{\S+\}) ([A-Z]:)$/.exec(line) ?? [];
        const [, unexposed] = /^unexpose (\{\S+\})$/.exec(line) ?? [];
        const [, deleted] = /^delete shadows id (\{\S+\})$/.exec(line) ?? [];
        if (fault === 'not-elevated') throw new Failed(say('', 'COM call "(*vssObject)->InitializeForBackup" failed.'));
        if (volume !== undefined && alias !== undefined) added.set(alias, volume);
        else if (line === 'begin backup') began = true;
        else if (line === 'create') {
          if (!began) throw new Failed('no begin backup');
          print(create(added));
        } else if (exposed !== undefined && drive !== undefined) print(expose(exposed, drive));
        else if (unexposed !== undefined) print(unexpose(unexposed));
        else if (deleted !== undefined) print(remove(deleted));
        else if (line === 'exit') return 0;
        else if (
          !/^(?:set (?:context persistent|verbose on|metadata C:\S+\.cab)|writer verify \{\S+\}|end backup)$/.test(line)
        ) {
          throw new Failed(say(`${line} is not a command`));
        }
      } catch (error) {
        if (!(error instanceof Failed)) throw error;
        print(error.message);
        return 1;
      }
    }
    return 0;
  }

  function vssadmin(): number {
    write(say('vssadmin 1.1 - Volume Shadow Copy Service administrative command-line tool', ''));
    if (fault === 'not-elevated') {
      write(say("Error: You don't have the correct permissions to run this command."));
      return 2;
    }
    const { shadows, writerFailed } = state();
    if (args.join(' ') === 'list writers') {
      const writer = (name: string, id: string, number: number, word: string, error: string): string =>
        say(
          `${isChinese ? '\u7f16\u5199\u5668\u540d\u79f0: ' : 'Writer name: '}'${name}'`,
          `   Writer Id: ${id}`,
          `   Writer Instance Id: ${guidOf(`${name} instance`)}`,
          `   State: [${number}] ${word}`,
          `   Last error: ${error}`,
          '',
        );
      const none = isChinese ? '\u65e0\u9519\u8bef' : 'No error';
      write(writer('System Writer', '{e8132975-6f93-4464-a53e-1050253ae220}', 1, 'Stable', none));
      write(
        writerFailed
          ? writer('SqlServerWriter', '{a65faa63-5ea8-4ebc-9dbd-a0c4db26912a}', 8, 'Failed', 'Non-retryable error')
          : writer('SqlServerWriter', '{a65faa63-5ea8-4ebc-9dbd-a0c4db26912a}', 1, 'Stable', none),
      );
      return 0;
    }
    if (Object.keys(shadows).length === 0) {
      write(say('No items found that satisfy the query.'));
      return 1;
    }
    for (const [id, { set, volume }] of Object.entries(shadows)) {
      write(
        say(
          `Contents of shadow copy set ID: ${set}`,
          '   Contained 1 shadow copies at creation time: 1/2/2026 3:04:05 AM',
          `      Shadow Copy ID: ${id}`,
          `         Original Volume: (${volume})\\\\?\\Volume${guidOf(volume)}\\`,
          '         Attributes: Persistent, No auto release, Differential',
          '',
        ),
      );
    }
    return 0;
  }

  /** The four scripts of src/adapters/snapshot/vss/commands.ts, by their first line and what they set. */
  function powershell(): number {
    const script = Buffer.from(args.at(-1) ?? '', 'base64').toString('utf16le');
    const [, what] = /^# stillpoint vss (\w+)\n/.exec(script) ?? [];
    const [, place = ''] = /^\$[df]='([^']*)'$/m.exec(script) ?? [];
    const at = here(place);
    if (what === 'prepare') {
      if (fault === 'not-elevated') return 5;
      mkdirSync(at, { recursive: true });
      return 0;
    }
    if (what === 'remove') {
      for (const end of ['dsh', 'cab', 'attempt', 'log']) rmSync(`${at}.${end}`, { force: true });
      return 0;
    }
    if (what === 'logs') {
      const names = existsSync(at) ? readdirSync(at).filter((name) => /^stillpoint-.*\.log$/.test(name)) : [];
      for (const name of names) {
        const base = name.replace(/\.log$/, '');
        const attempt = existsSync(join(at, `${base}.attempt`))
          ? readFileSync(join(at, `${base}.attempt`), 'utf8').trim()
          : '';
        const log = readFileSync(join(at, name)).toString('base64');
        if (statSync(join(at, name)).isFile()) write(say(`log ${base} [${attempt}] ${log}`));
      }
      return 0;
    }
    if (what !== 'run') throw new Error(`not understood: ${script}`);
    const [, attempt] = /Set-Content -LiteralPath "\$f\.attempt" -Value '(\w+)'/.exec(script) ?? [];
    if (attempt !== undefined) {
      if (existsSync(`${at}.log`)) {
        write(say('stillpoint: exists'));
        return 3;
      }
      writeFileSync(`${at}.attempt`, `${attempt}\r\n`);
    }
    writeFileSync(`${at}.dsh`, stdin);
    args.splice(0, args.length, '/s', `${place}.dsh`, '/l', `${place}.log`);
    const code = diskshadow();
    rmSync(`${at}.dsh`);
    if (attempt === undefined) rmSync(`${at}.log`, { force: true });
    return code;
  }

  const programs: Readonly<Record<string, () => number>> = { diskshadow, vssadmin, powershell };
  const exitCode = programs[program]?.() ?? 9;
  return { exitCode, stdout };
}

const [, main, directory_ = '', program_ = '', ...args_] = process.argv;
if (main === import.meta.filename) {
  const stdin = program_ === 'powershell' ? readFileSync(0, 'latin1') : '';
  const { exitCode, stdout } = windowsProgram(directory_, program_, args_, stdin);
  process.stdout.write(stdout);
  process.exitCode = exitCode;
}
