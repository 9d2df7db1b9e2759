// Writes the Parquet fixtures of test/fixtures/dataset from their JSONL neighbours. Development only:
//   npm install --no-save hyparquet-writer@0.17.0 && node tools/dataset/make-parquet.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { parquetWriteBuffer } from 'hyparquet-writer';

const folder = new URL('../../test/fixtures/dataset/', import.meta.url);
const read = (name) => readFileSync(new URL(name, folder), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const write = (name, options) => writeFileSync(new URL(name, folder), Buffer.from(parquetWriteBuffer(options)));

const gsm8k = read('gsm8k.jsonl');
const column = (rows, name, type) => ({ name, data: rows.map((row) => row[name]), type });
write('gsm8k.parquet', { columnData: [column(gsm8k, 'question', 'STRING'), column(gsm8k, 'answer', 'STRING')] });

// As the hub stores MMLU: options are a list, the answer is a 64-bit index.
const mmlu = read('mmlu.jsonl');
const list = (name) => [
  { name, repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
  { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
  { name: 'element', repetition_type: 'OPTIONAL', type: 'BYTE_ARRAY', converted_type: 'UTF8' },
];
const text = (name) => ({ name, repetition_type: 'OPTIONAL', type: 'BYTE_ARRAY', converted_type: 'UTF8' });
write('mmlu.parquet', {
  columnData: [
    column(mmlu, 'question'),
    column(mmlu, 'subject'),
    column(mmlu, 'choices'),
    { name: 'answer', data: mmlu.map(({ answer }) => BigInt(typeof answer === 'number' ? answer : 'ABCD'.indexOf(answer))) },
  ],
  schema: [{ name: 'root', num_children: 4 }, text('question'), text('subject'), ...list('choices'), { name: 'answer', repetition_type: 'OPTIONAL', type: 'INT64' }],
});

// As the hub stores ARC: options are a group of two lists.
const arc = read('arc.jsonl');
write('arc.parquet', {
  columnData: ['id', 'question', 'choices', 'answerKey'].map((name) => column(arc, name)),
  schema: [
    { name: 'root', num_children: 4 },
    text('id'),
    text('question'),
    { name: 'choices', repetition_type: 'OPTIONAL', num_children: 2 },
    ...list('text'),
    ...list('label'),
    text('answerKey'),
  ],
});
