/** Debug and progress messages. Never receives a secret. The command line decides where they go. */
export interface Logger {
  info(message: string, details?: Readonly<Record<string, unknown>>): void;
  warn(message: string, details?: Readonly<Record<string, unknown>>): void;
}
export const silent: Logger = { info: () => undefined, warn: () => undefined };
