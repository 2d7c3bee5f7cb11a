// SPDX-License-Identifier: MIT
// keep.js MIB: keeps that many buffers of 1 MiB, makes garbage meanwhile, ends with 0.
const kept = [];
let sum = 0;
for (let i = 0; i < +process.argv[2]; ++i) {
    kept.push(Buffer.alloc(1 << 20, 1));
    for (let n = 0; n < 200; ++n) {
        sum += 'x'.repeat(100 + n).length;
    }
}
console.log(kept.length, sum);
