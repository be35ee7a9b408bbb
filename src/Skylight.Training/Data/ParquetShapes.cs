namespace Skylight.Training.Data;

/// <summary>
/// Which types the fields of Parquet's structures have (parquet.thrift). The library takes a field's type for granted,
/// and where it is another it reads on from the wrong place, for ever perhaps.
/// </summary>
internal sealed class ThriftShape(params (int Field, ThriftShape.Type Type)[] fields)
{
    private readonly Dictionary<int, Type> _fields = fields.ToDictionary(field => field.Field, field => field.Type);

    /// <summary>The footer of a file.</summary>
    public static ThriftShape Footer { get; } = MakeFooter();

    /// <summary>The head of a page.</summary>
    public static ThriftShape PageHead { get; } = MakePageHead();

    /// <summary>Walks over a structure; fields that are not known may be of any type.</summary>
    /// <exception cref="InvalidDataException">A field is of another type, or the structure is longer than its
    /// bytes.</exception>
    public void Check(ref CompactThrift reader)
    {
        int field = 0;
        bool hasStranger = false;
        while (reader.NextField(ref field, out int type))
        {
            // Behind a structure that it does not know the library counts fields on from those within.
            if (field <= 0 || hasStranger)
                throw new InvalidDataException("a structure in it has a part that Parquet does not have");
            if (!_fields.TryGetValue(field, out Type? expected))
            {
                hasStranger = type is CompactThrift.List or CompactThrift.Set or CompactThrift.Map or CompactThrift.Struct;
                reader.Skip(type);
            }
            else if (expected == Type.Encrypted)
            {
                throw new InvalidDataException("it is encrypted, which is not supported");
            }
            else if (type == expected.Code || (expected.Code == Type.Boolean && type == Type.Boolean + 1))
            {
                expected.Check(ref reader, type);
            }
            else
            {
                throw new InvalidDataException("a field in it is of another type than Parquet has there");
            }
        }
    }

    private static ThriftShape MakeStatistics() => new(
        (1, Type.Binary), (2, Type.Binary), (3, Type.Int64), (4, Type.Int64), (5, Type.Binary), (6, Type.Binary),
        (7, Type.True), (8, Type.True), (9, Type.Int64));

    private static ThriftShape MakeFooter()
    {
        ThriftShape empty = new(), keyValue = new((1, Type.Binary), (2, Type.Binary)),
            unit = new((1, Type.Of(empty)), (2, Type.Of(empty)), (3, Type.Of(empty)));
        ThriftShape time = new((1, Type.True), (2, Type.Of(unit))), number = new((1, Type.Byte), (2, Type.True)),
            decimals = new((1, Type.Int32), (2, Type.Int32));
        ThriftShape logical = new(
            (1, Type.Of(empty)), (2, Type.Of(empty)), (3, Type.Of(empty)), (4, Type.Of(empty)), (5, Type.Of(decimals)),
            (6, Type.Of(empty)), (7, Type.Of(time)), (8, Type.Of(time)),
            (10, Type.Of(number)), (11, Type.Of(empty)), (12, Type.Of(empty)), (13, Type.Of(empty)),
            (14, Type.Of(empty)), (15, Type.Of(empty)),
            (16, Type.Of(new ThriftShape((1, Type.Byte)))), (17, Type.Of(new ThriftShape((1, Type.Binary)))),
            (18, Type.Of(new ThriftShape((1, Type.Binary), (2, Type.Int32)))));
        ThriftShape element = new(
            (1, Type.Int32), (2, Type.Int32), (3, Type.Int32), (4, Type.Binary), (5, Type.Int32), (6, Type.Int32),
            (7, Type.Int32), (8, Type.Int32), (9, Type.Int32), (10, Type.Of(logical)));
        ThriftShape pages = new((1, Type.Int32), (2, Type.Int32), (3, Type.Int32)),
            sizes = new((1, Type.Int64), (2, Type.ListOf(Type.Int64)), (3, Type.ListOf(Type.Int64)));
        ThriftShape column = new(
            (1, Type.Int32), (2, Type.ListOf(Type.Int32)), (3, Type.ListOf(Type.Binary)), (4, Type.Int32),
            (5, Type.Int64), (6, Type.Int64), (7, Type.Int64),
            (8, Type.ListOf(Type.Of(keyValue))), (9, Type.Int64), (10, Type.Int64), (11, Type.Int64),
            (12, Type.Of(MakeStatistics())), (13, Type.ListOf(Type.Of(pages))),
            (14, Type.Int64), (15, Type.Int32), (16, Type.Of(sizes)));
        ThriftShape chunk = new(
            (1, Type.Binary), (2, Type.Int64), (3, Type.Of(column)), (4, Type.Int64), (5, Type.Int32), (6, Type.Int64),
            (7, Type.Int32), (8, Type.Encrypted), (9, Type.Encrypted));
        ThriftShape sorting = new((1, Type.Int32), (2, Type.True), (3, Type.True));
        ThriftShape group = new(
            (1, Type.ListOf(Type.Of(chunk))), (2, Type.Int64), (3, Type.Int64), (4, Type.ListOf(Type.Of(sorting))),
            (5, Type.Int64), (6, Type.Int64), (7, Type.Int16));
        ThriftShape order = new((1, Type.Of(empty)));
        return new(
            (1, Type.Int32), (2, Type.ListOf(Type.Of(element))), (3, Type.Int64), (4, Type.ListOf(Type.Of(group))),
            (5, Type.ListOf(Type.Of(keyValue))), (6, Type.Binary),
            (7, Type.ListOf(Type.Of(order))), (8, Type.Encrypted), (9, Type.Encrypted));
    }

