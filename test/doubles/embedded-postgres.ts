/** The demo and the tests start the same server. */
export { startPostgres, whyNoPostgres } from '../../src/demo/embedded-postgres.ts';
export type { EmbeddedOptions, EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
