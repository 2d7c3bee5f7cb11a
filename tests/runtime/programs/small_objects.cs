// SPDX-License-Identifier: MIT
// Small objects, all kept: Mono's collector itself meets the limit.
using System;
using System.Collections.Generic;

static class SmallObjects
{
    sealed class Node
    {
        public Node Next;
        public long A, B, C;
    }

    internal static int Main()
    {
        Node head = null;
        try
        {
            for (long i = 0; i < 40L * 1000 * 1000; ++i)
                head = new Node { Next = head, A = i, B = i, C = i };
        }
        catch (OutOfMemoryException)
        {
            head = null;
            Console.WriteLine("caught");
            GC.Collect();
            var again = new byte[4 << 20];
            again[again.Length / 2] = 1;
            Console.WriteLine("worked on");
            return 0;
        }
        Console.WriteLine("never refused, {0}", head.A);
        return 0;
    }
}
