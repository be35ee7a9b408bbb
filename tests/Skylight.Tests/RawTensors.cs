using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Skylight.Tests;

/// <summary>A tensor of a safetensors file as it is stored.</summary>
/// <param name="Type">Its dtype.</param>
/// <param name="Shape">Its extents.</param>
/// <param name="Bytes">Its bytes.</param>
internal sealed record RawTensor(string Type, int[] Shape, byte[] Bytes);

/// <summary>The tensors of a safetensors file by their names, read and written by nothing of the product.</summary>
internal sealed class RawTensors : Dictionary<string, RawTensor>
{
    public static RawTensors Load(string path)
    {
        byte[] file = File.ReadAllBytes(path);
        int data = 8 + (int)BinaryPrimitives.ReadInt64LittleEndian(file);
        var tensors = new RawTensors();
        foreach ((string name, JsonNode? entry) in JsonNode.Parse(file.AsSpan(8, data - 8))!.AsObject())
        {
            if (name == "__metadata__")
                continue;
            int[] offsets = [.. entry!["data_offsets"]!.AsArray().Select(offset => (int)offset!)];
            tensors.Add(name, new RawTensor((string)entry["dtype"]!, [.. entry["shape"]!.AsArray().Select(extent => (int)extent!)],
                file[(data + offsets[0])..(data + offsets[1])]));
        }

        return tensors;
    }

    public void Save(string path)
    {
        var header = new StringBuilder("{");
        long offset = 0;
        foreach ((string name, RawTensor tensor) in this)
        {
            header.Append(header.Length > 1 ? "," : "").Append(JsonSerializer.Serialize(name)).Append(":{\"dtype\":\"")
                .Append(tensor.Type).Append("\",\"shape\":[").AppendJoin(',', tensor.Shape).Append("],\"data_offsets\":[")
                .Append(offset).Append(',').Append(offset += tensor.Bytes.Length).Append("]}");
        }

        byte[] json = Encoding.UTF8.GetBytes(header.Append('}').ToString());
        using FileStream stream = File.Create(path);
        byte[] length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        stream.Write(length);
        stream.Write(json);
        foreach (RawTensor tensor in Values)
            stream.Write(tensor.Bytes);
    }
}
