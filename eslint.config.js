// Rules that find bugs (type-checked), sizes that keep functions readable, and the direction of imports.
import { readdirSync } from 'node:fs';
import { createTypeScriptImportResolver } from 'eslint-import-resolver-typescript';
import importX from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

// Rooms of src/ and what each may import besides itself. cli/server → study → two branches that do not know each other:
// live (needs a model) and pure (typed arrays in, typed arrays out; probe training runs in the addon, without a model).
// Between them stand data rooms that both may read. The check below insists that every folder of src/ is listed.
const data = ['reward', 'dataset', 'store', 'stats'];
const live = ['native', 'model', 'capture', 'intervene', 'run', 'rollout', 'ablate', 'patch', 'apply'];
const pure = ['probe', 'rank', 'rpe', 'report', 'export'];
const allowed = {
  native: [],
  reward: [],
  dataset: ['reward'],
  store: [],
  stats: [],
  model: ['native'],
  capture: ['native', 'model'],
  intervene: ['native', 'model', 'capture'],
  run: ['native', 'model', 'capture', 'intervene'],
  rollout: ['native', 'model', 'capture', 'intervene', 'run', ...data],
  ablate: ['native', 'model', 'capture', 'intervene', 'run', 'rollout', ...data],
  patch: ['native', 'model', 'capture', 'intervene', 'run', 'rollout', ...data],
  apply: ['native', 'model', 'capture', 'intervene', 'run', 'rollout', ...data],
  probe: ['native', 'store', 'stats'],
  rank: ['probe', 'stats'],
  rpe: ['probe', 'stats'],
  export: [],
  report: ['probe', 'rank', 'rpe', 'export', 'stats'],
  util: [],
  study: [...data, ...live, ...pure],
  server: [...data, ...live, ...pure, 'study'],
  cli: [...data, ...live, ...pure, 'study', 'server'],
};
// Leaves that every room may import: the error class, and helpers that know nothing about rewardlens.
const shared = ['native/errors.ts', 'util'];

const rooms = readdirSync(new URL('src', import.meta.url), { withFileTypes: true }).filter((entry) => entry.isDirectory());
for (const { name } of rooms) {
  if (!(name in allowed)) {
    throw new Error(`src/${name} is not a known room: say in eslint.config.js what it may import`);
  }
}

const zones = Object.keys(allowed).map((room) => ({
  target: `./src/${room}`,
  from: './src',
  except: [...new Set([room, ...allowed[room], ...shared])].map((name) => `./${name}`),
  message: `src/${room} may import only: ${[...allowed[room], ...shared].join(', ')} (see eslint.config.js)`,
}));

export default tseslint.config(
  { ignores: ['build*/', 'dist/', 'coverage/', 'node_modules/', '**/*.d.mts', 'docs/'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { 'import-x': importX },
    settings: { 'import-x/resolver-next': [createTypeScriptImportResolver({ project: 'tsconfig.json' })] },
    rules: {
      eqeqeq: 'error',
      'max-lines': ['error', { max: 400 }],
      'no-console': 'off',
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/no-unnecessary-condition': 'off', // argues with noUncheckedIndexedAccess on typed arrays
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/only-throw-error': ['error', { allowThrowingAny: true, allowThrowingUnknown: true }], // signal.reason
      '@typescript-eslint/prefer-promise-reject-errors': 'error',
      '@typescript-eslint/require-await': 'off', // async functions may satisfy an async interface
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/return-await': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    },
  },
  {
    files: ['**/*.{js,mjs}'],
    rules: {
      eqeqeq: 'error',
      'max-lines': ['error', { max: 400 }],
      'no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'prefer-const': 'error',
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
      complexity: ['error', 20],
    },
  },
);
