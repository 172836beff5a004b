/** Scenarios in which Stillpoint itself runs in the guest. They have a test file of their own, so that two guests are at work at a time. */
export const wholeProgram: ReadonlySet<string> = new Set([
  'backup',
  'gtm',
  'kill',
  'power-cut',
  'qemu-array',
  'refuse',
]);
