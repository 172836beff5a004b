/** What one member's question shares with those of the others. */
export interface Around<T> {
  /**
   * This member has answered. `found`: it is what the others are measured against, or may be; one that is `certain` is taken at once,
   * any other only when all have answered.
   */
  readonly answered: (found?: T, certain?: boolean) => void;
  /** Undefined: all have answered or failed, and nobody is it. */
  readonly primary: Promise<T | undefined>;
}

/**
 * Asks all members of a cluster at once, where what a standby is asked depends on what the primary answers. A standby that answers waits
 * for that, and nobody waits for a server that is silent.
 */
export async function askAround<Member, T, Seen>(
  members: readonly Member[],
  ask: (member: Member, around: Around<T>) => Promise<Seen>,
): Promise<readonly Seen[]> {
  const primary = Promise.withResolvers<T | undefined>();
  const answers = members.map(() => Promise.withResolvers<void>());
  let perhaps: T | undefined;
  void Promise.all(answers.map(({ promise }) => promise)).then(() => primary.resolve(perhaps));
  return await Promise.all(
    members.map(async (member, index) => {
      const answered: Around<T>['answered'] = (found, certain) => {
        if (found !== undefined && certain === true) primary.resolve(found);
        perhaps ??= found;
        answers[index]?.resolve();
      };
      try {
        return await ask(member, { answered, primary: primary.promise });
      } finally {
        answered();
      }
    }),
  );
}