    private static ThriftShape MakePageHead()
    {
        ThriftShape data = new((1, Type.Int32), (2, Type.Int32), (3, Type.Int32), (4, Type.Int32),
            (5, Type.Of(MakeStatistics())));
        ThriftShape dictionary = new((1, Type.Int32), (2, Type.Int32), (3, Type.True));
        ThriftShape second = new(
            (1, Type.Int32), (2, Type.Int32), (3, Type.Int32), (4, Type.Int32), (5, Type.Int32), (6, Type.Int32),
            (7, Type.True), (8, Type.Of(MakeStatistics())));
        return new((1, Type.Int32), (2, Type.Int32), (3, Type.Int32), (4, Type.Int32), (5, Type.Of(data)),
            (6, Type.Of(new ThriftShape())), (7, Type.Of(dictionary)), (8, Type.Of(second)));
    }

    /// <summary>The type of a field.</summary>
    /// <param name="Code">Its number in the protocol.</param>
    /// <param name="Element">The type of a list's elements.</param>
    /// <param name="Shape">The fields of a structure.</param>
    internal sealed record Type(int Code, Type? Element = null, ThriftShape? Shape = null)
    {
        public const int Boolean = 1;

        public static readonly Type True = new(Boolean), Byte = new(3), Int16 = new(4),
            Int32 = new(CompactThrift.Int32), Int64 = new(6), Binary = new(8);

        /// <summary>
        /// Of whatever type: what says how a part of the file is encrypted. The library would read its keys.
        /// </summary>
        public static readonly Type Encrypted = new(-1);

        public static Type Of(ThriftShape shape) => new(CompactThrift.Struct, null, shape);

        public static Type ListOf(Type element) => new(CompactThrift.List, element);

        /// <summary>Walks over a value.</summary>
        public void Check(ref CompactThrift reader, int type)
        {
            if (Shape is not null)
            {
                Shape.Check(ref reader);
            }
            else if (Element is null)
            {
                reader.Skip(type);
            }
            else
            {
                (int element, int count) = reader.NextList();
                if (element != Element.Code && count > 0)
                    throw new InvalidDataException("a list in it is of another type than Parquet has there");
                for (int i = 0; i < count; i++)
                    Element.Check(ref reader, element);
            }
        }
    }
}
