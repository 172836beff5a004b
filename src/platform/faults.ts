import { killExactly, self } from './process.ts';

/**
 * For tests that stop or kill a run at one of its transitions: `STILLPOINT_FAULT=stop:before:cut` stops this process there (SIGSTOP),
 * `exit:after:freeze` kills it (SIGKILL). Undefined, and without any cost, when the variable is not set.
 */
export function faultFromEnvironment(
  value: string | undefined = process.env['STILLPOINT_FAULT'],
): ((transition: string) => Promise<void>) | undefined {
  if (value === undefined || value === '') return undefined;
  const [, action, at] = /^(stop|exit):((?:before|after):[a-z-]+)$/.exec(value) ?? [];
  if (action === undefined) {
    throw new Error(`STILLPOINT_FAULT is "${value}", not like stop:before:cut or exit:after:freeze`);
  }
  const signal = action === 'stop' ? 'SIGSTOP' : 'SIGKILL';
  return async (transition) => {
    if (transition === at) killExactly(self(), signal);
  };
}
