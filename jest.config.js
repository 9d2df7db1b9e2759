// One project per kind of test (folders of test/), so that `npm test -- --selectProjects unit` runs one kind.
// Tests are TypeScript and ES modules: swc strips types, Node's own loader links the modules (--experimental-vm-modules
// in the "test" script).
const shared = {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': ['$1.ts', '$1.js'] },
  modulePathIgnorePatterns: ['<rootDir>/build', '<rootDir>/dist'],
  transform: {
    '\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
        module: { type: 'es6' },
        sourceMaps: 'inline',
        swcrc: false,
      },
    ],
  },
};

const project = (name) => ({
  ...shared,
  displayName: name,
  testMatch: [`<rootDir>/test/${name}/**/*.test.ts`],
});

/** @type {import('jest').Config} */
export default {
  projects: ['unit', 'native', 'model', 'e2e'].map(project),
  // Model and end-to-end tests run forward passes.
  testTimeout: 60_000,
  // One file at a time: llama.cpp's threads wait for each other in busy loops, and two engines on the same cores slow each other down
  // far more than twofold.
  maxWorkers: 1,
};
