// SPDX-License-Identifier: MIT
// Takes MIB of arrays, says "ready", holds them until its input ends, says "done".
using System;
using System.Collections.Generic;

static class Hold
{
    internal static int Main(string[] arguments)
    {
        var kept = new List<byte[]>();
        for (int i = int.Parse(arguments[0]); i > 0; --i)
        {
            kept.Add(new byte[1 << 20]);
            kept[kept.Count - 1][i] = 1;
        }
        Console.WriteLine("ready");
        Console.ReadLine();
        Console.WriteLine("done {0}", kept.Count);
        return 0;
    }
}
