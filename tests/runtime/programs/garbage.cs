// SPDX-License-Identifier: MIT
// Garbage: trees that live for a while and are then dropped, arrays that are dropped at once. What is
// alive at any moment is a few MiB; what is left of it depends on when somebody collects.
//
//   garbage.exe ROUNDS
using System;

static class Garbage
{
    sealed class Node
    {
        public Node Left, Right;
        public long A, B;
    }

    static Node Tree(int depth)
    {
        return depth == 0 ? new Node() : new Node { Left = Tree(depth - 1), Right = Tree(depth - 1) };
    }

    static int Count(Node n)
    {
        return n == null ? 0 : 1 + Count(n.Left) + Count(n.Right);
    }

    internal static int Main(string[] arguments)
    {
        int rounds = int.Parse(arguments[0]);
        var kept = new Node[8];
        long sum = 0;
        for (int i = 0; i < rounds; ++i)
        {
            kept[i % kept.Length] = Tree(14); // 32,767 nodes of 48 bytes: 1.5 MiB
            var array = new byte[256 << 10];
            array[i % array.Length] = 1;
            sum += Count(kept[(i * 5 + 3) % kept.Length]) + array[i % array.Length];
        }
        Console.WriteLine("done {0}", sum != 0);
        return 0;
    }
}
