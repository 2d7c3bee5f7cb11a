// SPDX-License-Identifier: MIT
// Work of many kinds, the same on every run; the last line is a checksum of all of it.
// node mixed.js [scale].
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

function random(seed) {
    return () => {
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
        return seed >>> 8;
    };
}

function grow(depth, value) {
    return depth === 0
        ? { left: null, right: null, value }
        : { left: grow(depth - 1, 2 * value), right: grow(depth - 1, 2 * value + 1), value };
}

function sum(node) {
    return node === null ? 0 : node.value + sum(node.left) + sum(node.right);
}

// Many trees that die young beside one that stays.
function trees(rounds) {
    const kept = grow(16, 1);
    let all = 0;
    for (let i = 0; i < rounds; i++)
        all += sum(grow(11, i));
    return all + sum(kept);
}

// 64 arrays of 4 MiB, eight alive at a time.
function arrays() {
    const alive = [];
    let all = 0;
    for (let i = 0; i < 64; i++) {
        const a = new Uint8Array(4 << 20);
        for (let at = 0; at < a.length; at += 512)
            a[at] = i + at / 512;
        alive[i % 8] = a;
        const other = alive[(i * 5 + 3) % 8] || a;
        for (let at = 0; at < other.length; at += 1024)
            all += other[at];
    }
    return all;
}

function strings(count) {
    const seen = new Map();
    const text = [];
    const next = random(7);
    for (let i = 0; i < count; i++) {
        const word = 'k' + (next() % 20000);
        seen.set(word, (seen.get(word) || 0) + 1);
        if (i % 8 === 0)
            text.push(word);
    }
    const words = [...seen.keys()].sort();
    let all = text.join('').split('k').length;
    words.forEach((word, i) => { all += seen.get(word) * (i % 31); });
    return all;
}

function rows(me, rounds) {
    const next = random(me + 1);
    let all = 0;
    for (let i = 0; i < rounds; i++) {
        const row = new Int32Array(200 + next() % 800);
        for (let k = 0; k < row.length; k++)
            row[k] = next() % 1000;
        row.sort();
        all += row[row.length >> 1];
    }
    return all;
}

// Four threads that allocate what they compute with.
function threads(rounds) {
    const done = [0, 1, 2, 3].map((me) => new Promise((resolve, reject) => {
        const w = new Worker(__filename, { workerData: { me, rounds } });
        w.on('message', resolve);
        w.on('error', reject);
    }));
    return Promise.all(done).then((s) => s[0] + 3 * s[1] + 5 * s[2] + 7 * s[3]);
}

// Code that is made while the program runs.
function generated(functions) {
    let all = 0;
    for (let i = 0; i < functions; i++) {
        const f = new Function('n', `let s = n; for (let k = 0; k < 300; k++) s = (s * 31 + ${i}) & 65535; return s;`);
        for (let k = 0; k < 20; k++)
            all += f(k);
    }
    return all;
}

function nativeMemory(count) {
    const blocks = new Array(64);
    const next = random(3);
    let all = 0;
    for (let i = 0; i < count; i++) {
        const at = i % blocks.length;
        if (blocks[at])
            all += blocks[at].readInt32LE(0);
        blocks[at] = Buffer.allocUnsafeSlow(16 + next() % (i % 64 === 0 ? 200000 : 2000));
        blocks[at].writeInt32LE(i, 0);
    }
    return all;
}

async function main() {
    const scale = process.argv.length > 2 ? Number(process.argv[2]) : 10;
    const parts = [
        trees(40 * scale), arrays(), strings(40000 * scale), await threads(250 * scale), generated(100 * scale),
        nativeMemory(6000 * scale),
    ];
    let all = 17;
    for (const p of parts)
        all = (all * 31 + p) % 9007199254740881;
    console.log('mixed', ...parts, all);
}

if (isMainThread)
    main();
else
    parentPort.postMessage(rows(workerData.me, workerData.rounds));
