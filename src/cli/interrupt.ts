/** Ctrl-C and termination: the first one asks the work to stop, the second one leaves at once. */
import { RewardLensError } from '../native/errors.js';

const NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const;

/** The signal for work in progress, and the exit code once it has fired. */
export interface Interrupt {
  readonly signal: AbortSignal;
  /** 128 + signal number after an interrupt. */
  exitCode(): number | undefined;
  dispose(): void;
}

/** Listens for SIGINT and SIGTERM. `onFirst` tells the user that the request has been heard. */
export function listenForInterrupt(onFirst: () => void): Interrupt {
  const controller = new AbortController();
  let code: number | undefined;
  const handler = (name: NodeJS.Signals): void => {
    if (code !== undefined) {
      process.exit(code);
    }
    code = 128 + NUMBERS[name as keyof typeof NUMBERS];
    onFirst();
    controller.abort(new RewardLensError('ABORTED', `interrupted by ${name}`));
  };
  for (const name of Object.keys(NUMBERS) as NodeJS.Signals[]) {
    process.on(name, handler);
  }
  return {
    signal: controller.signal,
    exitCode: () => code,
    dispose: () => {
      for (const name of Object.keys(NUMBERS) as NodeJS.Signals[]) {
        process.off(name, handler);
      }
    },
  };
}
