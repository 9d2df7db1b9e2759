/** `rewardlens ablate --power` and the flags of a sweep's statistics. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { NEUTRAL_TEXT } from '../../src/ablate/neutralText.js';
import { parseCommandLine } from '../../src/cli/app.js';
import type { Io } from '../../src/cli/command.js';
import { UsageError } from '../../src/cli/errors.js';
import { readNeutralText } from '../../src/cli/power.js';

async function ablate(line: string, json = false): Promise<string[]> {
  const lines: string[] = [];
  const io = { json, out: (text: string) => lines.push(text), line: (value: unknown) => lines.push(JSON.stringify(value)) } as unknown as Io;
  const invocation = await parseCommandLine(['ablate', ...line.split(' ')]);
  if (invocation.kind === 'run') {
    await invocation.command.prepare(invocation.flags)(io);
  }
  return lines;
}

describe('ablate --power', () => {
  test('prints a table without folder, model or data set', async () => {
    const lines = await ablate('--power --items 200 --accuracy 0.7 --sets 8');
    expect(lines[1]).toMatch(/fall +discordant +items +items, 8 sets +power of 200 +8 sets/);
    expect(lines[4]).toMatch(/10 points +46 % +377 +602 +51.3 % +22.9 %/);
    expect(lines.at(-1)).toBe('Control draws with which a rank p-value can reach 0.05: 19; after Holm over 8 sets 159');
    expect((await ablate('--power --items 200 --accuracy 0.7')).at(-1)).toBe('Control draws with which a rank p-value can reach 0.05: 19');
  });

  test('and as JSON', async () => {
    const [line] = await ablate('--power --items 50 --accuracy 0.1 --discordance 0.1', true);
    expect(JSON.parse(line as string)).toMatchObject({ summary: { items: 50, accuracy: 0.1, discordance: 0.1, rows: [{ effect: 0.02 }, { effect: 0.05 }, { effect: 0.1 }], draws: 19 } });
  });

  test.each([
    ['--power --items 100', '--power: expected --items N and --accuracy P beside it'],
    ['--power --items 100 --accuracy 1.5', '--accuracy: expected a number in 0..1'],
    ['--power --items 100 --accuracy 1', 'accuracy: expected a number between 0 and 1, got 1'],
    ['--accuracy 0.5', '--accuracy: expected --power beside it'],
  ])('%s is refused', async (line, message) => {
    const refused = ablate(line);
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toBeInstanceOf(UsageError);
  });
});

describe('--neutral', () => {
  test('a file, none, or the bundled passage', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'rewardlens-neutral-'));
    await writeFile(join(directory, 'text.txt'), 'some text');
    expect(await readNeutralText(join(directory, 'text.txt'))).toEqual({ source: 'text.txt', text: 'some text' });
    expect(await readNeutralText('none')).toBeNull();
    expect(await readNeutralText(undefined)).toBe(NEUTRAL_TEXT);
    await expect(readNeutralText(join(directory, 'no.txt'))).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('--neutral') });
    await rm(directory, { recursive: true });
  });
});
