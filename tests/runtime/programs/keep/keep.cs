// SPDX-License-Identifier: MIT
// keep MIB: keeps that many arrays of 1 MiB, makes garbage meanwhile, ends with 0.
using System;
using System.Collections.Generic;

static class Keep
{
    static int Main(string[] arguments)
    {
        var kept = new List<byte[]>();
        long sum = 0;
        for (int i = 0; i < int.Parse(arguments[0]); ++i)
        {
            var block = new byte[1 << 20];
            for (int at = 0; at < block.Length; at += 4096)
                block[at] = 1;
            kept.Add(block);
            for (int n = 0; n < 200; ++n)
                sum += new string('x', 100 + n).Length;
        }
        Console.WriteLine("{0} {1}", kept.Count, sum);
        return 0;
    }
}
