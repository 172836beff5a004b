/**
 * restic cuts files with a Rabin fingerprint whose polynomial is the repository's own. Stillpoint's chunks are of fixed size, but
 * restic demands the polynomial in `config`, for the day when it backs up into the same repository.
 */
const degree = 53;

function degreeOf(polynomial: bigint): number {
  return polynomial.toString(2).length - 1;
}

function modulo(value: bigint, divisor: bigint): bigint {
  const size = degreeOf(divisor);
  let rest = value;
  for (let shift = degreeOf(rest) - size; rest !== 0n && shift >= 0; shift = degreeOf(rest) - size) {
    rest ^= divisor << BigInt(shift);
  }
  return rest;
}

function squareModulo(value: bigint, divisor: bigint): bigint {
  // Over GF(2) squaring only spreads the bits apart.
  const spread = value.toString(2).split('').join('0');
  return modulo(BigInt(`0b${spread}`), divisor);
}

function greatestCommonDivisor(left: bigint, right: bigint): bigint {
  let [a, b] = [left, right];
  while (b !== 0n) [a, b] = [b, modulo(a, b)];
  return a;
}

/** Ben-Or's test: irreducible if it shares no factor with x^(2^i) - x for any i up to half its degree. */
export function isIrreducible(polynomial: bigint): boolean {
  let power = 0b10n;
  for (let i = 1; i <= degreeOf(polynomial) / 2; i++) {
    power = squareModulo(power, polynomial);
    if (greatestCommonDivisor(polynomial, power ^ 0b10n) !== 1n) return false;
  }
  return true;
}

/** A random irreducible polynomial of degree 53, in hex as `config` wants it. About one try in 27 hits. */
export function randomPolynomial(randomness: (bytes: number) => Buffer): string {
  for (;;) {
    const random = BigInt(`0x${randomness(8).toString('hex')}`) & ((1n << BigInt(degree)) - 1n);
    const candidate = random | (1n << BigInt(degree)) | 1n;
    if (isIrreducible(candidate)) return candidate.toString(16);
  }
}
