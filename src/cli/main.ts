/** Entry point of the `rewardlens` program. */
import { runCommandLine } from './app.js';

// The reader of a pipe has left (`| head`): nothing more to say. 141 is what the shell reports for SIGPIPE.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') {
    process.exit(141);
  }
  throw error;
});

// The exit code is set, not forced: pending output still gets out.
process.exitCode = await runCommandLine(process.argv.slice(2));
