/** The test run's cache of compiled code, for the environment of a Node process that a test starts. Empty when a file is run by itself. */
export function compileCache(): Record<string, string> {
  const directory = process.env['NODE_COMPILE_CACHE'];
  return directory === undefined ? {} : { NODE_COMPILE_CACHE: directory };
}
