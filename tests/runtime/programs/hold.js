// SPDX-License-Identifier: MIT
// Takes MIB of buffers, says "ready", holds them until its input ends, says "done".
'use strict';
const kept = [];
for (let i = Number(process.argv[2]); i > 0; --i) kept.push(Buffer.alloc(1 << 20, 1));
console.log('ready');
process.stdin.resume();
process.stdin.on('end', () => console.log('done', kept.length));
