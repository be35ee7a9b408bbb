using System.Text.Json;

namespace Skylight.Bench;

/// <summary>Reading the tokens of a prompt from one context to the next.</summary>
/// <param name="From">Tokens that were in the cache.</param>
/// <param name="To">Tokens that are in it then.</param>
/// <param name="Seconds">The median over sequences.</param>
/// <param name="Bandwidth">Bytes per second of a read loop beside it.</param>
internal sealed record PrefillPoint(int From, int To, double Seconds, double Bandwidth)
{
    public double Speed => (To - From) / Seconds;
}

/// <summary>A decoding step.</summary>
/// <param name="Context">Tokens before it, of each sequence.</param>
/// <param name="Batch">Sequences.</param>
/// <param name="Seconds">The median.</param>
/// <param name="Bandwidth">Bytes per second of a read loop in turn with it.</param>
/// <param name="IsCalm">Whether nothing else had a core.</param>
internal sealed record DecodingPoint(int Context, int Batch, double Seconds, double Bandwidth, bool IsCalm)
{
    public double Speed => Batch / Seconds;
}

/// <summary>A training step.</summary>
/// <param name="Batch">Samples.</param>
/// <param name="Seconds">The median.</param>
/// <param name="Speed">Tokens a second of whole samples.</param>
internal sealed record TrainingPoint(int Batch, double Seconds, double Speed);

/// <summary>All that a sweep measures.</summary>
internal sealed record SweepResults(string Model, string Weights, IReadOnlyList<PrefillPoint> Prefill,
    IReadOnlyList<DecodingPoint> Decoding, IReadOnlyList<TrainingPoint> Training)
{
    /// <summary>Writes it into an object that is open.</summary>
    public void Write(Utf8JsonWriter json)
    {
        json.WriteString("model", Model);
        json.WriteString("weights", Weights);
        json.WriteString("unit",
            "tokens/s of all sequences together, medians; prefill: one sequence that has 'from' tokens in the cache reads " +
            "on to 'to'; decoding: each sequence has a cache of its own; training: sft of the connector, samples of one " +
            "tile and a short question; read_gbs: a read of 256 MB in turn");
        List("prefill", Prefill, point =>
        {
            json.WriteNumber("from", point.From);
            json.WriteNumber("to", point.To);
            json.WriteNumber("seconds", Math.Round(point.Seconds, 4));
            json.WriteNumber("tokens_per_second", Math.Round(point.Speed, 1));
            json.WriteNumber("read_gbs", Math.Round(point.Bandwidth / 1e9, 1));
        });
        List("decoding", Decoding, point =>
        {
            json.WriteNumber("context", point.Context);
            json.WriteNumber("batch", point.Batch);
            json.WriteNumber("seconds", Math.Round(point.Seconds, 5));
            json.WriteNumber("tokens_per_second", Math.Round(point.Speed, 1));
            json.WriteNumber("read_gbs", Math.Round(point.Bandwidth / 1e9, 1));
            json.WriteBoolean("machine_was_calm", point.IsCalm);
        });
        List("training", Training, point =>
        {
            json.WriteNumber("batch", point.Batch);
            json.WriteNumber("seconds", Math.Round(point.Seconds, 3));
            json.WriteNumber("tokens_per_second", Math.Round(point.Speed, 1));
        });

        void List<T>(string name, IReadOnlyList<T> points, Action<T> write)
        {
            json.WriteStartArray(name);
            foreach (T point in points)
            {
                json.WriteStartObject();
                write(point);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }
    }

    /// <summary>Reads what <see cref="Write"/> has written.</summary>
    public static SweepResults Read(JsonElement root)
    {
        return new SweepResults(root.GetProperty("model").GetString()!, root.GetProperty("weights").GetString()!,
            [.. Points("prefill").Select(point => new PrefillPoint(Integer(point, "from"), Integer(point, "to"),
                Number(point, "seconds"), Number(point, "read_gbs") * 1e9))],
            [.. Points("decoding").Select(point => new DecodingPoint(Integer(point, "context"), Integer(point, "batch"),
                Number(point, "seconds"), Number(point, "read_gbs") * 1e9, point.GetProperty("machine_was_calm").GetBoolean()))],
            [.. Points("training").Select(point => new TrainingPoint(Integer(point, "batch"), Number(point, "seconds"),
                Number(point, "tokens_per_second")))]);

        IEnumerable<JsonElement> Points(string name) => root.GetProperty(name).EnumerateArray();
        static int Integer(JsonElement point, string name) => point.GetProperty(name).GetInt32();
        static double Number(JsonElement point, string name) => point.GetProperty(name).GetDouble();
    }
}
