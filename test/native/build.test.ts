// The build itself: what cmake-js leaves in build/Release, and what configuring says about packages that do not fit.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from '@jest/globals';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const release = path.join(root, 'build/Release');

interface BuildInfo {
  llamaRelease: string;
  headersRelease: string;
  flavor: string;
  libraryDir: string;
  plugins: Record<string, string>;
}

describe('build/Release', () => {
  const info = JSON.parse(readFileSync(path.join(release, 'rewardlens-build.json'), 'utf8')) as BuildInfo;

  test('the addon loads in a bare Node process from any directory', () => {
    const script = `process.stdout.write(typeof require(${JSON.stringify(path.join(release, 'rewardlens.node'))}))`;
    expect(execFileSync(process.execPath, ['-e', script], { cwd: tmpdir(), encoding: 'utf8' })).toBe('object');
  });

  test('the addon loads inside jest', () => {
    const addon: unknown = createRequire(import.meta.url)(path.join(release, 'rewardlens.node'));
    expect(typeof addon).toBe('object');
  });

  test('headers and libraries are of one release', () => {
    expect(info.headersRelease).toBe(info.llamaRelease);
    expect(['prebuilt', 'source']).toContain(info.flavor);
  });

  test('library and plugin paths resolve from the directory of the addon', () => {
    for (const relative of [info.libraryDir, ...Object.values(info.plugins)]) {
      expect(path.isAbsolute(relative)).toBe(false);
      expect(existsSync(path.join(release, relative))).toBe(true);
    }
  });
});

describe('configuring with packages of different releases', () => {
  const project = mkdtempSync(path.join(tmpdir(), 'rewardlens-build-'));
  afterAll(() => rmSync(project, { recursive: true, force: true }));

  const writePackage = (name: string, files: Record<string, string>) => {
    for (const [file, text] of Object.entries(files)) {
      const target = path.join(project, 'node_modules', name, file);
      mkdirSync(path.dirname(target), { recursive: true });
      writeFileSync(target, text);
    }
  };

  test('stops and names both releases', () => {
    const platform = path.join('bins', `linux-${process.arch}`);
    for (const part of ['CMakeLists.txt', 'cmake']) cpSync(path.join(root, part), path.join(project, part), { recursive: true });
    writePackage('node-llama-cpp', {
      'package.json': '{"version": "9.9.9"}',
      'llama/binariesGithubRelease.json': '{"release": "v9.9.9"}',
      'llama/llama.cpp.info.json': '{"tag": "v9.9.9"}',
    });
    writePackage(`@node-llama-cpp/linux-${process.arch}`, {
      'package.json': '{"version": "3.22.1"}',
      [`${platform}/_nlcBuildMetadata.json`]: '{"buildOptions": {"llamaCpp": {"release": "v0.5.0"}}}',
      [`${platform}/libllama.v0.5.0.so`]: '',
      [`${platform}/libggml.v0.5.0.so`]: '',
      [`${platform}/libggml-base.so`]: '',
    });
    const run = spawnSync('cmake', ['-S', project, '-B', path.join(project, 'build'), '-DREWARDLENS_ADDON=OFF'], {
      encoding: 'utf8',
    });
    expect(run.status).not.toBe(0);
    expect(run.stderr).toContain('llama.cpp headers and libraries differ');
    expect(run.stderr).toMatch(/headers:\s+v9\.9\.9 \(node-llama-cpp 9\.9\.9/);
    expect(run.stderr).toMatch(/libraries:\s+v0\.5\.0 \(@node-llama-cpp/);
  });
});
