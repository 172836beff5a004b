/** The one function of sodium-native that is used; the package brings no types of its own. */
declare module 'sodium-native' {
  const sodium: {
    /** Poly1305 of `message` under a 32-byte one-time key, into the 16 bytes of `out`. */
    crypto_onetimeauth(out: Buffer, message: Buffer, key: Buffer): void;
  };
  export default sodium;
}
