import { z } from 'zod';

/** One word that ssh cannot take for an option, and no shell for anything else. */
const word = (what: string) =>
  z.string().regex(/^[A-Za-z0-9_:[\]][A-Za-z0-9_.:%@[\]-]*$/, { error: `must be ${what}` });

const absolute = z.string().startsWith('/', { error: 'must be an absolute path' });

/** What these settings promise: never a question, always a checked host key, never a terminal, no forwarding, our own shared connection. */
const ours =
  /^(?:BatchMode|StrictHostKeyChecking|NoHostAuthenticationForLocalhost|VerifyHostKeyDNS|UpdateHostKeys|UserKnownHostsFile|Control\w+|RequestTTY|RemoteCommand|SessionType|ForkAfterAuthentication|StdinNull|ClearAllForwardings|Forward\w+|Tunnel|(?:Permit)?LocalCommand|EscapeChar|LogLevel)$/i;

export const config = z
  .strictObject({
    host: word('the name or address of a host').describe("Name or address, or a `Host` of the user's ssh_config."),
    user: z
      .string()
      .regex(/^[A-Za-z0-9_][A-Za-z0-9_.@$\\-]*$/, { error: 'must be the name of a user' })
      .optional()
      .describe('User to log in as. That of ssh_config, or our own, if absent.'),
    port: z
      .int()
      .min(1)
      .max(65_535)
      .optional()
      .describe('Port of the SSH server. That of ssh_config, or 22, if absent.'),
    identityFile: absolute
      .optional()
      .describe('Private key, readable by us without a passphrase. Those of ssh_config and the agent if absent.'),
    knownHosts: absolute
      .optional()
      .describe(
        "File with the host's public key, as ssh-keyscan prints it and you have checked it. The user's known_hosts if absent. A host whose key is not there is refused.",
      ),
    options: z
      .record(
        z
          .string()
          .regex(/^[A-Za-z]+$/, { error: 'must be the name of an option of ssh_config' })
          .refine((name) => !ours.test(name), { error: 'is set by Stillpoint itself' }),
        z.string().regex(/^\P{Cc}+$/u, { error: 'must be one line' }),
      )
      .optional()
      .describe('Further options of ssh_config(5), by name: ProxyJump, HostKeyAlias...'),
    shell: z
      .enum(['sh', 'powershell'])
      .default('sh')
      .describe('`sh` for any POSIX system; `powershell` for Windows with its OpenSSH server.'),
  })
  .meta({
    description: 'Another machine, through the `ssh` client of OpenSSH. Its host key is always checked.',
    examples: [{ host: 'db1.example', user: 'backup', identityFile: '/etc/stillpoint/ssh_key' }],
  });

export type Config = z.output<typeof config>;
