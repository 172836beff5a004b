import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { missingEntries } from './complete-lock.ts';

describe('missingEntries', () => {
  it('names the platform packages that a lock leaves out, and only those', () => {
    const lock = {
      packages: {
        'node_modules/tool': {
          dev: true,
          optionalDependencies: {
            '@tool/linux-x64-musl': '1.2.3',
            '@tool/binding-linux-arm-gnueabihf': '1.2.3',
            '@tool/win32-x64-msvc': '1.2.3',
            '@tool/linux-x64-gnu': '1.2.3',
          },
        },
        'node_modules/@tool/linux-x64-gnu': { version: '1.2.3' },
      },
    };
    assert.deepEqual(missingEntries(lock), {
      'node_modules/@tool/linux-x64-musl': {
        version: '1.2.3',
        cpu: ['x64'],
        libc: ['musl'],
        os: ['linux'],
        dev: true,
        optional: true,
      },
      'node_modules/@tool/binding-linux-arm-gnueabihf': {
        version: '1.2.3',
        cpu: ['arm'],
        libc: ['glibc'],
        os: ['linux'],
        dev: true,
        optional: true,
      },
      'node_modules/@tool/win32-x64-msvc': { version: '1.2.3', cpu: ['x64'], os: ['win32'], dev: true, optional: true },
    });
  });

  it('guesses no platform', () => {
    assert.throws(
      () => missingEntries({ packages: { a: { optionalDependencies: { fsevents: '2.0.0' } } } }),
      /fsevents does not tell its platform/,
    );
  });
});
