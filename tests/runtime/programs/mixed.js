// SPDX-License-Identifier: MIT
// What dotnet/mixed.cs is for .NET: everything a program asks memory for, then it stands still.
"use strict";
const { Worker, isMainThread, parentPort } = require("worker_threads");

function tree(depth) {
    return depth === 0 ? null : { left: tree(depth - 1), right: tree(depth - 1) };
}

const kept = [];
for (let i = 0; i < (isMainThread ? 6 : 1); ++i) kept.push(tree(15));
if (isMainThread) {
    for (let i = 0; i < 24; ++i) kept[6 + (i >> 1)] = Buffer.alloc(4 << 20, i);
    kept.push(new WebAssembly.Memory({ initial: 64 }));
    let code = 0;
    for (let i = 0; i < 200; ++i) code += new Function("x", `return x + ${i};`)(i);
    kept.push(code);
    const workers = [];
    let ready = 0;
    for (let i = 0; i < 4; ++i) {
        workers.push(new Worker(__filename));
        workers[i].on("message", () => {
            if (++ready === 4) console.log("standing");
        });
    }
    process.stdin.once("data", () => process.exit(kept.length > 8 ? 0 : 3));
    process.stdin.once("end", () => process.exit(2));
} else {
    parentPort.on("message", () => kept.length);
    parentPort.postMessage("ready");
}
