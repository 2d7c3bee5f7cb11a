// SPDX-License-Identifier: MIT
// Large arrays until the budget refuses; catches, lets go, works on; three times.
using System;
using System.Collections.Generic;

static class Arrays
{
    static int Main()
    {
        int caught = 0;
        for (int round = 0; round < 3; ++round)
        {
            var held = new List<byte[]>();
            try
            {
                for (int i = 0; i < 1024; ++i)
                {
                    var a = new byte[1 << 20];
                    a[round] = 1;
                    a[a.Length - 1] = 1;
                    held.Add(a);
                }
            }
            catch (OutOfMemoryException)
            {
                ++caught;
            }
            int count = held.Count;
            held = null;
            GC.Collect();
            Console.WriteLine("round {0}: {1} arrays", round, count);
        }
        Console.WriteLine("caught {0}", caught);
        var again = new byte[8 << 20];
        again[again.Length / 2] = 1;
        Console.WriteLine("worked on");
        return 0;
    }
}
