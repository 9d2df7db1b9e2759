/** Arms of one layer joined to arms of several. */
import { expect, test } from '@jest/globals';
import { BASE_ARM, makeArm } from '../../src/ablate/arms.js';
import type { Arm, ArmRole } from '../../src/ablate/arms.js';
import { earlierLayers, interplayArms } from '../../src/study/interplayArms.js';

const arm = (role: ArmRole, draw: number, layer: number, neurons: number[], share = 0.1): Arm =>
  makeArm({ role, group: role === 'set' ? 'top' : 'random', draw, site: 'residPost', layer, share, kind: 'zero', positions: 'all', neurons });
const ARMS = [BASE_ARM, arm('set', 0, 3, [1, 2]), arm('control', 0, 3, [5, 6]), arm('control', 1, 3, [7, 8]), arm('set', 0, 1, [4, 9]), arm('control', 0, 1, [2, 3]), arm('set', 0, 1, [4], 0.05)];

test('the same set or draw of every layer goes together, what a layer lacks does not', () => {
  const [base, ...joint] = interplayArms(ARMS, { alone: false });
  expect(base).toMatchObject({ name: 'base', layers: [], neurons: [], interventions: [] });
  expect(joint.map(({ name, layers, neurons }) => ({ name, layers, neurons }))).toEqual([
    { name: 'top-10%-L1,3-zero-all', layers: [1, 3], neurons: [[4, 9], [1, 2]] },
    { name: 'random#0-10%-L1,3-zero-all', layers: [1, 3], neurons: [[2, 3], [5, 6]] },
  ]);
  expect(joint[0]?.interventions.map((one) => ({ layers: one.layers, neurons: 'neurons' in one ? one.neurons : [] }))).toEqual([{ layers: [1], neurons: [4, 9] }, { layers: [3], neurons: [1, 2] }]);
  const both = interplayArms(ARMS, { alone: true }).map(({ name }) => name);
  expect(both).toHaveLength(ARMS.length + 2);
  expect(new Set(both).size).toBe(both.length);
});

test('lists of different length in every layer go together, beside their draws', () => {
  const listed = [
    BASE_ARM,
    ...[[1, [4, 9], 0.2], [3, [7], 0.1]].flatMap(([layer, neurons, share]) => [
      { ...arm('set', 0, layer as number, neurons as number[], share as number), group: 'list' },
      arm('control', 0, layer as number, neurons as number[], share as number),
    ]),
  ];
  expect(interplayArms(listed, { alone: false }).slice(1).map(({ name, layers, neurons }) => ({ name, layers, neurons }))).toEqual([
    { name: 'list-15%-L1,3-zero-all', layers: [1, 3], neurons: [[4, 9], [7]] },
    { name: 'random#0-15%-L1,3-zero-all', layers: [1, 3], neurons: [[4, 9], [7]] },
  ]);
});

test('layers are those asked for, else those of the lists, else those of the folder, all below the dopamine probe', () => {
  const folder = { layers: [1, 3, 5], dopamine: { bestLayer: 5 } };
  expect(earlierLayers({ layers: 'all' }, folder)).toEqual([1, 3]);
  expect(earlierLayers({ layers: 'all', list: [7] }, folder)).toEqual([1, 3]);
  expect(earlierLayers({ layers: 'all', list: { 3: [7], 5: [1] } }, folder)).toEqual([3]);
  expect(earlierLayers({ layers: [0, 1, 5], list: { 3: [7] } }, folder)).toEqual([0, 1]);
});

test('a single layer is together what it is by itself', () => {
  const one = ARMS.filter(({ layer }) => layer !== 1);
  expect(interplayArms(one, { alone: false }).map(({ name }) => name)).toEqual(one.map(({ name }) => name));
  expect(interplayArms(one, { alone: true })).toEqual(interplayArms(one, { alone: false }));
});
