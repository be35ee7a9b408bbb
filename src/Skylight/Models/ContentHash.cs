using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace Skylight.Models;

/// <summary>
/// Names content within this process by 128 bits: SipHash-2-4 (Aumasson, Bernstein, 2012) under a key that each process
/// draws for itself. Pages of the key-value cache and features of pictures are found by these names, so two contents of
/// one name would give one user what another's prompt has left. A fast hash without a secret (XXH128) would let
/// somebody compute such a pair; against a pseudo-random function whose key never leaves the process only chance is
/// left, 2^-128 for a pair. SHA-256 would do as well, but comes from OpenSSL, which a slim machine does not have. Never
/// stored: the next process has another key. (Files of packed weights are named under a fixed one, and compared.)
/// </summary>
/// <param name="High">The upper 64 bits.</param>
/// <param name="Low">The lower ones. (One number of 128 bits would keep whatever holds it from being compiled beforehand.)</param>
internal readonly record struct ContentHash(ulong High, ulong Low)
{
    private static readonly ContentHash s_key = NewKey();

    /// <summary>The name of some bytes.</summary>
    public static ContentHash Of(ReadOnlySpan<byte> content) => Of(s_key, content);

    /// <summary>32 hexadecimal digits.</summary>
    public override string ToString() => $"{High:x16}{Low:x16}";

    /// <summary>SipHash-2-4 with 128 bits of result; key and result as their bytes in little-endian order.</summary>
    internal static ContentHash Of(ContentHash key, ReadOnlySpan<byte> content)
    {
        (ulong key1, ulong key0) = key;
        var state = new State(key0 ^ 0x736F6D6570736575, key1 ^ 0x646F72616E646F6D ^ 0xEE, key0 ^ 0x6C7967656E657261,
            key1 ^ 0x7465646279746573);
        ReadOnlySpan<byte> rest = content;
        for (; rest.Length >= sizeof(ulong); rest = rest[sizeof(ulong)..])
            state.Absorb(BinaryPrimitives.ReadUInt64LittleEndian(rest));
        ulong last = (ulong)content.Length << 56;
        for (int index = 0; index < rest.Length; index++)
            last |= (ulong)rest[index] << (8 * index);
        state.Absorb(last);
        ulong low = state.Finish(0, 0xEE), high = state.Finish(0xDD, 0);
        return new ContentHash(high, low);
    }

    private static ContentHash NewKey()
    {
        // 122 bits from the system's secure generator, which needs no OpenSSL.
        byte[] drawn = Guid.NewGuid().ToByteArray();
        return new(BinaryPrimitives.ReadUInt64LittleEndian(drawn.AsSpan(8)), BinaryPrimitives.ReadUInt64LittleEndian(drawn));
    }

    private struct State(ulong v0, ulong v1, ulong v2, ulong v3)
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Absorb(ulong word)
        {
            v3 ^= word;
            Round();
            Round();
            v0 ^= word;
        }

        public ulong Finish(ulong mark1, ulong mark2)
        {
            (v1, v2) = (v1 ^ mark1, v2 ^ mark2);
            for (int round = 0; round < 4; round++)
                Round();
            return v0 ^ v1 ^ v2 ^ v3;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private void Round()
        {
            v0 += v1;
            v1 = BitOperations.RotateLeft(v1, 13) ^ v0;
            v0 = BitOperations.RotateLeft(v0, 32);
            v2 += v3;
            v3 = BitOperations.RotateLeft(v3, 16) ^ v2;
            v0 += v3;
            v3 = BitOperations.RotateLeft(v3, 21) ^ v0;
            v2 += v1;
            v1 = BitOperations.RotateLeft(v1, 17) ^ v2;
            v2 = BitOperations.RotateLeft(v2, 32);
        }
    }
}
